"""Who gets which task: by share of the capacity, by whose it is, by skill."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.sprint.domain import assigning
from services.sprint.domain.assigning import Candidate
from services.sprint.domain.sprint import Member


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


@given(plans())
def test_points_follow_capacity_within_the_largest_task(plan: tuple[list[Candidate], list[Member]]) -> None:
    tasks, members = plan
    given_out = assigning.assign(tasks, members).assignees
    estimates = [t.points for t in tasks if t.points is not None]
    mean = sum(estimates, Decimal(0)) / len(estimates) if sum(estimates, Decimal(0)) else Decimal(1)
    default = max(Decimal("0.01"), mean.quantize(Decimal("0.01")))
    size = {t.task_id: default if t.points is None else t.points for t in tasks}
    total, capacity = sum(size.values()), sum(m.person_days for m in members)
    for somebody in members:
        got = sum(size[task_id] for task_id, who in given_out.items() if who == somebody.employee_id)
        assert abs(got * capacity - total * somebody.person_days) <= max(size.values()) * capacity


@given(plans())
def test_everything_is_given_and_never_to_somebody_without_capacity(plan: tuple[list[Candidate], list[Member]]) -> None:
    tasks, members = plan
    result = assigning.assign(tasks, members)
    able = {m.employee_id for m in members if m.person_days > 0}
    assert set(result.assignees) == {t.task_id for t in tasks}
    assert set(result.assignees.values()) <= able
    moved = {t.task_id for t in tasks if t.assignee_id and result.assignees[t.task_id] != t.assignee_id}
    assert {r.task_id for r in result.reassignments} == moved


@settings(max_examples=20)
@given(plans())
def test_the_same_plan_comes_out_again(plan: tuple[list[Candidate], list[Member]]) -> None:
    assert assigning.assign(*plan) == assigning.assign(*plan)


def test_equals_take_turns() -> None:
    team = [member("E1"), member("E2"), member("E3")]
    result = assigning.assign([candidate(n) for n in range(1, 7)], team).assignees
    assert list(result.values()) == ["E1", "E2", "E3", "E1", "E2", "E3"]


def test_who_has_a_task_keeps_it() -> None:
    tasks = [candidate(1, "5", "E2"), candidate(2), candidate(3, "5", "E2"), candidate(4)]
    result = assigning.assign(tasks, [member("E1"), member("E2")])
    assert result.assignees["P-TASK001"] == result.assignees["P-TASK003"] == "E2"
    assert result.assignees["P-TASK002"] == result.assignees["P-TASK004"] == "E1"
    assert not result.reassignments


def test_a_single_task_stays_although_it_is_more_than_the_share() -> None:
    result = assigning.assign([candidate(1, "5", "E2")], [member("E1"), member("E2")])
    assert result.assignees == {"P-TASK001": "E2"}


@pytest.mark.parametrize("days", [None, "0"])
def test_a_task_moves_from_who_cannot_work(days: str | None) -> None:
    team = [member("E1")] + ([member("E2", days)] if days else [])
    result = assigning.assign([candidate(1, "5", "E2")], team)
    (moved,) = result.reassignments
    assert (moved.from_employee_id, moved.to_employee_id) == ("E2", "E1")


def test_what_passes_the_share_by_more_than_a_task_moves() -> None:
    tasks = [candidate(n, "5", "E1") for n in range(1, 9)]
    result = assigning.assign(tasks, [member("E1"), member("E2")])
    assert len(result.reassignments) in (3, 4)


def test_skills_decide_between_people_with_room() -> None:
    team = [member("E1", "10", "sql"), member("E2", "10", "python"), member("E3")]
    tasks = [candidate(1, "5", "", "python"), candidate(2, "5", "", "sql"), candidate(3)]
    assert list(assigning.assign(tasks, team).assignees.values()) == ["E2", "E1", "E3"]


def test_loads_count_points_and_tasks() -> None:
    found = assigning.loads([member("E2"), member("E1", "0")], [("E2", Decimal(3)), ("E2", None), ("", Decimal(1))])
    assert [(load.employee_id, load.tasks, load.points) for load in found] == [
        ("E1", 0, Decimal(0)),
        ("E2", 2, Decimal(3)),
    ]
