"""Tokens (JWT): verifying those of callers, and making and sending those of DSM's own services."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jwt

from services.kit.security.identity import LEEWAY_SECONDS, SERVICE_PREFIX, Caller, TokenExpired, TokenInvalid, caller_of
from services.kit.security.keys import PUBLIC, SHARED, Secret, Source, source_of
from services.kit.security.watched import WatchedFile
from services.kit.settings import ProcessSettings

DEFAULT_AUDIENCE = "dsm"

# Larger ones are no tokens; gRPC's own limit of all headers together is not much more.
_LONGEST = 8192
# Tokens that are known to be good; who came first is forgotten first.
_MOST_KNOWN = 4096
_SERVICE_SECONDS = 300
# A service's token is made again when it has less than this to live.
_SERVICE_MARGIN_SECONDS = 60

TokenOf = Callable[[], str]


class Verifier:
    """Knows the callers that tokens stand for. A token is verified once, and then remembered until it expires."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        *,
        audience: str = DEFAULT_AUDIENCE,
        issuer: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        # Which algorithm is verified by which keys. What a token says of itself only chooses among these.
        self._sources = dict(sources)
        self._audience = audience
        self._issuer = issuer or None
        self._clock = clock
        self._known: dict[str, Caller] = {}
        self._versions = self._present_versions()

    async def caller(self, token: str) -> Caller:
        """The caller; TokenInvalid, TokenExpired, or SigningKeysUnavailable if nothing can be verified now."""
        if (versions := self._present_versions()) != self._versions:
            # A key may have been taken back.
            self._known.clear()
            self._versions = versions
        known = self._known.get(token)
        if known is None:
            known = await self._verify(token)
            self._remember(token, known)
        elif known.expires <= self._clock():
            del self._known[token]
            raise TokenExpired
        return known

    def _present_versions(self) -> list[int]:
        return [source.version for source in self._sources.values()]

    def _remember(self, token: str, caller: Caller) -> None:
        if len(self._known) >= _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[token] = caller

    async def _verify(self, token: str) -> Caller:
        if len(token) > _LONGEST:
            raise TokenInvalid("it is too long")
        try:
            header = jwt.get_unverified_header(token)
            algorithm, key_id = str(header.get("alg")), str(header.get("kid", ""))
            source = self._sources.get(algorithm)
            if source is None:
                raise TokenInvalid("its algorithm is not allowed here")
            key = await source.find(algorithm, key_id)
            if key is None:
                raise TokenInvalid("no key is known by its key id and algorithm")
            claims = self._claims(token, key, algorithm)
        except jwt.ExpiredSignatureError:
            raise TokenExpired from None
        except (jwt.InvalidTokenError, jwt.InvalidKeyError, ValueError, TypeError, RecursionError) as error:
            # The class says enough; the text may hold parts of the token.
            raise TokenInvalid(type(error).__name__) from None
        return caller_of(claims)

    def _claims(self, token: str, key: Any, algorithm: str) -> dict[str, Any]:
        return jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "sub", "aud", *(["iss"] if self._issuer else [])]},
        )


def secret_of(settings: ProcessSettings) -> Secret | None:
    """The shared secret of the settings, if any; FileUnusable."""
    if settings.jwt_secret_file:
        return Secret(file=settings.jwt_secret_file)
    return Secret(settings.jwt_secret.get_secret_value()) if settings.jwt_secret else None


def verifier_of(settings: ProcessSettings, secret: Secret | None) -> Verifier | None:
    """What verifies tokens by the settings; None if identity is off. FileUnusable."""
    sources: dict[str, Source] = {SHARED: secret} if secret else {}
    if settings.jwt_jwks:
        public = source_of(settings.jwt_jwks)
        sources |= dict.fromkeys(PUBLIC, public)
    if not sources:
        return None
    return Verifier(sources, audience=settings.jwt_audience, issuer=settings.jwt_issuer)


def mint(
    secret: bytes,
    subject: str,
    seconds: float,
    *,
    roles: Sequence[str] = (),
    project_roles: Mapping[str, str] | None = None,
    audience: str = DEFAULT_AUDIENCE,
    issuer: str = "",
    now: float | None = None,
) -> str:
    """A token signed with a shared secret."""
    issued = int(time.time() if now is None else now)
    claims: dict[str, Any] = {"sub": subject, "aud": audience, "iat": issued, "exp": issued + int(seconds)}
    claims |= {"iss": issuer} if issuer else {}
    claims |= {"roles": list(roles)} if roles else {}
    claims |= {"project_roles": dict(project_roles)} if project_roles else {}
    return jwt.encode(claims, secret, algorithm=SHARED)


def no_token() -> str:
    """Where identity is off, services send none."""
    return ""


def token_in(path: str) -> TokenOf:
    """The token that a file holds, read again when it changes; FileUnusable when it is not there at the start."""
    return WatchedFile("DSM_SERVICE_TOKEN_FILE", path, token_of).get


class OwnToken:
    """A service's own token, made with the shared secret and made anew before it expires."""

    def __init__(self, service: str, secret: Secret, settings: ProcessSettings) -> None:
        self._subject = SERVICE_PREFIX + service
        self._secret = secret
        self._settings = settings
        self._made = (b"", 0.0, "")

    def __call__(self) -> str:
        """The token to send now."""
        secret, now = self._secret.value, time.time()
        made_with, until, token = self._made
        if made_with != secret or now >= until - _SERVICE_MARGIN_SECONDS:
            audience, issuer = self._settings.jwt_audience, self._settings.jwt_issuer
            token = mint(
                secret, self._subject, _SERVICE_SECONDS, roles=["service"], audience=audience, issuer=issuer, now=now
            )
            self._made = (secret, now + _SERVICE_SECONDS, token)
        return token


def token_of(content: bytes) -> str:
    """The token in a file; ValueError if it holds none, or more."""
    words = content.split()
    if len(words) != 1 or not words[0].isascii():
        raise ValueError("it does not hold one token")
    return words[0].decode()
