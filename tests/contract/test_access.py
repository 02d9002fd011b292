"""Every call of the contract, with identity on: nobody passes whom the contract does not let pass."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa
from dsm.common.v1 import options_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from services.kit.security.identity import Role
from services.local.stack import Stack
from tests.contract.calls import Caller, Outcome
from tests.contract.methods import METHODS, short
from tests.harness import World, make_world
from tests.tokens import EC_KEY, RSA_KEY, SECRET, jwks, signed, signed_with_the_public_key, unsigned

_ISSUER = "https://identity.test"
_IDS = {"project_id": "XD", "task_id": "XD-TASK001", "story_id": "XD-STORY001", "sprint_id": "XD-S01"}
_EVERYTHING = ["admin", "service"]
_OTHER_KEY = rsa.generate_private_key(65537, 2048)

pytestmark = pytest.mark.usefixtures("nothing_fails_inside")
each = pytest.mark.parametrize("method", METHODS, ids=short)


@pytest_asyncio.fixture(scope="module")
async def world(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """DSM with identity on, by a secret and by public keys."""
    keys = tmp_path_factory.mktemp("keys") / "jwks.json"
    keys.write_text(jwks(one=RSA_KEY, two=EC_KEY))
    async with AsyncExitStack() as exits:
        made = await make_world(stack, exits, DSM_JWT_SECRET=SECRET, DSM_JWT_JWKS=str(keys), DSM_JWT_ISSUER=_ISSUER)
        await made.start("project", "backlog", "sprint", "chronicle", "orchestrator", "embedding")
        yield made


async def _call(caller: Caller, method: MethodDescriptor, *headers: tuple[str, str]) -> Outcome:
    return await caller.call(method, _request(method), headers=headers)


async def _as(caller: Caller, method: MethodDescriptor, **claims: Any) -> Outcome:
    """With a good token of these claims."""
    return await _call(caller, method, _bearer(signed(**({"iss": _ISSUER, "roles": None} | claims))))


def _bearer(token: str) -> tuple[str, str]:
    return "authorization", f"Bearer {token}"


def _request(method: MethodDescriptor) -> Message:
    """A request about the project XD, as far as the contract says what that is; else an empty one."""
    request = message_factory.GetMessageClass(method.input_type)()
    for path in method.GetOptions().Extensions[options_pb2.access].project:
        *parents, last = path.split(".")
        target: Any = request
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, last, next(value for name, value in _IDS.items() if last.endswith(name)))
    return request


def _strangers() -> dict[str, tuple[tuple[tuple[str, str], ...], str]]:
    """Headers that prove nothing, and what is answered. Were the tokens good, they would allow everything."""
    now = int(time.time())

    def token(**claims: Any) -> str:
        return signed(**({"iss": _ISSUER, "roles": _EVERYTHING} | claims))

    good: dict[str, Any] = {"iss": _ISSUER, "roles": _EVERYTHING}
    tokens = {
        "garbage": "garbage",
        "empty": "",
        "not yet valid": token(nbf=now + 600),
        "another audience": token(aud="others"),
        "no audience": token(aud=None),
        "another issuer": token(iss="https://others.test"),
        "no issuer": token(iss=None),
        "no subject": token(sub=None),
        "no end": token(exp=None),
        "another secret": signed("another secret of 32 bytes or more", **good),
        "another key": signed(_OTHER_KEY, "RS256", "one", **good),
        "an unknown key": signed(_OTHER_KEY, "RS256", "three", **good),
        "no signature": unsigned(**good),
        "the public key as secret": signed_with_the_public_key(**good),
        "the public key as secret, by its id": signed_with_the_public_key("one", **good),
        "roles in another form": token(roles="admin"),
        "a service without the role": token(sub="service:sprint", roles=["admin"]),
    }
    found = {name: ((_bearer(token),), "TOKEN_INVALID") for name, token in tokens.items()}
    return found | {
        "no token": ((), "TOKEN_MISSING"),
        "only an actor": ((("x-dsm-actor", "service:sprint"),), "TOKEN_MISSING"),
        "another scheme": ((("authorization", f"Basic {token()}"),), "TOKEN_INVALID"),
        "no scheme": ((("authorization", token()),), "TOKEN_INVALID"),
        "expired": ((_bearer(token(exp=now - 60)),), "TOKEN_EXPIRED"),
    }


@each
async def test_strangers(caller: Caller, method: MethodDescriptor) -> None:
    wrong = []
    for name, (headers, reason) in _strangers().items():
        outcome = await _call(caller, method, *headers)
        if (outcome.code, outcome.reason, outcome.metadata) != ("UNAUTHENTICATED", reason, {}):
            wrong.append(f"{name}: {outcome}")
    assert not wrong, "\n".join(wrong)


@each
async def test_who_is_known_and_may_not(caller: Caller, method: MethodDescriptor) -> None:
    access = method.GetOptions().Extensions[options_pb2.access]
    lower = Role(access.role - 1)
    below: dict[str, dict[str, Any]] = {
        "no role": {},
        "a role below": {"roles": [lower.name.lower()]},
        "a role in another project": {"project_roles": {"XE": "admin", "XD-1": "admin", "X": "admin", "": "admin"}},
        "a role below in the project": {"project_roles": {"XD": lower.name.lower()}},
        "a service's role in the project": {"project_roles": {"XD": "service"}},
    }
    if not access.project:
        below["a role in a project"] = {"project_roles": {"XD": "admin"}}
    if access.role == options_pb2.ROLE_ADMIN:
        below["a service"] = {"sub": "service:sprint", "roles": ["service"]}
    wrong = []
    for name, claims in below.items():
        outcome = await _as(caller, method, **claims)
        refused = (outcome.code, outcome.reason) == ("PERMISSION_DENIED", "ROLE_REQUIRED")
        facts = {"role": Role(access.role).name, "method": f"/{method.containing_service.full_name}/{method.name}"}
        facts |= {"project_id": "XD"} if access.project else {}
        if not refused or outcome.metadata != facts:
            wrong.append(f"{name}: {outcome}")
    assert not wrong, "\n".join(wrong)


@each
async def test_who_may(caller: Caller, method: MethodDescriptor) -> None:
    access = method.GetOptions().Extensions[options_pb2.access]
    role = Role(access.role).name.lower()
    tokens = {
        "the role, by secret": signed(iss=_ISSUER, roles=[role]),
        "the role, by RSA key": signed(RSA_KEY, "RS256", "one", iss=_ISSUER, roles=[role]),
        "the role, by EC key": signed(EC_KEY, "ES256", "two", iss=_ISSUER, roles=[role]),
        "just expired": signed(iss=_ISSUER, roles=[role], exp=int(time.time()) - 5),
        "about to be valid": signed(iss=_ISSUER, roles=[role], nbf=int(time.time()) + 5),
    }
    if access.role != options_pb2.ROLE_SERVICE:
        tokens["all but a service's"] = signed(iss=_ISSUER, roles=["admin"])
    if access.role != options_pb2.ROLE_ADMIN:
        tokens["a service"] = signed(sub="service:sprint", iss=_ISSUER, roles=["service"])
    if access.project:
        tokens["the role in the project"] = signed(iss=_ISSUER, roles=None, project_roles={"XD": role})
    wrong = []
    for name, token in tokens.items():
        outcome = await _call(caller, method, _bearer(token))
        # UNAVAILABLE: services would not trust each other.
        if outcome.code in ("UNAUTHENTICATED", "PERMISSION_DENIED", "UNAVAILABLE"):
            wrong.append(f"{name}: {outcome}")
    assert not wrong, "\n".join(wrong)


@each
async def test_bytes_that_are_no_message(caller: Caller, method: MethodDescriptor) -> None:
    """They name no project: whose role is in one learns nothing."""
    token = signed(iss=_ISSUER, roles=None, project_roles={"XD": "admin"})
    outcome = await caller.call(method, b"\xff\xff\xff", headers=[_bearer(token)])
    assert (outcome.code, outcome.reason) == ("PERMISSION_DENIED", "ROLE_REQUIRED"), outcome
    outcome = await caller.call(method, b"\xff\xff\xff", headers=[_bearer(signed(iss=_ISSUER, roles=_EVERYTHING))])
    assert (outcome.code, outcome.reason) == ("INVALID_ARGUMENT", "VALIDATION_FAILED"), outcome


@each
async def test_people_act_for_nobody_else(caller: Caller, method: MethodDescriptor) -> None:
    if method.GetOptions().Extensions[options_pb2.access].role == options_pb2.ROLE_SERVICE:
        return
    token = signed(iss=_ISSUER, roles=["admin"])
    outcome = await _call(caller, method, _bearer(token), ("x-dsm-actor", "bob"))
    refused = (outcome.code, outcome.reason) == ("PERMISSION_DENIED", "ROLE_REQUIRED")
    assert refused or outcome.code == "INVALID_ARGUMENT", outcome
