"""Actions of a decision: which are done, tried again, or left out."""

from dataclasses import replace
from uuid import uuid4

import pytest

from services.kit.errors import Aborted, DependencyUnavailable, NotFound
from services.orchestrator.domain.action import (
    RETRY_FOR,
    Action,
    ActionKind,
    ActionState,
    failed,
    next_pending,
    plan,
    settle,
)
from services.orchestrator.domain.decision import decide_rule_based
from services.orchestrator.domain.situation import Analysis, Options, OrchestrateAction, SprintState
from tests.unit.orchestrator.situations import ACT, FINISHED, NOW, RULES, analysis

OPEN = analysis(active_sprint_id="P-S01", active_sprint_state=SprintState.IN_PROGRESS, active_sprint_pending=1)
DONE, SKIPPED, PENDING, FAILED = ActionState.DONE, ActionState.SKIPPED, ActionState.PENDING, ActionState.FAILED


def states(actions: tuple[Action, ...]) -> list[ActionState]:
    return [action.state for action in actions]


@pytest.mark.parametrize(
    ("seen", "options", "asked", "expected"),
    [
        (analysis(), Options(), ACT, [SKIPPED, PENDING, PENDING]),
        (analysis(), Options(create_cronjob=False), ACT, [SKIPPED, PENDING, SKIPPED]),
        (FINISHED, Options(), ACT, [PENDING, PENDING, PENDING]),
        (OPEN, Options(), ACT, [SKIPPED, SKIPPED, PENDING]),
        (FINISHED, Options(close_finished_sprint=False), ACT, [SKIPPED, SKIPPED, SKIPPED]),
        (FINISHED, Options(create_sprint_if_needed=False), ACT, [PENDING, SKIPPED, SKIPPED]),
        (analysis(), Options(assign_tasks=False), ACT, [SKIPPED, SKIPPED, SKIPPED]),
        (FINISHED, Options(dry_run=True), ACT, [SKIPPED, SKIPPED, SKIPPED]),
        (FINISHED, Options(), OrchestrateAction.ANALYZE_ONLY, [SKIPPED, SKIPPED, SKIPPED]),
        (analysis(unassigned=0), Options(), ACT, [SKIPPED, SKIPPED, SKIPPED]),
    ],
)
def test_what_is_done_and_what_is_not(
    seen: Analysis, options: Options, asked: OrchestrateAction, expected: list[ActionState]
) -> None:
    actions = plan(uuid4(), decide_rule_based(seen, options), options, asked, NOW)
    assert states(actions) == expected
    assert all(action.reason for action in actions)


def test_request_ids_derive_from_decision_and_action() -> None:
    decision_id = uuid4()
    first, again = (plan(decision_id, RULES, Options(), ACT, NOW) for _ in range(2))
    assert [a.request_id for a in first] == [a.request_id for a in again]
    assert len({a.request_id for a in first}) == 3
    assert not {a.request_id for a in first} & {a.request_id for a in plan(uuid4(), RULES, Options(), ACT, NOW)}


def test_a_failed_call_is_tried_again_only_while_it_may_succeed() -> None:
    action = plan(uuid4(), RULES, Options(), ACT, NOW)[1]
    away, refused = DependencyUnavailable("sprint", "StartSprint", "open"), NotFound("No.")
    assert failed(action, away, NOW, NOW).state is PENDING
    assert failed(action, Aborted("Again."), NOW, NOW).state is PENDING
    assert failed(action, away, NOW, NOW + RETRY_FOR).state is FAILED
    assert failed(action, refused, NOW, NOW).state is FAILED
    assert failed(action, away, NOW, NOW).error_reason == "DEPENDENCY_UNAVAILABLE"


def test_no_sprint_starts_while_the_finished_one_could_not_be_closed() -> None:
    actions = plan(uuid4(), decide_rule_based(FINISHED, Options()), Options(), ACT, NOW)
    close = next_pending(actions)
    assert close is not None
    assert close.kind is ActionKind.CLOSE_SPRINT
    assert states(settle(actions, replace(close, state=FAILED))) == [FAILED, SKIPPED, SKIPPED]
    assert states(settle(actions, replace(close, state=DONE))) == [DONE, PENDING, PENDING]


def test_a_sprint_that_did_not_start_has_no_daily_scrum() -> None:
    actions = plan(uuid4(), RULES, Options(), ACT, NOW)
    start = next_pending(actions)
    assert start is not None
    assert start.kind is ActionKind.START_SPRINT
    assert states(settle(actions, replace(start, state=FAILED))) == [SKIPPED, FAILED, SKIPPED]
