"""What the other services say."""

from collections.abc import Iterable
from datetime import datetime

from dsm.backlog.v1 import task_pb2
from dsm.chronicle.v1 import analytics_pb2
from dsm.events.v1 import sprint_events_pb2
from dsm.orchestrator.v1 import insight_pb2
from dsm.project.v1 import employee_pb2
from dsm.sprint.v1 import sprint_pb2

from services.kit.convert import to_date, to_date_or_none, to_time
from services.orchestrator.convert.presence import optional
from services.orchestrator.domain.outcome import Outcome
from services.orchestrator.domain.situation import (
    Backlog,
    ClosedSprint,
    Membership,
    OpenSprint,
    ScorePart,
    SimilarProject,
    SprintState,
    Trend,
    Velocity,
)
from services.orchestrator.domain.survey import Chronicled


def to_memberships(members: Iterable[employee_pb2.TeamMember]) -> tuple[Membership, ...]:
    """The team with the days on which each is on it."""
    return tuple(Membership(to_date(m.start_date, ""), to_date_or_none(m.end_date, "")) for m in members)


def to_backlog(summary: task_pb2.BacklogSummary) -> Backlog:
    """Counts by state."""
    counts = {task_pb2.TaskState.Name(c.state).removeprefix("TASK_STATE_"): c for c in summary.state_counts}
    tasks = {state: int(count.tasks) for state, count in counts.items()}
    return Backlog(
        total=int(summary.total_tasks),
        unassigned=tasks.get("UNASSIGNED", 0),
        assigned_to_sprint=tasks.get("ASSIGNED_TO_SPRINT", 0),
        in_progress=tasks.get("IN_PROGRESS", 0),
        blocked=tasks.get("BLOCKED", 0),
        completed=tasks.get("COMPLETED", 0),
        cancelled=tasks.get("CANCELLED", 0),
        unassigned_points=counts["UNASSIGNED"].points if "UNASSIGNED" in counts else 0.0,
    )


def to_open_sprint(sprint: sprint_pb2.Sprint) -> OpenSprint:
    """A sprint that is not closed."""
    summary = sprint.task_summary
    return OpenSprint(
        sprint_id=sprint.sprint_id,
        name=sprint.name,
        state=SprintState(sprint_pb2.SprintState.Name(sprint.state).removeprefix("SPRINT_STATE_")),
        start=to_date(sprint.start_date, ""),
        end=to_date(sprint.end_date, ""),
        time_zone=sprint.time_zone or "UTC",
        total_tasks=summary.total_tasks,
        completed_tasks=summary.completed_tasks,
        blocked_tasks=summary.blocked_tasks,
    )


def to_velocity(velocity: analytics_pb2.Velocity) -> Velocity:
    """The closed sprints that the chronicle knows."""
    return Velocity(
        sprints=tuple(map(_to_closed, velocity.velocity_trend_data)),
        trend=_to_trend(velocity.trend),
        points_per_person_day=optional(velocity, "points_per_person_day"),
    )


def _to_closed(sprint: analytics_pb2.SprintVelocity) -> ClosedSprint:
    return ClosedSprint(
        sprint_id=sprint.sprint_id,
        start=to_date(sprint.start_date, ""),
        end=to_date(sprint.end_date, ""),
        completed_tasks=sprint.completed_tasks,
        completed_points=sprint.completed_points,
        completion_rate=optional(sprint, "completion_rate"),
        planned_tasks=optional(sprint, "planned_tasks"),
        planned_points=optional(sprint, "planned_points"),
        person_days=optional(sprint, "capacity_person_days"),
    )


def to_chronicled(patterns: analytics_pb2.ProjectPatterns) -> Chronicled:
    """What the chronicle has written down of a project."""
    return Chronicled(patterns.daily_scrum_count, patterns.retrospective_count, to_newest(patterns))


def to_newest(notes: analytics_pb2.ProjectPatterns | analytics_pb2.MetricsSummary) -> datetime | None:
    """When the newest note was stored; None if there is none."""
    return to_time(notes.last_note_time) if notes.HasField("last_note_time") else None


def to_similar(found: analytics_pb2.SimilarProject) -> SimilarProject:
    """A similar project with its closed sprints and what recurs in its retrospectives."""
    return SimilarProject(
        project_id=found.project_id,
        similarity=found.similarity_score,
        parts=tuple(ScorePart(p.name, p.score, p.weight, p.explanation) for p in found.score_parts),
        closed_sprints=found.closed_sprints,
        completion_rate=optional(found, "completion_rate"),
        team_size=found.sprints[-1].team_size if found.sprints else 0,
        sprints=tuple(map(_to_closed, found.sprints)),
        lessons=tuple(item.description for item in found.common_retrospective_action_items),
    )


def to_outcome(event: sprint_events_pb2.SprintClosed) -> Outcome:
    """What came of the decision that started this sprint."""
    sprint, statistics = event.sprint, event.sprint.statistics
    return Outcome(
        sprint_id=sprint.sprint_id,
        completion_rate=optional(statistics, "completion_rate"),
        planned_tasks=statistics.planned_tasks,
        completed_tasks=statistics.completed_tasks,
        planned_points=statistics.planned_points,
        completed_points=statistics.completed_points,
        capacity_person_days=statistics.capacity_person_days or None,
        impediments_raised=statistics.impediments_raised,
        close_time=to_time(sprint.update_time),
    )


def _to_trend(trend: insight_pb2.Trend.ValueType) -> Trend | None:
    name = insight_pb2.Trend.Name(trend).removeprefix("TREND_")
    return None if name == "UNSPECIFIED" else Trend(name)
