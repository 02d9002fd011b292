"""Importing: what cells, headers and rows mean."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backlog.domain.importing.columns import Format, columns_of
from services.backlog.domain.importing.errors import ImportHeaderInvalid, RowRefused
from services.backlog.domain.importing.rows import read_rows
from services.backlog.domain.importing.source import CsvSource, Tally
from services.backlog.domain.importing.values import points_of, priority_of, state_of, tags_of, time_of
from services.backlog.domain.task import Priority, TaskState


@pytest.mark.parametrize(
    ("status", "resolution", "expected"),
    [
        ("Done", "", "COMPLETED"),
        ("closed", "Fixed", "COMPLETED"),
        ("Closed", "Won't Fix", "CANCELLED"),
        ("Resolved", "Duplicate", "CANCELLED"),
        ("Won’t Do", "Done", "CANCELLED"),
        ("Won't Fix", "Done", "CANCELLED"),
        ("Invalid", "", "CANCELLED"),
        ("Closed", "Cannot Reproduce", "CANCELLED"),
        ("In Progress", "", "IN_PROGRESS"),
        ("In Review", "Unresolved", "IN_PROGRESS"),
        ("Open (as of snapshot)", "", "UNASSIGNED"),
        ("To Do", "Unresolved", "UNASSIGNED"),
        ("", "", "UNASSIGNED"),
        ("", "Complete", "COMPLETED"),
        ("Odd", "Answered", "COMPLETED"),
        ("Odd", "Later", "UNASSIGNED"),
        ("Waiting", "Won't Fix", "IN_PROGRESS"),
    ],
)
def test_states_of_other_systems_have_a_meaning(status: str, resolution: str, expected: str) -> None:
    assert state_of(status, resolution, {"waiting": TaskState.IN_PROGRESS}) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2014-03-04 11:32:23", datetime(2014, 3, 4, 11, 32, 23, tzinfo=UTC)),
        ("2014-03-04 11:32", datetime(2014, 3, 4, 11, 32, tzinfo=UTC)),
        ("2014-03-04", datetime(2014, 3, 4, tzinfo=UTC)),
        ("2014-03-04T11:32:23.5+0200", datetime(2014, 3, 4, 9, 32, 23, 500_000, tzinfo=UTC)),
        ("2014-03-04T11:32:23Z", datetime(2014, 3, 4, 11, 32, 23, tzinfo=UTC)),
        ("04/Mar/14 11:32 AM", datetime(2014, 3, 4, 11, 32, tzinfo=UTC)),
        ("04/Mar/14 12:05 AM", datetime(2014, 3, 4, 0, 5, tzinfo=UTC)),
        ("4/mar/2014 12:05 PM", datetime(2014, 3, 4, 12, 5, tzinfo=UTC)),
        ("04/Mar/14 23:32", datetime(2014, 3, 4, 23, 32, tzinfo=UTC)),
        ("29/Feb/16", datetime(2016, 2, 29, tzinfo=UTC)),
        ("  ", None),
    ],
)
def test_dates_of_jira_and_iso_are_read(text: str, expected: datetime | None) -> None:
    assert time_of(text, "f") == expected


@pytest.mark.parametrize("text", ["29/Feb/15", "04/Foo/14", "13/Mar/14 13:00 PM", "yesterday", "2014-13-01", "0"])
def test_other_dates_are_refused(text: str) -> None:
    with pytest.raises(RowRefused):
        time_of(text, "f")


@pytest.mark.parametrize(("text", "expected"), [("", None), ("3.0", 3), ("0", 0), ("1e2", 100), (" 2.25 ", 2.25)])
def test_points_are_read(text: str, expected: float | None) -> None:
    assert points_of(text, "f") == expected


@pytest.mark.parametrize("text", ["x", "-1", "10000.01", "nan", "inf", "1.005", "1,5", "1e99999"])
def test_other_points_are_refused(text: str) -> None:
    with pytest.raises(RowRefused):
        points_of(text, "f")


def test_priorities_and_tags_are_read() -> None:
    assert (priority_of("Blocker"), priority_of(" major"), priority_of("P1")) == (
        Priority.URGENT,
        Priority.MEDIUM,
        None,
    )
    assert tags_of(["a b", "b,c;", ""], r",;\s", "f") == ("a", "b", "c")
    with pytest.raises(RowRefused):
        tags_of([",".join(map(str, range(51)))], ",", "f")


def test_headers_are_compared_without_case_and_underscores() -> None:
    columns = columns_of(["ISSUE_KEY", " Title ", "labels", "Story  Points", "Labels"], Format.JIRA_CSV, {})
    assert columns.fields == {"key": (0,), "title": (1,), "tags": (2, 4), "points": (3,)}
    mapped = columns_of(["A", "B"], Format.MAPPED_CSV, {"title": "b", "Team": "a"})
    assert (mapped.fields, mapped.custom) == ({"title": (1,)}, {"Team": 0})
    with pytest.raises(ImportHeaderInvalid):
        columns_of(["A", "B"], Format.MAPPED_CSV, {"key": "a"})


_cells = st.lists(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8), min_size=2, max_size=2
    ),
    max_size=8,
)


@given(_cells)
def test_rows_come_back_with_their_lines(cells: list[list[str]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["h1", "h2"])
    lines = []
    for row in cells:
        lines.append(len(text.getvalue().replace("\r\n", "\n").replace("\r", "\n").split("\n")))
        writer.writerow(row)
    text.seek(0)
    found = list(read_rows(text))[1:]
    assert [row for _, row in found] == cells
    assert [line for line, _ in found] == lines


def test_a_source_reads_in_batches_and_tallies_what_it_refuses() -> None:
    body = "".join(f"X-{n},Title,{n % 7}\n" for n in range(1201)) + "X-3,Again,1\nX-A,,1\n"
    file = io.BytesIO(f"\ufeffkey,summary,story points\n{body}".encode())
    source = CsvSource(file, "utf-8-sig", Format.JIRA_CSV, {}, {}, "jira")
    tally = Tally()
    batches = list(source.batches(tally))
    assert [len(batch) for batch in batches] == [500, 500, 201]
    assert (tally.rows, tally.refused) == (1203, 2)
    assert [(row.line, row.key, row.field) for row in tally.refusals] == [(1203, "X-3", "key"), (1204, "X-A", "title")]
    again = [draft.digest for batch in source.batches(Tally()) for draft in batch]
    assert again == [draft.digest for batch in batches for draft in batch]
    assert len(set(again)) == 1201


def test_estimates_and_due_dates_are_read() -> None:
    file = io.BytesIO(b"n;h;d\nT;1.5;04/Mar/14 11:00 PM\n")
    mapping = {"title": "n", "estimate_hours": "h", "due_date": "d"}
    [[draft]] = CsvSource(file, "utf-8-sig", Format.MAPPED_CSV, mapping, {}, "csv").batches(Tally())
    assert draft.values["estimate"] == timedelta(hours=1.5)
    assert draft.values["due_date"] == date(2014, 3, 4)
    assert (draft.key, draft.state, draft.assignee_id) == ("", None, None)
