"""The kit's pure parts."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from dsm.backlog.v1 import backlog_service_pb2 as backlog_pb
from dsm.events.v1 import project_events_pb2
from dsm.project.v1 import project_service_pb2 as project_pb
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st

from services.kit import convert
from services.kit.clock import day_in
from services.kit.data.paging import page_of
from services.kit.envelope import new_event, stream_of, stream_subjects, subject_of
from services.kit.errors import EtagMismatch, InvalidArgument, NotFound, PageTokenInvalid
from services.kit.settings import ProcessSettings, Settings, SettingsError, StatefulSettings, load, refuse_unknown
from services.kit.status import to_status

_NOW = datetime(2026, 1, 5, 23, 30, tzinfo=UTC)


class Gone(NotFound):
    """A test's own error."""

    reason = "TASK_NOT_FOUND"


def test_a_page_token_carries_the_last_key_to_the_same_query_only() -> None:
    request = backlog_pb.ListTasksRequest(project_id="A", page_size=2)
    rows, token = page_of(request).cut([("x", 1), ("y", 2), ("z", 3)], key=lambda row: (row[1], row[0]))
    assert rows == [("x", 1), ("y", 2)]
    following = backlog_pb.ListTasksRequest(project_id="A", page_size=50, page_token=token)
    assert page_of(following).after == (2, "y")
    for other in (
        backlog_pb.ListTasksRequest(project_id="B", page_token=token),
        backlog_pb.ListTasksRequest(project_id="A", query="x", page_token=token),
        project_pb.ListProjectsRequest(page_token=token),
    ):
        with pytest.raises(PageTokenInvalid):
            page_of(other)


def test_the_last_page_has_no_token() -> None:
    request = project_pb.ListProjectsRequest(page_size=3)
    assert page_of(request).cut([1, 2, 3], key=lambda row: (row,)) == ([1, 2, 3], "")


@pytest.mark.parametrize(("asked", "size"), [(0, 50), (1, 1), (250, 250), (251, 250), (2_000_000_000, 250)])
def test_page_sizes(asked: int, size: int) -> None:
    assert page_of(project_pb.ListProjectsRequest(page_size=asked)).size == size


@given(st.text(max_size=200))
def test_a_damaged_token_is_refused(token: str) -> None:
    if token:
        with pytest.raises(PageTokenInvalid):
            page_of(project_pb.ListProjectsRequest(page_token=token))


def test_settings_of_a_service_win_over_common_ones() -> None:
    environ = {
        "DSM_NATS_URL": "nats://a",
        "DSM_POOL_SIZE": "4",
        "DSM_BACKLOG_POOL_SIZE": "6",
        "DSM_BACKLOG_DATABASE_URL": "postgresql://b",
    }
    settings = load(StatefulSettings, environ, "backlog")
    assert (settings.pool_size, settings.nats_url, settings.database_url) == (6, "nats://a", "postgresql://b")


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, "DSM_BACKLOG_DATABASE_URL"),
        ({"DSM_DATABASE_URL": "postgresql://b"}, "DSM_BACKLOG_NATS_URL"),
        ({"DSM_DATABASE_URL": "postgresql://b", "DSM_NATS_URL": "n", "DSM_POOL_SIZE": "none"}, "DSM_POOL_SIZE"),
    ],
)
def test_a_missing_or_bad_setting_is_named_in_one_sentence(environ: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named) as failed:
        load(StatefulSettings, environ, "backlog")
    assert "\n" not in str(failed.value)


def test_an_unknown_setting_is_refused() -> None:
    kinds: dict[str, type[Settings]] = {"": ProcessSettings, "backlog": StatefulSettings}
    refuse_unknown({"DSM_PORT": "1", "DSM_BACKLOG_POOL_SIZE": "2", "PATH": "/"}, kinds)
    with pytest.raises(SettingsError, match="DSM_PROT"):
        refuse_unknown({"DSM_PROT": "1"}, kinds)


@pytest.mark.parametrize("text", ["2026-02-30", "2026-13-01", "today", "20260105x"])
def test_a_day_that_is_none_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(InvalidArgument) as failed:
        convert.to_date(text, "start_date")
    assert failed.value.metadata["field"] == "start_date"
    assert failed.value.metadata["value"] == text


@pytest.mark.parametrize(("zone", "day"), [("UTC", 5), ("Pacific/Auckland", 6), ("America/New_York", 5)])
def test_a_day_is_counted_in_its_zone(zone: str, day: int) -> None:
    assert day_in(_NOW, zone) == date(2026, 1, day)


def test_points_have_two_decimals_at_most() -> None:
    assert convert.from_points(convert.to_points(2.25, "points")) == 2.25
    with pytest.raises(InvalidArgument):
        convert.to_points(0.125, "points")


def test_masks_name_known_fields_once() -> None:
    assert convert.masked_paths(FieldMask(paths=["b", "a", "b"]), {"a", "b"}, "task") == ["b", "a"]
    for paths in ([], ["nope"], ["a", "state"]):
        with pytest.raises(InvalidArgument):
            convert.masked_paths(FieldMask(paths=paths), {"a", "b"}, "task")


def test_etags() -> None:
    convert.check_etag("", 3)
    convert.check_etag(convert.etag_of(3), 3)
    with pytest.raises(EtagMismatch):
        convert.check_etag(convert.etag_of(2), 3)


def test_an_error_becomes_one_rich_status() -> None:
    status: Any = to_status(Gone("Task A does not exist.", task_id="A", nothing=None))
    assert status.code.name == "NOT_FOUND"
    assert status.details == "Task A does not exist."


def test_an_event_knows_its_subject_and_stream() -> None:
    payload = project_events_pb2.EmployeeErased(employee_id="E001")
    event = new_event(payload, source="project", aggregate=("employee", "E001"), version=7, now=_NOW)
    assert subject_of(event) == "dsm.project.v1.employee.erased"
    assert (event.aggregate_version, event.actor) == (7, "service:project")
    assert stream_of("dsm.in.sprint.v1.task.progressed") == "DSM_SPRINT_IN"
    assert stream_subjects("DSM_SPRINT_IN") == "dsm.in.sprint.>"
    assert stream_subjects("DSM_SPRINT") == "dsm.sprint.>"
