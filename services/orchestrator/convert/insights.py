"""Insights as callers get them; what is not known is left out."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from dsm.orchestrator.v1 import insight_pb2 as pb

from services.kit.convert import from_date, from_time
from services.orchestrator.convert.answers import (
    from_assessment,
    from_part,
    from_patterns,
    from_similar,
    from_trend,
)
from services.orchestrator.domain import insights
from services.orchestrator.domain.health import Health
from services.orchestrator.domain.outlook import predict
from services.orchestrator.domain.situation import ClosedSprint, Velocity, patterns_of
from services.orchestrator.domain.survey import Comparison, Survey


def from_survey(project_id: str, survey: Survey, decisions: int, now: datetime) -> pb.Insights:
    """History, similar projects and risk of a project, with what could be done."""
    velocity, comparison, chronicled = survey.velocity, survey.comparison, survey.chronicled
    patterns = patterns_of(velocity, survey.impediments or ()) if velocity else None
    risk = predict(velocity, survey.sprint, now.date())
    points = decisions + (len(velocity.sprints) if velocity else 0)
    points += chronicled.reports + chronicled.retrospectives if chronicled else 0
    return pb.Insights(
        project_id=project_id,
        historical_context=pb.HistoricalContext(
            project_patterns=from_patterns(patterns) if patterns else None,
            similar_projects=map(from_similar, comparison.projects if comparison else ()),
            risk_assessment=from_assessment(risk) if risk else None,
        ),
        intelligence_metadata=pb.InsightsMetadata(
            historical_data_points=points,
            similar_projects_analyzed=comparison.compared if comparison else 0,
            prediction_confidence=risk.confidence if risk else None,
            data_freshness_hours=hours_since(chronicled.newest if chronicled else None, now),
        ),
        recommendations=insights.recommend(survey, now.date()),
        degraded_parts=survey.degraded,
        compute_time=from_time(now),
    )


def from_comparison(
    project_id: str, found: Comparison, threshold: float, degraded: Sequence[str]
) -> pb.SimilarProjectAnalysis:
    """The similar projects, and what follows from them."""
    return pb.SimilarProjectAnalysis(
        project_id=project_id,
        similar_projects=map(from_similar, found.projects),
        similarity_threshold=threshold,
        projects_compared=found.compared,
        embedding_model=found.model,
        avg_success_rate=insights.mean_success(found.projects),
        lessons_learned=insights.lessons_of(found.projects),
        recommendations=insights.learn_from(found.projects),
        degraded_parts=degraded,
    )


def from_velocity(project_id: str, velocity: Velocity, degraded: Sequence[str]) -> pb.VelocityTrends:
    """How the pace of a team develops."""
    pace = insights.pace_of(velocity)
    return pb.VelocityTrends(
        project_id=project_id,
        sprints=map(_sprint, velocity.sprints),
        average_completed_tasks=pace.mean_tasks,
        average_completed_points=pace.mean_points,
        spread_completed_tasks=pace.spread_tasks,
        spread_completed_points=pace.spread_points,
        trend=from_trend(velocity.trend),
        slope_points_per_sprint=pace.slope_points,
        points_per_person_day=velocity.points_per_person_day,
        patterns=pace.patterns,
        degraded_parts=degraded,
    )


def from_quality(project_id: str, survey: Survey, now: datetime) -> pb.DataQualityReport:
    """How good the history of a project is; nothing but that it cannot be read, if it cannot."""
    velocity, chronicled = survey.velocity, survey.chronicled
    if velocity is None or chronicled is None:
        note = "The history cannot be read at the moment: " + ", ".join(survey.degraded) + "."
        return pb.DataQualityReport(project_id=project_id, observation_note=note)
    quality = insights.quality_of(velocity, chronicled)
    rates = [sprint.completion_rate for sprint in velocity.sprints if sprint.completion_rate is not None]
    return pb.DataQualityReport(
        project_id=project_id,
        data_available=chronicled.newest is not None,
        historical_sprints=len(velocity.sprints),
        avg_completion_rate=sum(rates) / len(rates) if rates else None,
        common_team_velocity=insights.common_velocity(velocity),
        data_quality_score=quality.score,
        observation_note=quality.note,
        recommendations=quality.recommendations,
        score_parts=map(from_part, quality.parts),
        data_freshness_hours=hours_since(chronicled.newest, now),
    )


def from_health(health: Health, now: datetime) -> pb.IntelligenceHealth:
    """The state of everything that enhances decisions."""
    cache = pb.CacheState(status=_status("HEALTHY"), entries=health.cache.entries, hit_rate=health.cache.hit_rate)
    cache.time_to_live.FromTimedelta(timedelta(seconds=health.cache.seconds))
    return pb.IntelligenceHealth(
        intelligence_status=_status(health.whole),
        cache=cache,
        chronicle_service_connectivity=_status(health.chronicle),
        embedding_service_connectivity=_status(health.embedding),
        episode_store_status=_status(health.episode_store),
        advisor_status=_status(health.advisor),
        data_freshness_hours=hours_since(health.newest_note, now),
        model_last_updated_time=from_time(health.strategies_changed),
        embedding_model=health.embedding_model,
        episodes=health.episodes,
        episodes_awaiting_embedding=health.episodes_waiting,
        active_strategies=health.active_strategies,
        reasons=health.reasons,
    )


def hours_since(then: datetime | None, now: datetime) -> float | None:
    """Hours from an instant until now, at least 0; None if there is none."""
    return max(0.0, (now - then).total_seconds() / 3600) if then else None


def _sprint(sprint: ClosedSprint) -> pb.SprintPace:
    days = sprint.person_days
    return pb.SprintPace(
        sprint_id=sprint.sprint_id,
        start_date=from_date(sprint.start),
        end_date=from_date(sprint.end),
        completed_tasks=sprint.completed_tasks,
        completed_points=sprint.completed_points,
        completion_rate=sprint.completion_rate,
        capacity_person_days=days,
        points_per_person_day=sprint.completed_points / days if days else None,
        tasks_per_person_day=sprint.completed_tasks / days if days else None,
    )


def _status(status: str) -> pb.ComponentStatus.ValueType:
    return pb.ComponentStatus.Value(f"COMPONENT_STATUS_{status}")
