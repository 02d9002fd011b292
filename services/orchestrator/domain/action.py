"""Actions: what a decision has done, each at most once however often it is tried."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID, uuid5

from services.kit.errors import DsmError
from services.orchestrator.domain.decision import Decision
from services.orchestrator.domain.errors import UNDECIDED
from services.orchestrator.domain.situation import Options, OrchestrateAction

# After so long a decision is too old to be carried out by itself: the project has moved on.
RETRY_FOR = timedelta(minutes=10)


class ActionKind(StrEnum):
    """Something that the orchestrator does, in the order of doing."""

    CLOSE_SPRINT = "CLOSE_SPRINT"
    START_SPRINT = "START_SPRINT"
    SCHEDULE_DAILY_SCRUM = "SCHEDULE_DAILY_SCRUM"


class ActionState(StrEnum):
    """How an action ended; PENDING ones are tried until they end otherwise."""

    DONE = "DONE"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    PENDING = "PENDING"


@dataclass(frozen=True)
class Action:
    """One action of a decision and how it stands. `task_count` = tasks assigned by a start, released by a closing."""

    kind: ActionKind
    state: ActionState
    reason: str
    request_id: UUID
    update_time: datetime
    error_reason: str = ""
    sprint_id: str = ""
    retrospective_id: str = ""
    cron_job_name: str = ""
    task_count: int | None = None
    description: str = ""


def plan(
    decision_id: UUID, decision: Decision, options: Options, asked: OrchestrateAction, now: datetime
) -> tuple[Action, ...]:
    """Every action of a decision: PENDING if it is to be done, else SKIPPED with the reason.

    The request_id of an action's call is derived from decision and action, so that a retry repeats nothing.
    """
    why_not = {
        ActionKind.CLOSE_SPRINT: _why_not_close(decision, options),
        ActionKind.START_SPRINT: _why_not_start(decision, options),
    }
    why_not[ActionKind.SCHEDULE_DAILY_SCRUM] = _why_not_schedule(decision, options, why_not[ActionKind.START_SPRINT])
    if asked is OrchestrateAction.ANALYZE_ONLY:
        why_not = {kind: reason or "Only an analysis was asked for." for kind, reason in why_not.items()}
    elif options.dry_run:
        why_not = {kind: reason or "This is a dry run." for kind, reason in why_not.items()}
    return tuple(
        Action(
            kind=kind,
            state=ActionState.SKIPPED if reason else ActionState.PENDING,
            reason=reason or "It is about to be done.",
            request_id=uuid5(decision_id, kind),
            update_time=now,
            sprint_id=decision.close_sprint_id if kind is ActionKind.CLOSE_SPRINT else "",
        )
        for kind, reason in why_not.items()
    )


def next_pending(actions: Sequence[Action]) -> Action | None:
    """The action to be tried now; later ones wait for it."""
    return next((action for action in actions if action.state is ActionState.PENDING), None)


def failed(action: Action, error: DsmError, decided: datetime, now: datetime) -> Action:
    """The action after a call that failed: PENDING while it may yet succeed, FAILED once it cannot."""
    undecided = error.code in UNDECIDED
    again = undecided and now - decided < RETRY_FOR
    reason = error.message if not undecided or again else f"Given up after {RETRY_FOR}: {error.message}"
    state = ActionState.PENDING if again else ActionState.FAILED
    return replace(action, state=state, reason=reason[:2000], error_reason=error.reason, update_time=now)


def settle(actions: Sequence[Action], changed: Action) -> tuple[Action, ...]:
    """The actions with one of them changed; those that need what failed are skipped.

    No sprint can start while the finished one could not be closed, and one that did not start has no daily scrum.
    """
    settled = tuple(changed if action.kind is changed.kind else action for action in actions)
    if changed.state is not ActionState.FAILED:
        return settled
    if changed.kind is ActionKind.CLOSE_SPRINT:
        reason = f"{changed.sprint_id} could not be closed."
        settled = _skip(settled, ActionKind.START_SPRINT, reason, changed.update_time)
    if changed.kind in (ActionKind.CLOSE_SPRINT, ActionKind.START_SPRINT):
        settled = _skip(settled, ActionKind.SCHEDULE_DAILY_SCRUM, "No sprint was started.", changed.update_time)
    return settled


def _skip(actions: Sequence[Action], kind: ActionKind, reason: str, now: datetime) -> tuple[Action, ...]:
    return tuple(
        replace(action, state=ActionState.SKIPPED, reason=reason, update_time=now)
        if action.kind is kind and action.state is ActionState.PENDING
        else action
        for action in actions
    )


def _why_not_close(decision: Decision, options: Options) -> str:
    if not decision.close_sprint_id:
        return "No sprint is finished."
    return "" if options.may_close else "The options do not allow to close a sprint."


def _why_not_start(decision: Decision, options: Options) -> str:
    if not decision.create_new_sprint:
        return "No sprint is needed or possible."
    if not options.may_start:
        return "The options do not allow to start a sprint or to assign tasks."
    if decision.close_sprint_id and not options.may_close:
        return f"{decision.close_sprint_id} stays open, because the options do not allow to close it."
    return ""


def _why_not_schedule(decision: Decision, options: Options, why_not_start: str) -> str:
    if not decision.schedule_daily_scrum or (decision.create_new_sprint and why_not_start):
        return "No sprint is open that could have a daily scrum."
    return "" if options.may_schedule else "The options do not allow to schedule the daily scrum."
