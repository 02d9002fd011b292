"""Tasks that join a sprint under way, leave it or change hands."""

from decimal import Decimal

import pytest

from services.sprint.domain import planning, progress, scope
from services.sprint.domain.assigning import Candidate
from services.sprint.domain.scope import Scope, ScopeChange
from services.sprint.domain.sprint import Outcome, TaskState, summarize
from tests.unit.sprint.sprints import MONDAY, NOW, make_sprint, make_task


def test_a_task_joins_with_the_version_after_its_last() -> None:
    reserved = planning.Reserved(Candidate("P-TASK009", Decimal(3), "E1"), "Nine", 20, 4, 7)
    task = scope.joined(make_sprint(), reserved, "", 6, 5, MONDAY, NOW)
    assert (task.version, task.assignee_id, task.progress_percent) == (7, "E1", 20)
    assert (task.state, task.add_date, task.backlog_version) == (TaskState.ASSIGNED_TO_SPRINT, MONDAY, 7)
    assert scope.joined(make_sprint(), reserved, "E2", 0, 5, MONDAY, NOW).assignee_id == "E2"
    assert scope.gained(task, MONDAY) == ScopeChange(MONDAY, Scope.ADDED, Decimal(3))


@pytest.mark.parametrize("state", [TaskState.ASSIGNED_TO_SPRINT, TaskState.IN_PROGRESS, TaskState.BLOCKED])
def test_a_task_is_taken_out_unfinished(state: TaskState) -> None:
    task = scope.removed(make_task(state=state, progress_percent=30), NOW)
    assert (task.state, task.outcome, task.version) == (TaskState.UNASSIGNED, Outcome.REMOVED, 2)
    assert task.progress_percent == 30
    assert scope.lost(task, MONDAY) == ScopeChange(MONDAY, Scope.REMOVED, Decimal(-5))


def test_a_completed_task_stays_or_is_given_up() -> None:
    done = make_task(state=TaskState.COMPLETED)
    with pytest.raises(progress.InvalidTaskTransition):
        scope.removed(done, NOW)
    assert scope.cancelled(done, NOW).outcome is Outcome.CANCELLED


def test_a_task_in_the_same_hands_has_not_changed() -> None:
    task = make_task()
    assert scope.reassigned(task, "E1", NOW) is task
    assert scope.reassigned(task, "", NOW).version == 2


def test_only_the_team_gets_tasks() -> None:
    scope.check_on_team("E1", {"E1"}, "P")
    scope.check_on_team("", set(), "P")
    with pytest.raises(scope.AssigneeNotOnTeam):
        scope.check_on_team("E9", {"E1"}, "P")


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
