"""The pure parts of `dsm up` and its neighbours."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from dsm.common.v1 import status_service_pb2
from dsm.events.v1 import event_pb2, sprint_events_pb2
from dsm.sprint.v1 import sprint_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.cli import events, grpcurl, registry
from services.cli.announce import identity
from services.cli.client import Failure, find_addresses, sentence
from services.cli.data import data_folder
from services.cli.errors import CliError
from services.cli.migrate import find_urls
from services.cli.names import SERVICES, STATEFUL, address_variable, database_variable
from services.cli.output import plain
from services.cli.servers import database_url, without_password
from services.kit.envelope import SUBJECTS
from services.kit.settings import SettingsError
from services.local.folder import remove_state, write_state

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
SUBJECT = "dsm.sprint.v1.sprint.closed"


@pytest.mark.parametrize(
    ("environ", "options"),
    [
        ({}, "-plaintext"),
        ({"DSM_TOKEN": "secret"}, '-plaintext -H "authorization: Bearer $DSM_TOKEN"'),
        ({"DSM_TOKEN_FILE": "token"}, '-plaintext -H "authorization: Bearer $(cat $DSM_TOKEN_FILE)"'),
        ({"DSM_JWT_JWKS": "keys.json"}, '-plaintext -H "authorization: Bearer $(cat $DSM_TOKEN_FILE)"'),
    ],
)
def test_what_people_are_told_to_try_has_a_token_where_one_is_asked_for(
    environ: dict[str, str], options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DSM_TOKEN", "DSM_TOKEN_FILE", "DSM_JWT_SECRET", "DSM_JWT_SECRET_FILE", "DSM_JWT_JWKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert grpcurl.options() == options


@pytest.mark.parametrize(
    ("given_folder", "environ", "folder"),
    [
        (Path("/named"), {"DSM_DATA_DIR": "/set", "XDG_DATA_HOME": "/xdg"}, Path("/named")),
        (None, {"DSM_DATA_DIR": "/set", "XDG_DATA_HOME": "/xdg"}, Path("/set")),
        (None, {"XDG_DATA_HOME": "/xdg"}, Path("/xdg/dsm")),
        (None, {"XDG_DATA_HOME": "relative"}, Path("~/.local/share/dsm").expanduser()),
        (None, {}, Path("~/.local/share/dsm").expanduser()),
        (Path("here"), {}, Path.cwd() / "here"),
    ],
)
def test_the_data_folder(given_folder: Path | None, environ: dict[str, str], folder: Path) -> None:
    assert data_folder(given_folder, environ) == folder


def test_addresses_come_from_the_target_else_from_the_folder_else_they_are_the_usual_ones(tmp_path: Path) -> None:
    assert set(find_addresses("host:1", tmp_path).values()) == {"host:1"}
    assert set(find_addresses("", tmp_path).values()) == {"127.0.0.1:7600"}
    write_state(tmp_path, {}, {"backlog": "127.0.0.1:9"})
    assert find_addresses("", tmp_path)["backlog"] == "127.0.0.1:9"
    assert find_addresses("", tmp_path)["sprint"] == "127.0.0.1:7600"
    remove_state(tmp_path)


def test_a_failure_of_dsm_tells_message_reason_and_every_violation() -> None:
    failed = Failure("INVALID_ARGUMENT", "VALIDATION_FAILED", "a: too long.", {}, [("a", "too long"), ("b", "missing")])
    told = sentence(failed, "host:1")
    assert all(part in told for part in ("a: too long", "b: missing", "VALIDATION_FAILED"))
    assert "host:1" not in told


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL"])
def test_a_failure_on_the_way_tells_where(code: str) -> None:
    told = sentence(Failure(code, "", "from the library"), "host:1")
    assert "host:1" in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("postgresql://u:p@host:5432", "postgresql://u:p@host:5432/dsm_backlog"),
        ("postgres://u@host/other?sslmode=require", "postgresql://u@host/dsm_backlog?sslmode=require"),
    ],
)
def test_the_url_of_a_database(base: str, url: str) -> None:
    assert database_url(base, "backlog") == url


def test_a_password_is_not_shown() -> None:
    assert without_password("postgresql://u:s3cret@host:1/db?x=y") == "postgresql://u:***@host:1/db?x=y"
    assert without_password("nats://host:4222") == "nats://host:4222"


def test_migrate_finds_databases_by_settings_else_by_what_runs(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="DSM_PROJECT_DATABASE_URL"):
        find_urls([], {}, tmp_path)
    assert find_urls(["backlog"], {"DSM_DATABASE_URL": "one"}, tmp_path) == {"backlog": "one"}
    with pytest.raises(CliError, match="DSM_PROJECT_DATABASE_URL"):
        find_urls([], {"DSM_DATABASE_URL": "one for all is none"}, tmp_path)
    for name in ("embedding", "nonsense"):
        with pytest.raises(CliError, match=name):
            find_urls([name], {}, tmp_path)
    write_state(tmp_path, {}, {"postgres": "postgresql://u@host:1/postgres"})
    found = find_urls([], {"DSM_SPRINT_DATABASE_URL": "set"}, tmp_path)
    assert tuple(found) == STATEFUL
    assert (found["sprint"], found["project"]) == ("set", "postgresql://u@host:1/dsm_project")
    remove_state(tmp_path)


def whole_environment() -> dict[str, str]:
    """What `dsm up` gives to every service."""
    wired = {address_variable(name): "127.0.0.1:7600" for name in SERVICES}
    wired |= {database_variable(name): f"postgresql://host/dsm_{name}" for name in STATEFUL}
    return wired | {"DSM_NATS_URL": "nats://host:4222", "PATH": "/bin"}


@pytest.mark.parametrize("names", [*((name,) for name in SERVICES), SERVICES])
def test_one_environment_serves_every_service(names: tuple[str, ...]) -> None:
    assembly = registry.assemble(names, whole_environment() | {"DSM_BACKLOG_POOL_SIZE": "3"}, {"port": 1})
    assert tuple(entry.name for entry, _ in assembly.parts) == names
    assert assembly.process.port == 1
    for entry, settings in assembly.parts:
        if entry.name in STATEFUL:
            assert getattr(settings, "pool_size") == (3 if entry.name == "backlog" else 8)  # noqa: B009


@pytest.mark.parametrize("name", ["DSM_POOLSIZE", "DSM_BACKLOG_NONSENSE", "DSM_ADDRESS"])
def test_unknown_settings_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        registry.assemble(("backlog",), whole_environment() | {name: "1"})


def test_an_unknown_service_is_refused() -> None:
    with pytest.raises(CliError, match="nonsense"):
        registry.entries(["nonsense"])


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("30s", datetime(2026, 3, 2, 11, 59, 30, tzinfo=UTC)),
        ("2h", datetime(2026, 3, 2, 10, 0, tzinfo=UTC)),
        ("1d", datetime(2026, 3, 1, 12, 0, tzinfo=UTC)),
        ("2026-01-05T09:00:00Z", datetime(2026, 1, 5, 9, 0, tzinfo=UTC)),
        ("2026-01-05T09:00:00+01:00", datetime(2026, 1, 5, 8, 0, tzinfo=UTC)),
    ],
)
def test_since(text: str, instant: datetime) -> None:
    assert events.parse_since(text, NOW) == instant


@pytest.mark.parametrize("text", ["yesterday", "5", "m", "-1h", "2026-13-01"])
def test_since_refuses_what_is_no_time(text: str) -> None:
    with pytest.raises(CliError):
        events.parse_since(text, NOW)


@pytest.mark.parametrize(
    ("pattern", "matched"),
    [
        (">", True),
        ("dsm.>", True),
        ("dsm.sprint.>", True),
        ("dsm.*.v1.sprint.*", True),
        (SUBJECT, True),
        (f"{SUBJECT}.>", False),
        ("dsm.sprint", False),
        ("dsm.backlog.>", False),
        ("dsm.sprint.v1.sprint.*.*", False),
        ("*", False),
    ],
)
def test_subjects_match_as_nats_does(pattern: str, matched: bool) -> None:
    assert events.matches(pattern, SUBJECT) is matched


@given(st.sampled_from(sorted(SUBJECTS.values())), st.data())
def test_a_subject_matches_itself_with_any_wildcards(subject: str, data: st.DataObject) -> None:
    tokens = [data.draw(st.sampled_from([token, "*"])) for token in subject.split(".")]
    assert events.matches(".".join(tokens), subject)
    cut = data.draw(st.integers(0, len(tokens) - 1))
    assert events.matches(".".join([*tokens[:cut], ">"]), subject)


def test_a_short_pattern_means_noun_and_verb_of_any_service() -> None:
    assert events.matching("sprint.closed") == {"DSM_SPRINT": [SUBJECT]}
    assert {"DSM_SPRINT", "DSM_BACKLOG"} == set(events.matching("task.updated"))
    assert sum(map(len, events.matching("dsm.>").values())) == len(set(SUBJECTS.values()))
    with pytest.raises(CliError, match=r"tsak\.updated"):
        events.matching("tsak.updated")


def test_an_event_is_one_line() -> None:
    sprint = sprint_pb2.Sprint(sprint_id="P-S01", project_id="P", name="First\nof many", start_date="2026-03-02")
    event = event_pb2.Event(
        aggregate_id="P-S01",
        aggregate_version=7,
        actor="service:sprint",
        project_id="P",
        sprint_abandoned=sprint_events_pb2.SprintAbandoned(sprint=sprint, reason="no capacity"),
    )
    told = events.line(SUBJECT, event).plain
    assert "\n" not in told
    for part in ("sprint.closed", "P-S01 v7", "name=First of many", "reason=no capacity", "by service:sprint"):
        assert part in told


@given(st.binary(max_size=200))
def test_no_message_ends_the_tail(payload: bytes) -> None:
    assert "\n" not in events.line(SUBJECT, events.decode(payload)).plain


def test_json_has_the_names_of_the_contract() -> None:
    told = plain({"all": [status_service_pb2.ServiceStatus(service="x")], "n": 1})
    assert told["all"][0]["running_sagas"] == 0
    assert told["n"] == 1


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({}, ["off", "this machine alone"]),
        ({"DSM_HOST": "127.0.0.2"}, ["off", "this machine alone"]),
        ({"DSM_HOST": "0.0.0.0"}, ["off", "from elsewhere"]),
        ({"DSM_HOST": "0.0.0.0", "DSM_JWT_SECRET_FILE": "/secret"}, ["on", "token"]),
        ({"DSM_JWT_JWKS": "https://identity.test/keys"}, ["on", "token"]),
    ],
)
def test_who_may_call_is_told(environ: dict[str, str], words: list[str]) -> None:
    assert all(word in identity(environ) for word in words)
