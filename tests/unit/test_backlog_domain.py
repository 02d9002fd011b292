"""The backlog's rules: how tasks move, what sprints take, what cells mean."""

from __future__ import annotations

import csv
import io
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backlog.domain.course import Release, Report, closed, followed, newest, released, unreserved
from services.backlog.domain.errors import (
    DependencyCycle,
    InvalidTaskTransition,
    RecurrenceRuleInvalid,
    TaskOwnedBySprint,
)
from services.backlog.domain.graph import check_acyclic
from services.backlog.domain.importing.columns import Format, columns_of
from services.backlog.domain.importing.errors import ImportHeaderInvalid, RowRefused
from services.backlog.domain.importing.rows import read_rows
from services.backlog.domain.importing.source import CsvSource, Tally
from services.backlog.domain.importing.values import points_of, priority_of, state_of, tags_of, time_of
from services.backlog.domain.planning import Limits, choose
from services.backlog.domain.recurrence import check_recurrence_rule
from services.backlog.domain.task import (
    RANK_STEP,
    Content,
    Course,
    Priority,
    Task,
    TaskState,
    assigned,
    changed_fields,
    moved,
    new_task,
    revised,
)

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def _task(number: int = 1, *, course: Course | None = None, **content: object) -> Task:
    given_content = Content(title="T", **content)  # type: ignore[arg-type]
    return new_task("P", number, number * RANK_STEP, given_content, NOW, course)


MOVES = {
    (TaskState.UNASSIGNED, TaskState.IN_PROGRESS),
    (TaskState.UNASSIGNED, TaskState.COMPLETED),
    (TaskState.UNASSIGNED, TaskState.CANCELLED),
    (TaskState.IN_PROGRESS, TaskState.UNASSIGNED),
    (TaskState.IN_PROGRESS, TaskState.COMPLETED),
    (TaskState.IN_PROGRESS, TaskState.CANCELLED),
    (TaskState.COMPLETED, TaskState.UNASSIGNED),
    (TaskState.CANCELLED, TaskState.UNASSIGNED),
}


@pytest.mark.parametrize("source", list(TaskState))
@pytest.mark.parametrize("target", [s for s in TaskState if s not in ("ASSIGNED_TO_SPRINT", "BLOCKED")])
def test_a_task_moves_outside_a_sprint_as_the_table_says(source: TaskState, target: TaskState) -> None:
    task = _task(course=Course(source))
    if (source, target) in MOVES:
        after = moved(task, target, NOW)
        assert after.course.state is target
        assert after.version == task.version + (2 if target is TaskState.COMPLETED else 1)
    else:
        with pytest.raises(InvalidTaskTransition):
            moved(task, target, NOW)


@pytest.mark.parametrize("target", [TaskState.IN_PROGRESS, TaskState.COMPLETED, TaskState.CANCELLED])
def test_a_sprint_owns_its_tasks(target: TaskState) -> None:
    task = _task(course=Course(TaskState.IN_PROGRESS, sprint_id="P-S01"))
    with pytest.raises(TaskOwnedBySprint):
        moved(task, target, NOW)
    with pytest.raises(TaskOwnedBySprint):
        assigned(task, "E001", NOW)


def test_changed_fields_are_named() -> None:
    task = _task()
    content, course = replace(task.content, title="U", tags=("a",)), Course(assignee_id="E1")
    after = revised(task, NOW, content=content, course=course, rank=1)
    assert changed_fields(task, after) == ["title", "tags", "assignee_id", "rank"]
    assert changed_fields(task, revised(task, NOW)) == []


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY",
        "FREQ=WEEKLY;BYDAY=MO,WE;INTERVAL=2",
        "FREQ=MONTHLY;BYDAY=-1FR;COUNT=12",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=DAILY;UNTIL=20261231",
        "FREQ=DAILY;UNTIL=20261231T235959Z",
    ],
)
def test_recurrence_rules_of_rfc_5545_are_taken(rule: str) -> None:
    check_recurrence_rule(rule, "f")


@pytest.mark.parametrize(
    "rule",
    [
        "daily",
        "FREQ=NOW",
        "INTERVAL=2",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY;COUNT=00",
        "FREQ=WEEKLY;BYDAY=XX",
        "FREQ=MONTHLY;BYMONTHDAY=40",
        "FREQ=YEARLY;BYMONTH=13",
        "FREQ=DAILY;BYHOUR=-1",
        "FREQ=DAILY;UNTIL=never",
        "RRULE:FREQ=DAILY",
        "DTSTART:20260101T000000\nRRULE:FREQ=DAILY",
        "FREQ=DAILY;FOO=1",
        " ",
    ],
)
def test_other_rules_are_refused(rule: str) -> None:
    with pytest.raises(RecurrenceRuleInvalid):
        check_recurrence_rule(rule, "f")


@given(st.text(max_size=60))
def test_no_text_breaks_the_check_of_rules(rule: str) -> None:
    with suppress(RecurrenceRuleInvalid):
        check_recurrence_rule(rule, "f")


_edges = st.dictionaries(
    st.sampled_from("abcdefg"), st.lists(st.sampled_from("abcdefg"), max_size=3).map(tuple), max_size=7
)


@given(_edges)
def test_a_circle_is_found_if_and_only_if_there_is_one(edges: dict[str, tuple[str, ...]]) -> None:
    # Warshall's closure, the slow and plain way.
    reach = {(a, b) for a, targets in edges.items() for b in targets}
    for middle in "abcdefg":
        reach |= {(a, c) for a, b in reach if b == middle for d, c in reach if d == middle}
    try:
        check_acyclic(edges, edges)
        found = False
    except DependencyCycle:
        found = True
    assert found == any((name, name) in reach for name in "abcdefg")


def test_a_long_chain_is_no_circle() -> None:
    check_acyclic({str(n): (str(n + 1),) for n in range(20_000)}, ["0"])


_sizes = st.lists(st.one_of(st.none(), st.integers(0, 13)), max_size=12)


@given(_sizes, st.integers(0, 6), st.one_of(st.none(), st.integers(1, 30)), st.integers(0, 5))
def test_a_choice_is_a_top_part_within_its_limits(
    sizes: list[int | None], max_tasks: int, max_points: int | None, unestimated: int
) -> None:
    tasks = [_task(n, points=None if size is None else Decimal(size)) for n, size in enumerate(sizes, 1)]
    limit = None if max_points is None else Decimal(max_points)
    choice = choose(tasks, (), Limits(max_tasks, limit, Decimal(unestimated)))
    taken = choice.tasks
    assert taken == tasks[: len(taken)]
    assert not max_tasks or len(taken) <= max_tasks
    points = [unestimated if size is None else size for size in sizes]
    if max_points is not None:
        assert len(taken) <= 1 or sum(points[: len(taken)]) <= max_points
    if len(taken) < len(tasks):
        stopped_by_points = max_points is not None and sum(points[: len(taken) + 1]) > max_points
        assert choice.full
        assert len(taken) == max_tasks or stopped_by_points


@given(st.integers(1, 10).flatmap(lambda n: st.lists(st.sets(st.integers(1, n + 2)), min_size=n, max_size=n)))
def test_nothing_is_taken_before_what_it_waits_for_and_nothing_ready_is_left(awaited: list[set[int]]) -> None:
    tasks = [
        _task(n, depends_on=tuple(f"P-TASK{d:03d}" for d in sorted(ids) if d != n)) for n, ids in enumerate(awaited, 1)
    ]
    satisfied = {"P-TASK001"}
    taken = choose(tasks, satisfied, Limits()).tasks
    done = set(satisfied)
    for task in taken:
        assert set(task.content.depends_on) <= done
        done.add(task.task_id)
    left = [task for task in tasks if task not in taken]
    assert not [task for task in left if set(task.content.depends_on) <= done]
    assert len({task.task_id for task in taken}) == len(taken)


def _report(version: int, state: TaskState = TaskState.IN_PROGRESS, *, left: bool = False) -> Report:
    return Report("P-TASK001", "P-S01", version, state, "E1", version % 101, left, NOW)


@given(st.permutations(range(1, 8)))
def test_reports_end_the_same_in_any_order(order: list[int]) -> None:
    task = _task(course=Course(TaskState.ASSIGNED_TO_SPRINT, sprint_id="P-S01"))
    for version in order:
        changes = followed({task.task_id: task}, [_report(version)], NOW)
        task = changes[0][1] if changes else task
    assert task.course.sprint_version == 7
    assert task.course.progress_percent == 7
    assert newest([_report(v) for v in order]) == [_report(7)]


@pytest.mark.parametrize("state", list(TaskState))
@pytest.mark.parametrize("left", [True, False])
def test_what_a_report_makes_can_be_stored(state: TaskState, left: bool) -> None:
    """The table's own check: states of sprints are in one, and an unassigned task is in none."""
    task = _task()
    [(_, after)] = followed({task.task_id: task}, [_report(1, state, left=left)], NOW)
    assert after.course.state is not TaskState.UNASSIGNED or not after.course.sprint_id
    if after.course.state in (TaskState.ASSIGNED_TO_SPRINT, TaskState.BLOCKED):
        assert after.course.sprint_id
    assert (after.course.complete_time is not None) == (after.course.state is TaskState.COMPLETED)


def test_a_sprint_that_is_over_holds_nothing() -> None:
    tasks = [_task(n, course=Course(s, "E1", "P-S01", 50, 3)) for n, s in enumerate(TaskState, 1) if n > 1]
    for _, after in closed(tasks, {}, NOW):
        assert after.course.sprint_id == ""
        assert after.course.state in (TaskState.UNASSIGNED, TaskState.COMPLETED, TaskState.CANCELLED)


def test_a_release_goes_by_sprint_and_version() -> None:
    task = _task(course=Course(TaskState.IN_PROGRESS, "E1", "P-S01", 50, 3))
    tasks = {task.task_id: task}
    for sprint_id, version, changes in (("P-S01", 4, 1), ("P-S01", 3, 1), ("P-S01", 2, 0), ("P-S02", 4, 0)):
        releases = [Release(task.task_id, version)]
        assert len(released(tasks, sprint_id, releases, NOW, roll_over=False)) == changes


def test_what_rolls_over_goes_above_all_in_order() -> None:
    tasks = {t.task_id: t for t in (_task(n, course=Course(TaskState.IN_PROGRESS, "", "P-S01")) for n in (3, 1, 2))}
    releases = [Release(task_id, 1, "E1", 40) for task_id in tasks]
    changes = released(tasks, "P-S01", releases, NOW, roll_over=True, top_rank=-5)
    assert [after.number for _, after in changes] == [1, 2, 3]
    ranks = [after.rank for _, after in changes]
    assert ranks == sorted(ranks)
    assert ranks[-1] < -5
    assert {(a.course.assignee_id, a.course.progress_percent) for _, a in changes} == {("E1", 40)}


def test_an_undone_planning_gives_back_what_was() -> None:
    task = _task(course=Course(TaskState.ASSIGNED_TO_SPRINT, "E9", "P-S01", 0))
    [(_, after)] = unreserved([task], {task.task_id: Release(task.task_id, 0, "E1", 30)}, NOW)
    assert after.course == Course(TaskState.UNASSIGNED, "E1", "", 30)


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
