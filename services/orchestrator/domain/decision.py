"""What the rules decide, how a project wants its decisions made, and the record of a decision."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from services.orchestrator.domain.situation import LONGEST_SPRINT_WEEKS, Analysis, Options


class DecisionMode(StrEnum):
    """How far memory may change what the rules decide."""

    RULE_BASED_ONLY = "RULE_BASED_ONLY"
    INTELLIGENCE_ENHANCED = "INTELLIGENCE_ENHANCED"
    HYBRID = "HYBRID"


class DecisionSource(StrEnum):
    """Where a final decision comes from."""

    RULE_BASED_ONLY = "RULE_BASED_ONLY"
    INTELLIGENCE_ENHANCED = "INTELLIGENCE_ENHANCED"


@dataclass(frozen=True)
class ModeConfig:
    """How a project wants its decisions made; the threshold is the least confidence that passes the gate, 0 to 1."""

    confidence_threshold: float
    mode: DecisionMode = DecisionMode.INTELLIGENCE_ENHANCED
    enable_task_count_adjustment: bool = True
    enable_sprint_duration_adjustment: bool = True
    enable_points_adjustment: bool = True


@dataclass(frozen=True)
class Decision:
    """What is to be done. Weeks; 0 tasks and 0 weeks = no sprint is started."""

    create_new_sprint: bool
    tasks_to_assign: int
    sprint_duration_weeks: int
    start_date: date | None
    close_sprint_id: str
    schedule_daily_scrum: bool
    reasoning: str
    points_to_assign: float | None = None


def decide_rule_based(analysis: Analysis, options: Options) -> Decision:
    """The documents' rule, without memory.

    A finished sprint is closed. A sprint is started if none is open then, and there are tasks and people. Its length is
    what was asked for, else ceil(unassigned / team size) weeks within 1 to 6; it takes min(unassigned,
    max_tasks_per_sprint, by default 10) tasks. Tasks that the closing sets free count as unassigned. What the options
    allow to be done is not the decision's business: see `action.plan`.
    """
    stays_open = analysis.active_sprint_id and not analysis.closable_sprint_id
    create = not stays_open and analysis.available_tasks > 0 and analysis.team_size > 0
    weeks = _duration_weeks(analysis, options) if create else 0
    tasks = min(analysis.available_tasks, options.max_tasks) if create else 0
    return Decision(
        create_new_sprint=create,
        tasks_to_assign=tasks,
        sprint_duration_weeks=weeks,
        start_date=(options.start_date or analysis.as_of_date) if create else None,
        close_sprint_id=analysis.closable_sprint_id,
        schedule_daily_scrum=bool(create or stays_open),
        reasoning=" ".join(_reasons(analysis, options, tasks, weeks)),
    )


def _duration_weeks(analysis: Analysis, options: Options) -> int:
    if options.sprint_duration_weeks:
        return options.sprint_duration_weeks
    per_person = -(-analysis.available_tasks // analysis.team_size)
    return max(1, min(LONGEST_SPRINT_WEEKS, per_person))


def _reasons(analysis: Analysis, options: Options, tasks: int, weeks: int) -> list[str]:
    reasons = []
    if analysis.closable_sprint_id:
        reasons.append(f"{analysis.closable_sprint_id} is finished and can be closed.")
        if analysis.active_sprint_pending:
            reasons.append(f"Closing it sets {analysis.active_sprint_pending} unfinished tasks free.")
    elif analysis.active_sprint_id:
        reasons.append(f"{analysis.active_sprint_id} is {analysis.active_sprint_state}, so no sprint is started.")
        return reasons
    if not analysis.available_tasks:
        reasons.append("No task waits to be planned, so no sprint is started.")
    elif not analysis.team_size:
        reasons.append("Nobody is on the team, so no sprint is started.")
    else:
        reasons.append(
            f"{tasks} of {analysis.available_tasks} unassigned tasks are taken: at most {options.max_tasks} per sprint."
        )
        if options.sprint_duration_weeks:
            reasons.append(f"The length of {_weeks(weeks)} was asked for.")
        else:
            each = f"{analysis.available_tasks / analysis.team_size:.1f} each"
            people = "1 person" if analysis.team_size == 1 else f"{analysis.team_size} people"
            reasons.append(f"{analysis.available_tasks} tasks for {people} are {each}, hence {_weeks(weeks)}.")
    return reasons


def _weeks(weeks: int) -> str:
    return "1 week" if weeks == 1 else f"{weeks} weeks"
