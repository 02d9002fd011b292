"""Who a caller is by the claims of a token, and who may make a call by the contract. Pure: no keys, no network."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any

from dsm.common.v1 import options_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from services.kit.errors import Code, DsmError

# A token that has just expired, or is about to be valid, is taken: clocks differ.
LEEWAY_SECONDS = 30.0
SERVICE_PREFIX = "service:"

# What OpenID Connect allows for `sub`, without control characters: it goes into headers and logs as it is.
_SUBJECT = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")
_PROJECT = r"([A-Z][A-Z0-9]*(?:-[A-Z0-9]+)*)"
# How the project is read from an id, by the end of the name of its field. All ids begin with their project's.
_PROJECT_IN = {
    "project_id": re.compile(_PROJECT),
    "task_id": re.compile(_PROJECT + "-TASK[0-9]{3,}"),
    "story_id": re.compile(_PROJECT + "-STORY[0-9]{3,}"),
    "sprint_id": re.compile(_PROJECT + "-S[0-9]{2,}"),
}
_LONGEST_ID, _LONGEST_PROJECT = 64, 32


class Unauthenticated(DsmError):
    """Nobody knows who calls."""

    code = Code.UNAUTHENTICATED


class TokenMissing(Unauthenticated):
    """The call carries no token."""

    reason = "TOKEN_MISSING"

    def __init__(self) -> None:
        super().__init__("Say who you are: send a token as `authorization: Bearer <token>`.")


class TokenInvalid(Unauthenticated):
    """The token proves nothing; `why` is for the log alone, and holds nothing of the token."""

    reason = "TOKEN_INVALID"

    def __init__(self, why: str) -> None:
        super().__init__("The token is not valid here: get another one.")
        self.why = why


class TokenExpired(Unauthenticated):
    """The token was good until a while ago."""

    reason = "TOKEN_EXPIRED"

    def __init__(self) -> None:
        super().__init__("The token has expired: get a new one.")


class Role(IntEnum):
    """What a caller may do; each up to ADMIN includes those before it. The contract tells what they stand for."""

    NONE = options_pb2.ROLE_UNSPECIFIED
    VIEWER = options_pb2.ROLE_VIEWER
    MEMBER = options_pb2.ROLE_MEMBER
    SCRUM_MASTER = options_pb2.ROLE_SCRUM_MASTER
    ADMIN = options_pb2.ROLE_ADMIN
    SERVICE = options_pb2.ROLE_SERVICE


class RoleRequired(DsmError):
    """None of the caller's roles allows the call."""

    code = Code.PERMISSION_DENIED
    reason = "ROLE_REQUIRED"

    def __init__(self, role: Role, method: str, project_id: str | None = None) -> None:
        where = f" in project {project_id}" if project_id else ""
        name = method.rpartition("/")[2]
        super().__init__(
            f"{name} needs the role {role.name}{where}.", role=role.name, method=method, project_id=project_id
        )


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls. `role` holds over all projects, `project_roles` in one each; `expires` in seconds since the epoch."""

    subject: str
    role: Role
    is_service: bool
    project_roles: Mapping[str, Role]
    expires: float


@dataclass(frozen=True)
class Access:
    """Who may make a call: the role needed, and the request's fields that name the projects concerned."""

    role: Role = Role.NONE
    fields: tuple[str, ...] = ()

    def check(self, caller: Caller, method: str, request: object) -> None:
        """RoleRequired if the caller may not make the call. `request` may be anything, also no message at all."""
        if self.role is Role.SERVICE or self.role is Role.NONE:
            if caller.is_service and self.role is Role.SERVICE:
                return
            raise RoleRequired(self.role, method)
        if caller.role >= self.role:
            return
        projects = self._projects(request)
        lacking = [each for each in projects if caller.project_roles.get(each, Role.NONE) < self.role]
        if lacking or not projects:
            raise RoleRequired(self.role, method, lacking[0] if lacking else None)

    def _projects(self, request: object) -> list[str]:
        """The project of each field that is set; none at all if one of them cannot be told."""
        found: list[str] = []
        for path in self.fields if isinstance(request, Message) else ():
            value: Any = request
            for name in path.split("."):
                value = getattr(value, name)
            if value:
                project = project_of(path, value)
                if project is None:
                    return []
                found.append(project)
        return found


def project_of(field: str, value: str) -> str | None:
    """The project that an id belongs to, by the name of its field; None if it is no such id."""
    pattern = next((known for end, known in _PROJECT_IN.items() if field.endswith(end)), None)
    match = pattern.fullmatch(value) if pattern and len(value) <= _LONGEST_ID else None
    return match[1] if match and len(match[1]) <= _LONGEST_PROJECT else None


def access_of(method: MethodDescriptor) -> Access:
    """What the contract says of a call; nobody may make one of which it says nothing."""
    option = method.GetOptions().Extensions[options_pb2.access]
    return Access(Role(option.role), tuple(option.project))


def caller_of(claims: Mapping[str, Any]) -> Caller:
    """The caller that verified claims tell of; TokenInvalid if they are not as they must be."""
    subject, expires = claims.get("sub"), claims.get("exp")
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        raise TokenInvalid("sub is not 1 to 255 printable ASCII characters")
    if not isinstance(expires, int | float):
        raise TokenInvalid("exp is no number")
    held = _roles(claims.get("roles", []))
    is_service = Role.SERVICE in held
    if subject.startswith(SERVICE_PREFIX) and not is_service:
        raise TokenInvalid("sub is a service's, and the role service is not there")
    # What services call for others is never more than this.
    over_all = {role for role in held if role is not Role.SERVICE} | ({Role.SCRUM_MASTER} if is_service else set())
    return Caller(
        subject=subject,
        role=max(over_all, default=Role.NONE),
        is_service=is_service,
        project_roles=_project_roles(claims.get("project_roles", {})),
        expires=expires + LEEWAY_SECONDS,
    )


def _roles(claim: object) -> set[Role]:
    """Roles by their names in small letters; what others call roles is passed over."""
    if not isinstance(claim, list) or not all(isinstance(name, str) for name in claim):
        raise TokenInvalid("roles is no list of names")
    return {_ROLES[name] for name in claim if name in _ROLES}


def _project_roles(claim: object) -> Mapping[str, Role]:
    if not isinstance(claim, dict) or not all(isinstance(name, str) for name in claim.values()):
        raise TokenInvalid("project_roles is no map of project to role")
    named = {project: _ROLES.get(name, Role.NONE) for project, name in claim.items()}
    return MappingProxyType({project: role for project, role in named.items() if role is not Role.SERVICE})


_ROLES = {role.name.lower(): role for role in Role if role is not Role.NONE}
