"""Tokens: what verifies, what does not, and what is remembered of them; files that change; rates."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs

from services.kit.security import watched
from services.kit.security.identity import LEEWAY_SECONDS, Role, TokenExpired, TokenInvalid
from services.kit.security.keys import KeyFile, Secret, parse_keys
from services.kit.security.rate import RateLimit, RateLimited
from services.kit.security.tokens import OwnToken, Verifier, mint, token_in, verifier_of
from services.kit.security.watched import FileUnusable
from services.kit.settings import ProcessSettings, SettingsError, load
from tests.tokens import EC_KEY, RSA_KEY, SECRET, jwks, public_entry, signed, signed_with_the_public_key, unsigned

_NOW = 1_800_000_000.0


class _Clock:
    def __init__(self) -> None:
        self.now = _NOW

    def __call__(self) -> float:
        return self.now


def _jwks_file(folder: Path, **keys: Any) -> Path:
    path = folder / "jwks.json"
    path.write_text(jwks(**keys))
    return path


def _secret_verifier(**settings: Any) -> Verifier:
    return Verifier({"HS256": Secret(SECRET)}, **settings)


async def _refusal(verifier: Verifier, token: str) -> str:
    with pytest.raises((TokenInvalid, TokenExpired)) as refused:
        await verifier.caller(token)
    assert len(token) < 10 or token not in str(refused.value)
    return refused.value.reason


async def test_a_good_token_tells_its_caller() -> None:
    token = mint(SECRET.encode(), "anna", 60, roles=["viewer"], project_roles={"XD": "scrum_master"})
    caller = await _secret_verifier().caller(token)
    assert (caller.subject, caller.role, dict(caller.project_roles)) == (
        "anna",
        Role.VIEWER,
        {"XD": Role.SCRUM_MASTER},
    )


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"aud": "others"}, "TOKEN_INVALID"),
        ({"aud": None}, "TOKEN_INVALID"),
        ({"sub": None}, "TOKEN_INVALID"),
        ({"sub": ""}, "TOKEN_INVALID"),
        ({"exp": None}, "TOKEN_INVALID"),
        ({"exp": "never"}, "TOKEN_INVALID"),
        ({"exp": 1_000}, "TOKEN_EXPIRED"),
        ({"nbf": 3_900_000_000}, "TOKEN_INVALID"),
        ({"iat": 3_900_000_000}, "TOKEN_INVALID"),
        ({"iss": "others"}, "TOKEN_INVALID"),
        ({"iss": None}, "TOKEN_INVALID"),
        ({"roles": "admin"}, "TOKEN_INVALID"),
    ],
)
async def test_claims_that_do_not_hold(changed: dict[str, Any], reason: str) -> None:
    verifier = _secret_verifier(issuer="ours")
    assert (await verifier.caller(signed(iss="ours"))).subject
    assert await _refusal(verifier, signed(**({"iss": "ours"} | changed))) == reason


async def test_one_audience_among_several_is_enough() -> None:
    assert (await _secret_verifier().caller(signed(aud=["others", "dsm"]))).subject == "anna"


_GOOD = signed()
_HEAD, _BODY, _SIGNATURE = _GOOD.split(".")


@pytest.mark.parametrize(
    "token",
    [
        *("", "x", ".", "..", "a.b.c", "é.é.é", "x" * 9000),
        *(f"{_HEAD}.{_BODY}.", f"{_HEAD}.{_BODY}", f"{_HEAD}.{_BODY[:-2]}AA.{_SIGNATURE}"),
        *(_GOOD + "x", _GOOD[:-4] + "AAAA"),
    ],
)
async def test_what_is_no_token_at_all(token: str) -> None:
    assert await _refusal(_secret_verifier(), token) == "TOKEN_INVALID"


_FORGED = {
    "no signature": unsigned(),
    "the public key as secret": signed_with_the_public_key("one"),
    "the public key as secret, no key id": signed_with_the_public_key(),
    "a secret": signed(),
    "another algorithm of the key": signed(RSA_KEY, "RS512", "one"),
    "another padding": signed(RSA_KEY, "PS256", "one"),
    "the id of the other key": signed(RSA_KEY, "RS256", "two"),
    "the id of the other key too": signed(EC_KEY, "ES256", "one"),
    "an id that nobody knows": signed(EC_KEY, "ES256", "three"),
    "another key under a known id": signed(rsa.generate_private_key(65537, 2048), "RS256", "one"),
}


@pytest.mark.parametrize("token", _FORGED.values(), ids=_FORGED)
async def test_no_algorithm_but_those_of_the_keys(tmp_path: Path, token: str) -> None:
    keys = KeyFile(str(_jwks_file(tmp_path, one=RSA_KEY, two=EC_KEY)))
    verifier = Verifier({"RS256": keys, "ES256": keys})
    # Without an id there is only one key that can be meant.
    for good in (signed(RSA_KEY, "RS256", "one"), signed(EC_KEY, "ES256", "two"), signed(RSA_KEY, "RS256")):
        assert (await verifier.caller(good)).subject
    assert await _refusal(verifier, token) == "TOKEN_INVALID"


@pytest.mark.parametrize("token", [unsigned(), signed_with_the_public_key(), signed_with_the_public_key("one")])
async def test_a_secret_beside_the_keys_is_for_its_own_tokens(tmp_path: Path, token: str) -> None:
    keys = KeyFile(str(_jwks_file(tmp_path, one=RSA_KEY)))
    verifier = Verifier({"HS256": Secret(SECRET), "RS256": keys, "ES256": keys})
    assert (await verifier.caller(signed())).subject
    assert (await verifier.caller(signed(RSA_KEY, "RS256", "one"))).subject
    assert await _refusal(verifier, token) == "TOKEN_INVALID"


async def test_a_token_is_verified_once_and_forgotten_when_it_expires() -> None:
    clock = _Clock()
    clock.now = time.time()
    verifier = _secret_verifier(clock=clock)
    token = mint(SECRET.encode(), "anna", 60)
    first = await verifier.caller(token)
    assert await verifier.caller(token) is first
    clock.now = time.time() + 60 + LEEWAY_SECONDS - 5
    assert await verifier.caller(token) is first
    clock.now = time.time() + 60 + LEEWAY_SECONDS + 5
    assert await _refusal(verifier, token) == "TOKEN_EXPIRED"
    assert not verifier._known


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.kit.security.tokens._MOST_KNOWN", 3)
    verifier = _secret_verifier()
    for number in range(10):
        await verifier.caller(mint(SECRET.encode(), f"person-{number}", 60))
    assert len(verifier._known) == 3


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are looked at whenever they are asked for."""
    monkeypatch.setattr(watched, "LOOK_SECONDS", 0.0)


@pytest.mark.usefixtures("look")
async def test_keys_in_a_file_are_replaced_under_a_running_process(tmp_path: Path) -> None:
    path = _jwks_file(tmp_path, one=RSA_KEY)
    keys = KeyFile(str(path))
    verifier = Verifier({"RS256": keys, "ES256": keys})
    old, new = signed(RSA_KEY, "RS256", "one"), signed(EC_KEY, "ES256", "two")
    assert (await verifier.caller(old)).subject
    assert await _refusal(verifier, new) == "TOKEN_INVALID"
    _replace(path, jwks(two=EC_KEY))
    assert (await verifier.caller(new)).subject
    # What was verified with a key that is gone is forgotten with it.
    assert await _refusal(verifier, old) == "TOKEN_INVALID"
    _replace(path, "{broken")
    with capture_logs() as logs:
        assert (await verifier.caller(new)).subject
        assert (await verifier.caller(new)).subject
    assert [entry["event"] for entry in logs] == ["file.unusable"]
    path.unlink()
    assert (await verifier.caller(new)).subject


@pytest.mark.usefixtures("look")
async def test_a_secret_in_a_file_is_replaced_under_a_running_process(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(SECRET + "\n")
    settings = ProcessSettings(jwt_secret_file=str(path))
    secret = Secret(file=str(path))
    verifier = verifier_of(settings, secret)
    own = OwnToken("sprint", secret, settings)
    assert verifier
    first = own()
    assert (await verifier.caller(first)).is_service
    assert own() == first
    _replace(path, "t" * 40)
    assert await _refusal(verifier, first) == "TOKEN_INVALID"
    assert (await verifier.caller(own())).subject == "service:sprint"


@pytest.mark.usefixtures("look")
def test_a_services_token_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one.two.three\n")
    token = token_in(str(path))
    assert token() == "one.two.three"
    _replace(path, "four.five.six")
    assert token() == "four.five.six"


def _replace(path: Path, content: str) -> None:
    """As those do who renew secrets: a new file under the old name."""
    fresh = path.with_suffix(".new")
    fresh.write_text(content)
    os.replace(fresh, path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "{broken",
        '{"keys": []}',
        '{"keys": [7]}',
        '{"keys": [{"kty": "oct", "k": "c2VjcmV0", "kid": "x"}]}',
    ],
)
def test_a_set_without_a_usable_key(content: str) -> None:
    with pytest.raises(ValueError, match="it "):
        parse_keys(content.encode())


def test_keys_that_are_not_for_us() -> None:
    good = public_entry(RSA_KEY)
    listed = [
        good | {"kid": "good"},
        good | {"kid": "enc", "use": "enc"},
        good | {"kid": "other", "alg": "RS512"},
        good | {"kid": "odd", "alg": ["RS256"]},
        good | {"kid": "private", "d": "AQAB"},
        public_entry(rsa.generate_private_key(65537, 1024)) | {"kid": "weak"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared", "alg": "RS256"},
        {"kid": "nothing"},
    ]
    assert list(parse_keys(json.dumps({"keys": listed}).encode())) == [("RS256", "good")]


@pytest.mark.parametrize(
    "make",
    [
        lambda path: Secret(file=path),
        KeyFile,
        token_in,
    ],
)
def test_a_file_that_does_not_serve_stops_the_start(tmp_path: Path, make: Callable[[str], Any]) -> None:
    path = tmp_path / "file"
    with pytest.raises(FileUnusable, match="DSM_"):
        make(str(path))
    path.write_text("short but secret")
    with pytest.raises(FileUnusable) as refused:
        make(str(path))
    assert "secret" not in str(refused.value).removeprefix("DSM_").replace("a secret needs", "")


def test_a_secret_is_never_shown() -> None:
    settings = load(ProcessSettings, {"DSM_JWT_SECRET": SECRET})
    assert SECRET not in f"{settings!r} {settings} {settings.model_dump_json()}"
    with pytest.raises(SettingsError) as refused:
        load(ProcessSettings, {"DSM_JWT_SECRET": "too-short"})
    assert "too-short" not in str(refused.value)
    assert "DSM_JWT_SECRET" in str(refused.value)


def test_a_caller_has_a_burst_and_then_a_rate() -> None:
    clock = _Clock()
    limit = RateLimit(2, 3, clock)
    for _ in range(3):
        limit.take("anna")
    with pytest.raises(RateLimited) as refused:
        limit.take("anna")
    assert refused.value.metadata == {"limit": "2"}
    assert refused.value.retry_after == pytest.approx(0.5)
    limit.take("bob")
    clock.now += 0.5
    limit.take("anna")
    with pytest.raises(RateLimited):
        limit.take("anna")
    clock.now += 1000
    for _ in range(3):
        limit.take("anna")
    with pytest.raises(RateLimited):
        limit.take("anna")


def test_a_slow_rate_lets_the_first_call_through() -> None:
    limit = RateLimit(0.1, 0, _Clock())
    limit.take("anna")
    with pytest.raises(RateLimited) as refused:
        limit.take("anna")
    assert refused.value.retry_after == pytest.approx(10)


def test_callers_are_forgotten_before_memory_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.kit.security.rate._MOST_CALLERS", 3)
    limit = RateLimit(1, 1, _Clock())
    for name in "abcdef":
        limit.take(name)
    assert list(limit._buckets) == ["d", "e", "f"]
    with pytest.raises(RateLimited):
        limit.take("f")
