"""The keys that tokens are verified with: one shared secret, or an identity provider's public keys (JWKS)."""

import asyncio
import http.client
import json
import time
import urllib.request
from collections.abc import Mapping
from typing import Any, Protocol

import jwt
import structlog

from services.kit.errors import Unavailable
from services.kit.security.watched import WatchedFile

log = structlog.get_logger()

SHARED = "HS256"
PUBLIC = ("RS256", "ES256")
# HS256 is no stronger than its secret, and RFC 7518 asks for as many bits as the digest has.
SECRET_BYTES = 32

# A key id that is not known may be a new key's, or made up: the keys are fetched for it, but not more often than this.
FETCH_FLOOR_SECONDS = 5.0
# Keys are fetched again after so long, so that those that were taken back are known.
REFRESH_SECONDS = 300.0
FETCH_TIMEOUT_SECONDS = 3.0
_MOST_BYTES = 1 << 20
_LEAST_RSA_BITS = 2048

Keys = Mapping[tuple[str, str], Any]


class SigningKeysUnavailable(Unavailable):
    """The identity provider does not give its keys."""

    reason = "SIGNING_KEYS_UNAVAILABLE"

    def __init__(self) -> None:
        super().__init__("The keys that tokens are verified with cannot be had; try again.")


class Source(Protocol):
    """Where keys come from. `version` grows when they have changed: what was verified with the old ones is void."""

    @property
    def version(self) -> int:
        """Looks, cheaply, whether they have changed."""

    async def find(self, algorithm: str, key_id: str) -> Any | None:
        """The key of an id for an algorithm; without an id, the only one there is for it."""


class Secret:
    """A shared secret, given as it is or in a file."""

    def __init__(self, value: str = "", file: str = "") -> None:
        self._value = value.strip().encode()
        self._file = WatchedFile("DSM_JWT_SECRET_FILE", file, secret_in) if file else None

    @property
    def version(self) -> int:
        """See Source."""
        if self._file is None:
            return 0
        self._file.get()
        return self._file.version

    @property
    def value(self) -> bytes:
        """The secret as it is now."""
        return self._file.get() if self._file else self._value

    async def find(self, algorithm: str, key_id: str) -> Any | None:
        """See Source; a shared secret has no id."""
        return self.value if algorithm == SHARED else None


class KeyFile:
    """Public keys in a file."""

    def __init__(self, path: str) -> None:
        self._file = WatchedFile("DSM_JWT_JWKS", path, parse_keys)

    @property
    def version(self) -> int:
        """See Source."""
        self._file.get()
        return self._file.version

    async def find(self, algorithm: str, key_id: str) -> Any | None:
        """See Source."""
        return _pick(self._file.get(), algorithm, key_id)


class KeyAddress:
    """Public keys at an address, fetched in a thread when they are first needed, are old, or lack a key."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: Keys = {}
        self._version = 0
        self._tried = -REFRESH_SECONDS
        self._failed = False
        self._fetching: asyncio.Task[None] | None = None

    @property
    def version(self) -> int:
        """See Source. Old keys are fetched again in the background; until then, and if that fails, they hold."""
        if self._keys and time.monotonic() - self._tried >= REFRESH_SECONDS:
            self._fetch()
        return self._version

    async def find(self, algorithm: str, key_id: str) -> Any | None:
        """See Source. Waits for the keys; SigningKeysUnavailable if they could not be had."""
        found = _pick(self._keys, algorithm, key_id)
        if found is None and (self._fetching or time.monotonic() - self._tried >= FETCH_FLOOR_SECONDS):
            # Shared by all who wait; it goes on if this call is given up.
            await asyncio.shield(self._fetch())
            found = _pick(self._keys, algorithm, key_id)
        if found is None and self._failed:
            raise SigningKeysUnavailable
        return found

    def _fetch(self) -> "asyncio.Task[None]":
        if self._fetching is None:
            self._tried = time.monotonic()
            self._fetching = asyncio.create_task(self._fetch_once())
        return self._fetching

    async def _fetch_once(self) -> None:
        try:
            # The socket's timeout is for each bit of an answer; one that comes drop by drop is given up as a whole.
            async with asyncio.timeout(2 * FETCH_TIMEOUT_SECONDS):
                keys = await asyncio.to_thread(_download, self._url)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._failed = True
            log.warning("keys.unavailable", url=self._url, why=f"{type(error).__name__}: {error}")
        else:
            self._failed = False
            if keys != self._keys:
                log.info("keys.changed", url=self._url, keys=len(keys))
                self._keys = keys
                self._version += 1
        finally:
            self._fetching = None


def source_of(jwks: str) -> Source:
    """Public keys by their setting: an address or a file. FileUnusable if it is a file without keys."""
    return KeyAddress(jwks) if jwks.startswith(("http://", "https://")) else KeyFile(jwks)


def parse_keys(document: bytes) -> Keys:
    """The keys of a JWKS by algorithm and id; those that DSM cannot use are passed over. ValueError if none is left."""
    try:
        listed = json.loads(document)
    except ValueError:
        raise ValueError("it is no JSON") from None
    entries = listed.get("keys") if isinstance(listed, dict) else None
    if not isinstance(entries, list):
        raise ValueError("it is no JSON Web Key Set")
    keys = {found: key for entry in entries if isinstance(entry, dict) for found, key in _usable(entry)}
    if not keys:
        raise ValueError(f"it holds no public key for {' or '.join(PUBLIC)}")
    return keys


def _usable(entry: dict[str, Any]) -> list[tuple[tuple[str, str], Any]]:
    """The key of an entry, if it is a public one for signatures; never a shared secret, whoever lists it there."""
    if entry.get("kty") not in ("RSA", "EC") or entry.get("use", "sig") != "sig" or "d" in entry:
        return []
    try:
        key = jwt.PyJWK(entry)
    except (jwt.PyJWTError, TypeError):
        return []
    if key.algorithm_name not in PUBLIC or (entry["kty"] == "RSA" and key.key.key_size < _LEAST_RSA_BITS):
        return []
    return [((key.algorithm_name, str(entry.get("kid", ""))), key.key)]


def _pick(keys: Keys, algorithm: str, key_id: str) -> Any | None:
    if key_id:
        return keys.get((algorithm, key_id))
    fitting = [key for (kind, _), key in keys.items() if kind == algorithm]
    return fitting[0] if len(fitting) == 1 else None


def _download(url: str) -> Keys:
    request = urllib.request.Request(url, headers={"Accept": "application/json", "User-Agent": "dsm"})
    with urllib.request.urlopen(request, timeout=FETCH_TIMEOUT_SECONDS) as response:
        document = response.read(_MOST_BYTES + 1)
    if len(document) > _MOST_BYTES:
        raise ValueError("it is larger than a megabyte")
    return parse_keys(document)


def secret_in(content: bytes) -> bytes:
    """A secret in a file; the line's end is none of it."""
    secret = content.strip()
    if len(secret) < SECRET_BYTES:
        raise ValueError(f"a secret needs at least {SECRET_BYTES} bytes")
    return secret
