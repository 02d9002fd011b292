"""Who may pass the gate: whose token is good, who is not too quick, and whose role allows the call."""

import functools
from typing import Any

import structlog
from google.protobuf import descriptor_pool

from services.kit.call import TOKEN_HEADER
from services.kit.security.identity import (
    Access,
    Caller,
    Role,
    RoleRequired,
    TokenInvalid,
    TokenMissing,
    Unauthenticated,
    access_of,
)
from services.kit.security.keys import Secret
from services.kit.security.rate import RateLimit
from services.kit.security.tokens import Verifier, verifier_of
from services.kit.settings import ProcessSettings

log = structlog.get_logger()

_SCHEME = "bearer "
_LONGEST_ACTOR = 255


class Guard:
    """Checks calls by whatever is on: identity, a rate limit, or both. Where neither is, the gate has no guard."""

    def __init__(self, verifier: Verifier | None, limit: RateLimit | None) -> None:
        self._verifier = verifier
        self._limit = limit

    async def admit(self, method: str, context: Any, request: object) -> Caller | None:
        """The caller, who may make this call; None if identity is off. Unauthenticated, RateLimited, RoleRequired."""
        caller = await self.authenticate(context)
        self.authorize(caller, method, request)
        return caller

    async def authenticate(self, context: Any) -> Caller | None:
        """The caller by the token, counted against the caller's limit; without identity, against the address's."""
        if self._verifier is None:
            self._count(f"address {_address(context)}")
            return None
        try:
            caller = await self._verifier.caller(_token(context))
        except Unauthenticated as error:
            # Trying tokens out is limited as well, by where they come from.
            self._count(f"address {_address(context)}")
            if isinstance(error, TokenInvalid):
                log.info("token.invalid", why=error.why, peer=context.peer())
            raise
        if not caller.is_service:
            self._count(f"subject {caller.subject}")
        return caller

    def authorize(self, caller: Caller | None, method: str, request: object) -> None:
        """RoleRequired if the caller may not make this call about what it names."""
        if caller is not None:
            access_by_path(method).check(caller, method, request)

    def _count(self, caller: str) -> None:
        if self._limit is not None:
            self._limit.take(caller)


def guard_of(settings: ProcessSettings, secret: Secret | None) -> Guard | None:
    """The guard that the settings ask for; None if they ask for none. FileUnusable."""
    verifier = verifier_of(settings, secret)
    per_second = settings.rate_limit_per_second
    limit = RateLimit(per_second, settings.rate_limit_burst) if per_second else None
    return Guard(verifier, limit) if verifier or limit else None


def actor_of(caller: Caller, given: str, method: str) -> str:
    """On whose behalf a call is made: the caller's own, but a service may have `given` another. RoleRequired."""
    if not given or given == caller.subject:
        return caller.subject
    if not caller.is_service:
        raise RoleRequired(Role.SERVICE, method)
    return given[:_LONGEST_ACTOR]


@functools.cache
def access_by_path(method: str) -> Access:
    """Who may make the call of a path such as /dsm.sprint.v1.SprintService/GetSprint; nobody, if it is unknown."""
    pool: Any = descriptor_pool.Default()
    try:
        return access_of(pool.FindMethodByName(method[1:].replace("/", ".")))
    except KeyError:
        return Access()


def _token(context: Any) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == TOKEN_HEADER:
            if not isinstance(value, str) or not value[: len(_SCHEME)].lower() == _SCHEME:
                raise TokenInvalid("the header authorization is not `Bearer <token>`")
            return value[len(_SCHEME) :].strip()
    raise TokenMissing


def _address(context: Any) -> str:
    """Where a call comes from, without the port: "ipv4:127.0.0.1" of "ipv4:127.0.0.1:50000"."""
    peer = str(context.peer())
    return peer.rpartition(":")[0] if peer.startswith("ip") else peer
