"""Velocity."""

from dsm.chronicle.v1 import analytics_pb2 as pb
from dsm.orchestrator.v1 import insight_pb2

from services.chronicle.domain.velocity import SprintVelocity, Velocity, describe
from services.kit.convert import from_date


def encode(project_id: str, velocity: Velocity) -> pb.Velocity:
    """The velocity as sent; what is not known is left out."""
    return pb.Velocity(
        project_id=project_id,
        velocity_trend_data=[encode_sprint(sprint) for sprint in velocity.sprints],
        average_velocity=velocity.average_tasks,
        average_velocity_points=velocity.average_points,
        spread_tasks=velocity.spread_tasks,
        spread_points=velocity.spread_points,
        trend=insight_pb2.Trend.Value(f"TREND_{velocity.trend}"),
        slope=velocity.slope,
        velocity_analysis=describe(velocity),
        points_per_person_day=velocity.points_per_person_day,
    )


def encode_sprint(sprint: SprintVelocity) -> pb.SprintVelocity:
    """What one sprint planned and completed."""
    return pb.SprintVelocity(
        sprint_id=sprint.sprint_id,
        sprint_name=sprint.sprint_name,
        start_date=from_date(sprint.start_date),
        end_date=from_date(sprint.end_date),
        planned_tasks=sprint.planned_tasks,
        planned_points=sprint.planned_points,
        completed_tasks=sprint.completed_tasks,
        completed_points=sprint.completed_points,
        capacity_person_days=sprint.capacity_person_days or None,
        team_size=sprint.team_size or None,
        completion_rate=sprint.completion_rate,
    )
