"""The rules of sprints: days, planning, progress, daily scrum, closing, burndown."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.sprint.domain import burndown, closing, outside, planning, progress, scope, scrum
from services.sprint.domain.outside import OutsideReport, Verdict
from services.sprint.domain.planning import Asked, BacklogFigures, Candidate, PastSprint
from services.sprint.domain.progress import Impediment, ImpedimentState
from services.sprint.domain.scope import Scope, ScopeChange
from services.sprint.domain.scrum import Entry
from services.sprint.domain.sprint import (
    DateOutOfRange,
    Member,
    Outcome,
    Sprint,
    SprintState,
    SprintTask,
    TaskState,
    day_of_closing,
    day_of_work,
    last_day,
    summarize,
)

NOW = datetime(2026, 1, 20, 12, tzinfo=UTC)
MONDAY = date(2026, 1, 5)


def make_sprint(**changes: object) -> Sprint:
    """Two weeks from Monday, 5 January 2026, with E1 and E2 at work on all ten days."""
    days = tuple(MONDAY + timedelta(days=n) for n in range(14) if n % 7 < 5)
    sprint = Sprint(
        sprint_id="P-S01",
        project_id="P",
        number=1,
        name="Sprint 1",
        goal="",
        state=SprintState.IN_PROGRESS,
        start_date=MONDAY,
        end_date=last_day(MONDAY, 2),
        duration_weeks=2,
        time_zone="UTC",
        capacity_person_days=Decimal(20),
        working_dates=days,
        members=(Member("E1", Decimal(10)), Member("E2", Decimal(10))),
        planned_tasks=2,
        planned_points=Decimal(8),
        planning_note_id="",
        close_date=None,
        retrospective_id="",
        statistics=None,
        version=2,
        create_time=NOW,
        update_time=NOW,
    )
    return replace(sprint, **changes)  # type: ignore[arg-type]


def make_task(number: int = 1, **changes: object) -> SprintTask:
    """A task of five points that nobody has begun."""
    task = SprintTask(
        sprint_id="P-S01",
        task_id=f"P-TASK{number:03}",
        project_id="P",
        title=f"Task {number}",
        points=Decimal(5),
        state=TaskState.ASSIGNED_TO_SPRINT,
        assignee_id="E1",
        progress_percent=0,
        version=1,
        position=number,
        add_date=MONDAY,
        complete_date=None,
        outcome=None,
        update_time=NOW,
    )
    return replace(task, **changes)  # type: ignore[arg-type]


def make_impediment(**changes: object) -> Impediment:
    """An impediment that has been open for a day."""
    impediment = Impediment(
        impediment_id="1",
        project_id="P",
        sprint_id="P-S01",
        task_id="P-TASK001",
        raised_by="E1",
        owner_id="E2",
        text="No access to the test system",
        state=ImpedimentState.OPEN,
        raise_date=MONDAY,
        raise_time=NOW - timedelta(days=1),
    )
    return replace(impediment, **changes)  # type: ignore[arg-type]


class TestDays:
    @pytest.mark.parametrize(("weeks", "end"), [(1, date(2026, 1, 11)), (2, date(2026, 1, 18)), (6, date(2026, 2, 15))])
    def test_a_sprint_ends_on_the_last_day_of_its_weeks(self, weeks: int, end: date) -> None:
        assert last_day(MONDAY, weeks) == end

    @pytest.mark.parametrize(
        ("given_day", "today", "expected"),
        [
            (None, date(2026, 1, 7), date(2026, 1, 7)),
            (None, date(2026, 5, 1), date(2026, 1, 18)),
            (date(2026, 1, 6), date(2026, 1, 7), date(2026, 1, 6)),
            (date(2026, 1, 18), date(2026, 1, 18), date(2026, 1, 18)),
        ],
    )
    def test_work_belongs_to_a_day_of_the_sprint(self, given_day: date | None, today: date, expected: date) -> None:
        sprint = make_sprint()
        assert day_of_work(given_day, sprint.start_date, sprint.end_date, today, "work_date") == expected

    @pytest.mark.parametrize(
        ("given_day", "today"),
        [
            (date(2026, 1, 4), date(2026, 1, 7)),
            (date(2026, 1, 19), date(2026, 2, 1)),
            (date(2026, 1, 8), date(2026, 1, 7)),
            (None, date(2026, 1, 1)),
        ],
    )
    def test_no_work_outside_the_sprint_or_in_the_future(self, given_day: date | None, today: date) -> None:
        sprint = make_sprint()
        with pytest.raises(DateOutOfRange) as caught:
            day_of_work(given_day, sprint.start_date, sprint.end_date, today, "work_date")
        assert caught.value.metadata["field"] == "work_date"

    def test_a_sprint_closes_in_it_or_after_it(self) -> None:
        assert day_of_closing(None, make_sprint(), date(2026, 3, 1)) == date(2026, 3, 1)
        assert day_of_closing(MONDAY, make_sprint(), date(2026, 3, 1)) == MONDAY
        for day, today in ((date(2026, 1, 4), date(2026, 3, 1)), (date(2026, 1, 8), date(2026, 1, 7))):
            with pytest.raises(DateOutOfRange):
                day_of_closing(day, make_sprint(), today)


class TestHowMuch:
    backlog = BacklogFigures(free_tasks=50, estimated_tasks=40, total_points=Decimal(120))
    bare = BacklogFigures(free_tasks=50, estimated_tasks=0, total_points=Decimal(0))

    def test_what_is_asked_is_taken(self) -> None:
        assert planning.limit_of(Asked(max_tasks=7), self.backlog, (), Decimal(20)).max_tasks == 7
        assert planning.limit_of(Asked(max_tasks=7), self.backlog, (), Decimal(20)).max_points is None
        limit = planning.limit_of(Asked(max_points=Decimal("9.5")), self.backlog, (), Decimal(20))
        assert (limit.max_tasks, limit.max_points) == (0, Decimal("9.5"))
        limit = planning.limit_of(Asked(task_ids=("P-TASK001",)), self.backlog, (), Decimal(20))
        assert (limit.max_tasks, limit.max_points) == (0, None)

    def test_a_first_sprint_takes_the_default(self) -> None:
        limit = planning.limit_of(Asked(), self.backlog, (), Decimal(20))
        assert limit.max_points == 20 * planning.DEFAULT_POINTS_PER_PERSON_DAY
        assert "default" in limit.basis
        assert limit.unestimated_points == 3

    def test_a_first_sprint_without_any_estimate_takes_tasks(self) -> None:
        limit = planning.limit_of(Asked(), self.bare, (), Decimal(20))
        assert (limit.max_tasks, limit.max_points) == (4, None)
        assert planning.limit_of(Asked(), self.bare, (), Decimal("0.5")).max_tasks == 1

    def test_the_pace_of_closed_sprints_decides_and_recent_ones_count_more(self) -> None:
        history = (PastSprint(Decimal(10), Decimal(20), 4), PastSprint(Decimal(10), Decimal(5), 1))
        limit = planning.limit_of(Asked(), self.backlog, history, Decimal(10))
        # (20 + 5/2) / (10 + 10/2) = 1.5
        assert limit.max_points == 15
        assert "2 closed sprints" in limit.basis

    def test_sprints_in_which_nothing_was_done_do_not_open_the_whole_backlog(self) -> None:
        limit = planning.limit_of(Asked(), self.backlog, (PastSprint(Decimal(10), Decimal(0), 0),), Decimal(10))
        assert limit.max_points == 8

    def test_an_unestimated_backlog_learns_tasks(self) -> None:
        limit = planning.limit_of(Asked(), self.bare, (PastSprint(Decimal(10), Decimal(0), 6),), Decimal(10))
        assert limit.max_tasks == 6


def candidate(number: int, points: str | None = "5", assignee: str = "", *tags: str) -> Candidate:
    """A task to be given to somebody."""
    return Candidate(f"P-TASK{number:03}", None if points is None else Decimal(points), assignee, frozenset(tags))


def member(employee_id: str, days: str = "10", *skills: str) -> Member:
    """Somebody on the team."""
    return Member(employee_id, Decimal(days), frozenset(skills))


capacities = st.decimals(min_value=0, max_value=60, places=2)
sizes = st.none() | st.decimals(min_value=0, max_value=100, places=2)
people = [f"E{n}" for n in range(8)]


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[Candidate], list[Member]]:
    """Any tasks, with any assignees and tags, for any team with some capacity."""
    tags = st.frozensets(st.sampled_from(["python", "sql", "go", "ui"]), max_size=3)
    count = draw(st.integers(1, 7))
    members = [Member(people[n], draw(capacities), draw(tags)) for n in range(count)]
    if not any(m.person_days for m in members):
        members[0] = replace(members[0], person_days=Decimal(1))
    tasks = [
        Candidate(f"T{n}", draw(sizes), draw(st.sampled_from(["", *people])), draw(tags))
        for n in range(draw(st.integers(1, 24)))
    ]
    return tasks, members


class TestAssigning:
    @given(plans())
    def test_points_follow_capacity_within_the_largest_task(self, plan: tuple[list[Candidate], list[Member]]) -> None:
        tasks, members = plan
        given_out = planning.assign(tasks, members).assignees
        estimates = [t.points for t in tasks if t.points is not None]
        mean = sum(estimates, Decimal(0)) / len(estimates) if sum(estimates, Decimal(0)) else Decimal(1)
        default = max(Decimal("0.01"), mean.quantize(Decimal("0.01")))
        size = {t.task_id: default if t.points is None else t.points for t in tasks}
        total, capacity = sum(size.values()), sum(m.person_days for m in members)
        for somebody in members:
            got = sum(size[task_id] for task_id, who in given_out.items() if who == somebody.employee_id)
            assert abs(got * capacity - total * somebody.person_days) <= max(size.values()) * capacity

    @given(plans())
    def test_everything_is_given_and_never_to_somebody_without_capacity(
        self, plan: tuple[list[Candidate], list[Member]]
    ) -> None:
        tasks, members = plan
        result = planning.assign(tasks, members)
        able = {m.employee_id for m in members if m.person_days > 0}
        assert set(result.assignees) == {t.task_id for t in tasks}
        assert set(result.assignees.values()) <= able
        moved = {t.task_id for t in tasks if t.assignee_id and result.assignees[t.task_id] != t.assignee_id}
        assert {r.task_id for r in result.reassignments} == moved

    @settings(max_examples=20)
    @given(plans())
    def test_the_same_plan_comes_out_again(self, plan: tuple[list[Candidate], list[Member]]) -> None:
        assert planning.assign(*plan) == planning.assign(*plan)

    def test_equals_take_turns(self) -> None:
        team = [member("E1"), member("E2"), member("E3")]
        result = planning.assign([candidate(n) for n in range(1, 7)], team).assignees
        assert list(result.values()) == ["E1", "E2", "E3", "E1", "E2", "E3"]

    def test_who_has_a_task_keeps_it(self) -> None:
        tasks = [candidate(1, "5", "E2"), candidate(2), candidate(3, "5", "E2"), candidate(4)]
        result = planning.assign(tasks, [member("E1"), member("E2")])
        assert result.assignees["P-TASK001"] == result.assignees["P-TASK003"] == "E2"
        assert result.assignees["P-TASK002"] == result.assignees["P-TASK004"] == "E1"
        assert not result.reassignments

    def test_a_single_task_stays_although_it_is_more_than_the_share(self) -> None:
        result = planning.assign([candidate(1, "5", "E2")], [member("E1"), member("E2")])
        assert result.assignees == {"P-TASK001": "E2"}

    @pytest.mark.parametrize("days", [None, "0"])
    def test_a_task_moves_from_who_cannot_work(self, days: str | None) -> None:
        team = [member("E1")] + ([member("E2", days)] if days else [])
        result = planning.assign([candidate(1, "5", "E2")], team)
        (moved,) = result.reassignments
        assert (moved.from_employee_id, moved.to_employee_id) == ("E2", "E1")

    def test_what_passes_the_share_by_more_than_a_task_moves(self) -> None:
        tasks = [candidate(n, "5", "E1") for n in range(1, 9)]
        result = planning.assign(tasks, [member("E1"), member("E2")])
        assert len(result.reassignments) in (3, 4)

    def test_skills_decide_between_people_with_room(self) -> None:
        team = [member("E1", "10", "sql"), member("E2", "10", "python"), member("E3")]
        tasks = [candidate(1, "5", "", "python"), candidate(2, "5", "", "sql"), candidate(3)]
        assert list(planning.assign(tasks, team).assignees.values()) == ["E2", "E1", "E3"]

    def test_loads_count_points_and_tasks(self) -> None:
        found = planning.loads([member("E2"), member("E1", "0")], [("E2", Decimal(3)), ("E2", None), ("", Decimal(1))])
        assert [(load.employee_id, load.tasks, load.points) for load in found] == [
            ("E1", 0, Decimal(0)),
            ("E2", 2, Decimal(3)),
        ]


class TestProgress:
    @pytest.mark.parametrize(
        ("before", "percent", "after"),
        [
            (TaskState.ASSIGNED_TO_SPRINT, 0, TaskState.ASSIGNED_TO_SPRINT),
            (TaskState.ASSIGNED_TO_SPRINT, 1, TaskState.IN_PROGRESS),
            (TaskState.ASSIGNED_TO_SPRINT, 100, TaskState.COMPLETED),
            (TaskState.IN_PROGRESS, 0, TaskState.IN_PROGRESS),
            (TaskState.IN_PROGRESS, 100, TaskState.COMPLETED),
            (TaskState.BLOCKED, 0, TaskState.BLOCKED),
            (TaskState.BLOCKED, 40, TaskState.IN_PROGRESS),
            (TaskState.BLOCKED, 100, TaskState.COMPLETED),
        ],
    )
    def test_progress_moves_the_state(self, before: TaskState, percent: int, after: TaskState) -> None:
        task = progress.report_progress(make_task(state=before), percent, MONDAY, NOW)
        assert (task.state, task.progress_percent, task.version) == (after, percent, 2)
        assert task.complete_date == (MONDAY if percent == 100 else None)

    @pytest.mark.parametrize("percent", [0, 50, 100])
    def test_what_is_completed_stays_so(self, percent: int) -> None:
        with pytest.raises(progress.InvalidTaskTransition) as caught:
            progress.report_progress(make_task(state=TaskState.COMPLETED), percent, MONDAY, NOW)
        assert caught.value.metadata["task_id"] == "P-TASK001"
        assert caught.value.metadata["from"] == "COMPLETED"

    @pytest.mark.parametrize("state", [TaskState.IN_PROGRESS, TaskState.BLOCKED])
    def test_work_begun_can_be_blocked(self, state: TaskState) -> None:
        assert progress.block(make_task(state=state), NOW).state is TaskState.BLOCKED

    @pytest.mark.parametrize("state", [TaskState.ASSIGNED_TO_SPRINT, TaskState.COMPLETED, TaskState.CANCELLED])
    def test_other_work_cannot(self, state: TaskState) -> None:
        with pytest.raises(progress.InvalidTaskTransition):
            progress.block(make_task(state=state), NOW)

    def test_an_impediment_is_resolved_once(self) -> None:
        resolved = progress.resolve(make_impediment(), "Access granted", MONDAY, NOW)
        assert (resolved.state, resolved.resolve_time) == (ImpedimentState.RESOLVED, NOW)
        assert resolved.resolve_date == MONDAY
        with pytest.raises(progress.ImpedimentResolved):
            progress.resolve(resolved, "", MONDAY, NOW)

    @pytest.mark.parametrize(
        ("given_day", "today", "expected"),
        [
            (None, date(2026, 1, 7), date(2026, 1, 7)),
            # Told long after the sprint, without a day: nobody knows.
            (None, date(2026, 5, 1), None),
            (date(2026, 1, 6), date(2026, 5, 1), date(2026, 1, 6)),
            (date(2026, 2, 6), date(2026, 5, 1), date(2026, 2, 6)),
        ],
    )
    def test_the_day_of_resolving_is_said_or_today_or_not_known(
        self, given_day: date | None, today: date, expected: date | None
    ) -> None:
        assert progress.day_of_resolving(given_day, make_impediment(), make_sprint(), today) == expected

    @pytest.mark.parametrize("day", [date(2026, 1, 4), date(2026, 1, 8)])
    def test_an_impediment_is_not_resolved_before_it_was_raised_or_tomorrow(self, day: date) -> None:
        with pytest.raises(DateOutOfRange):
            progress.day_of_resolving(day, make_impediment(), make_sprint(), date(2026, 1, 7))

    def test_changed_fields_name_what_differs(self) -> None:
        before = make_task()
        after = progress.report_progress(before, 100, MONDAY, NOW)
        assert progress.changed_fields(before, after) == ["state", "progress_percent", "complete_date"]


class TestScope:
    def test_a_task_joins_with_the_version_after_its_last(self) -> None:
        reserved = planning.Reserved(Candidate("P-TASK009", Decimal(3), "E1"), "Nine", 20, 4, 7)
        task = scope.joined(make_sprint(), reserved, "", 6, 5, MONDAY, NOW)
        assert (task.version, task.assignee_id, task.progress_percent) == (7, "E1", 20)
        assert (task.state, task.add_date, task.backlog_version) == (TaskState.ASSIGNED_TO_SPRINT, MONDAY, 7)
        assert scope.joined(make_sprint(), reserved, "E2", 0, 5, MONDAY, NOW).assignee_id == "E2"
        assert scope.gained(task, MONDAY) == ScopeChange(MONDAY, Scope.ADDED, Decimal(3))

    @pytest.mark.parametrize("state", [TaskState.ASSIGNED_TO_SPRINT, TaskState.IN_PROGRESS, TaskState.BLOCKED])
    def test_a_task_is_taken_out_unfinished(self, state: TaskState) -> None:
        task = scope.removed(make_task(state=state, progress_percent=30), NOW)
        assert (task.state, task.outcome, task.version) == (TaskState.UNASSIGNED, Outcome.REMOVED, 2)
        assert task.progress_percent == 30
        assert scope.lost(task, MONDAY) == ScopeChange(MONDAY, Scope.REMOVED, Decimal(-5))

    def test_a_completed_task_stays_or_is_given_up(self) -> None:
        done = make_task(state=TaskState.COMPLETED)
        with pytest.raises(progress.InvalidTaskTransition):
            scope.removed(done, NOW)
        assert scope.cancelled(done, NOW).outcome is Outcome.CANCELLED

    def test_a_task_in_the_same_hands_has_not_changed(self) -> None:
        task = make_task()
        assert scope.reassigned(task, "E1", NOW) is task
        assert scope.reassigned(task, "", NOW).version == 2

    def test_only_the_team_gets_tasks(self) -> None:
        scope.check_on_team("E1", {"E1"}, "P")
        scope.check_on_team("", set(), "P")
        with pytest.raises(scope.AssigneeNotOnTeam):
            scope.check_on_team("E9", {"E1"}, "P")


def report(minute: int = 0, **changes: object) -> OutsideReport:
    """A report by event of half the work, made some minutes after noon."""
    made = OutsideReport("1", "P-TASK001", "", 50, "", "Did", "Will", "", None, NOW + timedelta(minutes=minute))
    return replace(made, **changes)  # type: ignore[arg-type]


class TestOutside:
    LATER = NOW + timedelta(hours=1)

    @pytest.mark.parametrize(
        ("said", "changes", "state", "archived", "verdict"),
        [
            (report(), {}, SprintState.IN_PROGRESS, False, Verdict.APPLIED),
            (report(sprint_id="P-S01"), {}, SprintState.IN_PROGRESS, False, Verdict.APPLIED),
            (report(sprint_id="P-S09"), {}, SprintState.IN_PROGRESS, False, Verdict.NOT_IN_SPRINT),
            (report(), {}, SprintState.CLOSING, False, Verdict.NOT_IN_SPRINT),
            (report(), {}, SprintState.IN_PROGRESS, True, Verdict.ARCHIVED),
            (report(), {"report_time": NOW}, SprintState.IN_PROGRESS, False, Verdict.APPLIED),
            (report(-1), {"report_time": NOW}, SprintState.IN_PROGRESS, False, Verdict.OLDER),
            (report(1), {"state": TaskState.COMPLETED}, SprintState.IN_PROGRESS, False, Verdict.COMPLETED),
        ],
    )
    def test_what_becomes_of_a_report(
        self, said: OutsideReport, changes: dict[str, object], state: SprintState, archived: bool, verdict: Verdict
    ) -> None:
        assert outside.judge(said, make_task(1, **changes), state, archived=archived) is verdict

    @given(st.permutations(range(6)))
    def test_in_whatever_order_reports_come_the_latest_stands(self, order: list[int]) -> None:
        task = make_task()
        for minute in order:
            said = report(minute, progress_percent=10 + minute)
            if outside.judge(said, task, SprintState.IN_PROGRESS, archived=False) is Verdict.APPLIED:
                task, _ = outside.take(said, task, MONDAY, self.LATER)
        assert task.progress_percent == 15

    def test_a_day_is_that_of_the_report_where_the_project_is(self) -> None:
        days = (MONDAY, MONDAY + timedelta(days=20))
        assert outside.day_of(report(), *days, "UTC", self.LATER) == date(2026, 1, 20)
        assert outside.day_of(report(), *days, "Pacific/Auckland", self.LATER) == date(2026, 1, 21)
        assert outside.day_of(report(), MONDAY, MONDAY, "UTC", self.LATER) == MONDAY
        assert outside.day_of(report(work_date=MONDAY), *days, "UTC", self.LATER) == MONDAY
        with pytest.raises(DateOutOfRange):
            outside.day_of(report(work_date=date(2026, 1, 21)), *days, "UTC", self.LATER)

    def test_an_impediment_blocks_what_is_begun(self) -> None:
        blocked, entry = outside.take(report(impediment="Stuck"), make_task(), MONDAY, NOW)
        assert (blocked.state, entry.employee_id, entry.to_percent) == (TaskState.BLOCKED, "E1", 50)
        done, _ = outside.take(report(impediment="Stuck", progress_percent=100), make_task(), MONDAY, NOW)
        assert done.state is TaskState.COMPLETED

    @pytest.mark.parametrize("text", ["", "None", "none.", " No impediments "])
    def test_that_nothing_blocks_is_no_impediment(self, text: str) -> None:
        assert outside.impediment_in(text) == ""
        assert outside.impediment_in("None of the servers answers") != ""


def entry(number: int, who: str = "E1", percent: int = 50, note: str = "", plan: str = "") -> Entry:
    """Work reported on a task."""
    return Entry(f"P-TASK{number:03}", who, MONDAY, 0, percent, note, plan, NOW)


class TestDailyScrum:
    present: ClassVar = {"E1": Decimal(1), "E2": Decimal(0), "E3": Decimal("0.5")}

    def test_a_report_says_what_each_person_said_of_each_task(self) -> None:
        tasks = [make_task(1, state=TaskState.BLOCKED, progress_percent=50), make_task(2, state=TaskState.COMPLETED)]
        said = [entry(1, "E1", 30, "Began", "Go on"), entry(1, "E1", 50), entry(2, "E3", 100, "Done")]
        report = scrum.compile_report(tasks, said, [make_impediment()], self.present)
        people = {person.employee_id: person for person in report.people}
        assert list(people) == ["E1", "E2", "E3"]
        (first,) = people["E1"].tasks
        assert first.yesterday_work == "Began\nProgress from 0 % to 50 %."
        assert (first.today_work, first.impediments) == ("Go on", "No access to the test system")
        assert people["E2"].away
        assert not people["E2"].tasks
        assert report.updated_tasks == 2
        assert (report.team_size, report.counts.completed_tasks, report.counts.blocked_tasks) == (3, 1, 1)

    def test_a_day_that_nobody_worked_says_so(self) -> None:
        quiet = scrum.compile_report([make_task(1)], [], [], self.present).summary
        assert "No work was reported" in quiet
        assert "Away: E2." in quiet
        off = scrum.compile_report([make_task(1)], [], [], dict.fromkeys(self.present, Decimal(0))).summary
        assert "Nobody is at work on this day." in off

    def test_work_begun_and_not_reported_is_listed_with_empty_words(self) -> None:
        report = scrum.compile_report([make_task(1, state=TaskState.IN_PROGRESS), make_task(2)], [], [], self.present)
        (only,) = report.people[0].tasks
        assert (only.task_id, only.yesterday_work, report.updated_tasks) == ("P-TASK001", "", 0)

    def test_a_simulated_day_is_the_same_for_the_same_seed(self) -> None:
        tasks = [make_task(n, assignee_id=f"E{n % 3 + 1}") for n in range(1, 10)]
        once, again = (scrum.simulate_day(make_sprint(), tasks, self.present, "P-S01:5") for _ in range(2))
        assert once == again
        assert scrum.simulate_day(make_sprint(), tasks, self.present, 7) != once

    @given(st.integers())
    def test_only_those_at_work_make_progress_and_only_on_open_tasks(self, seed: int) -> None:
        tasks = [
            make_task(1, assignee_id="E1", state=TaskState.BLOCKED),
            make_task(2, assignee_id="E1", state=TaskState.COMPLETED, progress_percent=100),
            make_task(3, assignee_id="E1", state=TaskState.IN_PROGRESS, progress_percent=99),
            make_task(4, assignee_id="E2"),
            make_task(5, assignee_id="E3", points=None),
            make_task(6, assignee_id=""),
        ]
        done = scrum.simulate_day(make_sprint(), tasks, self.present, seed)
        assert {s.task.task_id for s in done} <= {"P-TASK003", "P-TASK005"}
        assert all(s.task.progress_percent < s.percent <= 100 for s in done)

    def test_simulated_days_finish_a_sprint_in_about_its_length(self) -> None:
        tasks = [make_task(n, assignee_id=f"E{n % 2 + 1}") for n in range(1, 9)]
        present = {"E1": Decimal(1), "E2": Decimal(1)}
        for day in range(20):
            for made in scrum.simulate_day(make_sprint(), tasks, present, day):
                after = progress.report_progress(made.task, made.percent, MONDAY, NOW)
                tasks = [after if task.task_id == after.task_id else task for task in tasks]
            if day == 4:
                assert 0 < summarize(tasks).completed_tasks < 8
        assert summarize(tasks).completed_tasks == 8

    def test_reports_go_forward_in_the_sprint(self) -> None:
        sprint, today = make_sprint(), date(2026, 1, 9)
        assert scrum.day_of_report(None, sprint, today, date(2026, 1, 8)) == today
        for day in (date(2026, 1, 4), date(2026, 1, 10), date(2026, 1, 7)):
            with pytest.raises(DateOutOfRange):
                scrum.day_of_report(day, sprint, today, date(2026, 1, 8))


class TestClosing:
    def end(self, tasks: list[SprintTask], *impediments: Impediment, before: Decimal | None = None) -> closing.Ending:
        return closing.close(
            make_sprint(), tasks, impediments, [], before, close_date=date(2026, 1, 18), now=NOW
        )  # fmt: skip

    def test_unfinished_tasks_are_released(self) -> None:
        ending = self.end([make_task(1, state=TaskState.COMPLETED), make_task(2, state=TaskState.BLOCKED)])
        assert ending.sprint.state is SprintState.CLOSED_WITH_PENDING_TASKS
        assert [t.outcome for t in ending.ended] == [Outcome.COMPLETED, Outcome.RELEASED]
        assert ending.released[0].state is TaskState.UNASSIGNED

    def test_a_sprint_with_everything_done_is_completed(self) -> None:
        ending = self.end([make_task(1, state=TaskState.COMPLETED), make_task(2, outcome=Outcome.REMOVED)])
        assert ending.sprint.state is SprintState.COMPLETED
        assert ending.sprint.statistics
        assert ending.sprint.statistics.completion_rate == 1

    def test_figures_are_what_happened(self) -> None:
        solved = make_impediment(impediment_id="2", state=ImpedimentState.RESOLVED, resolve_time=NOW)
        tasks = [make_task(1, state=TaskState.COMPLETED), make_task(2, points=Decimal(3)), make_task(3, points=None)]
        figures = self.end(tasks, make_impediment(), solved).sprint.statistics
        assert figures
        assert (figures.completed_tasks, figures.completed_points) == (1, Decimal(5))
        assert (figures.released_tasks, figures.released_points) == (2, Decimal(3))
        assert figures.completion_rate == Decimal("0.3333")
        assert figures.points_per_person_day == Decimal("0.25")
        assert (figures.impediments_raised, figures.impediments_resolved) == (2, 1)
        assert (figures.team_size, figures.working_days) == (2, 10)

    def test_an_empty_sprint_has_no_rates_that_cannot_be_known(self) -> None:
        figures = closing.statistics(make_sprint(capacity_person_days=Decimal(0)), [], [], [], [])
        assert figures.completion_rate is None
        assert figures.points_per_person_day is None

    def test_lessons_come_from_the_sprint_itself(self) -> None:
        missed = make_task(2, state=TaskState.IN_PROGRESS, progress_percent=40, points=Decimal(8))
        tasks = [make_task(1, state=TaskState.COMPLETED, complete_date=MONDAY), missed, make_task(3)]
        solved = make_impediment(impediment_id="2", state=ImpedimentState.RESOLVED, resolve_time=NOW)
        lessons = self.end(tasks, make_impediment(), solved, before=Decimal("0.2")).lessons
        assert any("1 of 3 tasks" in text for text in lessons.well)
        assert any("Pace rose" in text for text in lessons.well)
        assert any("1 of 2 impediments" in text for text in lessons.well)
        assert any("P-TASK002" in text and "not completed" in text for text in lessons.improve)
        assert any("never begun: P-TASK003" in text for text in lessons.improve)
        blocked, pace, split = lessons.actions
        assert (blocked.impediment_id, blocked.owner_id) == ("1", "E2")
        assert "0.25 points per person-day" in pace.description
        assert "P-TASK002" in split.description

    @pytest.mark.parametrize(
        ("days", "said"),
        [
            # Raised on Monday: over a weekend, five working days later.
            ([date(2026, 1, 12)], "after 5 working days on average."),
            ([date(2026, 1, 6), date(2026, 1, 7), date(2026, 1, 7)], "after 1.67 working days on average."),
            ([MONDAY], "resolved, on the day that they were raised."),
            ([None], "1 of 1 impediment resolved."),
            ([date(2026, 1, 6), None], "after 1 working day on average of the 1 whose days are known."),
            # The sprint's calendar does not reach there.
            ([date(2026, 2, 6)], "1 of 1 impediment resolved."),
        ],
    )
    def test_impediments_lasted_as_many_working_days_as_are_known(self, days: list[date | None], said: str) -> None:
        blocks = [make_impediment(state=ImpedimentState.RESOLVED, resolve_time=NOW, resolve_date=day) for day in days]
        lessons = self.end([make_task(state=TaskState.COMPLETED)], *blocks).lessons
        assert any(text.endswith(said) for text in lessons.well), lessons.well

    def test_figures_are_said_with_two_decimals_at_most(self) -> None:
        tasks = [make_task(1, state=TaskState.COMPLETED, points=Decimal("4.44")), make_task(2)]
        lessons = self.end(tasks, before=Decimal("0.12345")).lessons
        said = [*lessons.well, *lessons.improve, *(item.description for item in lessons.actions)]
        assert any("0.22 points per person-day, from 0.12" in text for text in said)
        assert not any(re.search(r"\d\.\d{3}", text) for text in said)

    def test_what_blocked_a_task_that_went_out_is_no_action(self) -> None:
        tasks = [make_task(1, outcome=Outcome.CANCELLED, state=TaskState.CANCELLED), make_task(2)]
        lessons = self.end(tasks, make_impediment()).lessons
        assert not any(item.impediment_id for item in lessons.actions)

    def test_nothing_is_said_without_a_figure(self) -> None:
        lessons = self.end([]).lessons
        assert lessons == closing.Lessons((), (), ())

    def test_work_that_piles_up_at_the_end_is_noticed(self) -> None:
        late = [make_task(n, state=TaskState.COMPLETED, complete_date=date(2026, 1, 16)) for n in (1, 2)]
        assert any("last fifth" in text for text in self.end(late).lessons.improve)
        early = [make_task(n, state=TaskState.COMPLETED, complete_date=MONDAY) for n in (1, 2)]
        assert not self.end(early).lessons.improve


class TestBurndown:
    def test_days_to_come_are_open_and_the_ideal_line_reaches_nothing(self) -> None:
        tasks = [make_task(1, state=TaskState.COMPLETED, complete_date=date(2026, 1, 6)), make_task(2)]
        days = burndown.burndown(make_sprint(planned_points=Decimal(10)), tasks, [], date(2026, 1, 7))
        assert [day.remaining_tasks for day in days[:4]] == [2, 1, 1, None]
        assert [day.remaining_points for day in days[:4]] == [10, 5, 5, None]
        assert [day.working_day for day in days] == [True] * 5 + [False] * 2 + [True] * 5 + [False] * 2
        assert days[0].ideal_points == 9
        assert days[4].ideal_points == days[6].ideal_points == 5
        assert days[-1].ideal_points == days[-1].ideal_tasks == 0

    def test_scope_changes_move_the_line_on_their_day(self) -> None:
        changes = [
            ScopeChange(date(2026, 1, 6), Scope.ADDED, Decimal(3)),
            ScopeChange(date(2026, 1, 7), Scope.REMOVED, Decimal(-5)),
            ScopeChange(date(2026, 1, 7), Scope.ESTIMATED, Decimal(2)),
        ]
        days = burndown.burndown(make_sprint(), [], changes, date(2026, 1, 18))
        assert [day.remaining_tasks for day in days[:3]] == [2, 3, 2]
        assert [day.remaining_points for day in days[:3]] == [8, 11, 8]
        assert (days[1].added_tasks, days[2].removed_tasks, days[2].scope_change_points) == (1, 1, Decimal(-3))


def test_tasks_taken_out_do_not_count() -> None:
    tasks = [
        make_task(1, state=TaskState.COMPLETED),
        make_task(2, state=TaskState.BLOCKED, points=None),
        make_task(3, outcome=Outcome.REMOVED),
        make_task(4, outcome=Outcome.CANCELLED, state=TaskState.CANCELLED),
    ]
    summary = summarize(tasks)
    assert (summary.total_tasks, summary.completed_tasks, summary.pending_tasks, summary.blocked_tasks) == (2, 1, 1, 1)
    assert summary.total_points == summary.completed_points == 5
    assert summary.pending_points == 0
