"""What the orchestrator reads out of history: with history, without, and with the chronicle away."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from dsm.orchestrator.v1 import insight_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.sprint.v1 import sprint_service_pb2

from services.local.stack import Stack
from tests.harness import eventually, make_world, refused
from tests.service.orchestrator.orchestrations import TODAY, Dsm, dsm_of

SPRINTS = 4
# Of the six tasks of each sprint.
COMPLETED = (6, 3, 3, 2)


@pytest_asyncio.fixture(scope="module")
async def team(dsm: Dsm) -> str:
    """A project with four closed sprints, most of which left work over, and an impediment."""
    project_id = await dsm.project("INS-TEAM", tasks=6 * SPRINTS + 4, people=3)
    for number, completed in enumerate(COMPLETED):
        start = TODAY - timedelta(days=7 * (SPRINTS - number) + 7)
        request = sprint_service_pb2.StartSprintRequest(
            project_id=project_id, start_date=start.isoformat(), duration_weeks=1, max_tasks=6
        )
        sprint = (await dsm.sprints.StartSprint(request)).sprint
        await dsm.complete(sprint, completed)
        if number == 1:
            blocked = sprint_service_pb2.UpdateTaskProgressRequest(
                task_id=sprint.tasks[-1].task_id, progress_percent=10, impediment="The build server is down"
            )
            await dsm.sprints.UpdateTaskProgress(blocked)
        close = sprint_service_pb2.CloseSprintRequest(
            sprint_id=sprint.sprint_id, close_date=(start + timedelta(days=6)).isoformat()
        )
        await dsm.sprints.CloseSprint(close)
    await dsm.orchestrate(project_id, dry_run=True)

    async def chronicled() -> bool:
        quality = await _quality(dsm, project_id)
        return bool(quality.historical_sprints == SPRINTS)

    await eventually(chronicled)
    return project_id


async def _quality(dsm: Dsm, project_id: str) -> Any:
    answer = await dsm.orchestrator.GetDataQuality(pb.GetDataQualityRequest(project_id=project_id))
    return answer.data_quality_report


async def test_insights_tell_history_risk_and_what_to_do(dsm: Dsm, team: str) -> None:
    answer = await dsm.orchestrator.GetInsights(pb.GetInsightsRequest(project_id=team))
    insights = answer.insights
    patterns = insights.historical_context.project_patterns
    assert patterns.closed_sprints == SPRINTS
    assert patterns.completion_rate == pytest.approx(sum(COMPLETED) / 6 / SPRINTS, abs=1e-4)
    assert patterns.common_impediments == ["The build server is down"]
    risk = insights.historical_context.risk_assessment
    # Three of four failed, and Laplace's rule of succession.
    assert risk.sprint_failure_probability == pytest.approx(4 / 6)
    assert risk.overall_risk == pytest.approx(sum(part.score * part.weight for part in risk.parts))
    metadata = insights.intelligence_metadata
    # Four planning notes, four retrospectives and a decision.
    assert metadata.historical_data_points == 2 * SPRINTS + 1
    assert metadata.prediction_confidence == risk.confidence
    assert 0 <= metadata.data_freshness_hours < 1
    assert any("Plan about" in advice for advice in insights.recommendations)
    assert any("build server" in advice for advice in insights.recommendations)
    assert not insights.degraded_parts


async def test_what_cannot_be_known_yet_is_absent(dsm: Dsm) -> None:
    project_id = await dsm.project("INS-NEW", tasks=2)
    answer = await dsm.orchestrator.GetInsights(pb.GetInsightsRequest(project_id=project_id))
    context, metadata = answer.insights.historical_context, answer.insights.intelligence_metadata
    assert not context.HasField("project_patterns")
    assert not context.HasField("risk_assessment")
    assert not metadata.HasField("prediction_confidence")
    assert not metadata.HasField("data_freshness_hours")
    quality = await _quality(dsm, project_id)
    assert not quality.data_available
    assert quality.data_quality_score == 0
    assert not quality.HasField("avg_completion_rate")
    trends = (await dsm.orchestrator.GetVelocityTrends(pb.GetVelocityTrendsRequest(project_id=project_id))).trends
    assert not trends.sprints
    assert not trends.HasField("average_completed_tasks")


async def test_the_pace_of_a_team(dsm: Dsm, team: str) -> None:
    answer = await dsm.orchestrator.GetVelocityTrends(pb.GetVelocityTrendsRequest(project_id=team))
    trends = answer.trends
    assert [sprint.completed_tasks for sprint in trends.sprints] == list(COMPLETED)
    assert [sprint.completed_points for sprint in trends.sprints] == [2 * tasks for tasks in COMPLETED]
    assert trends.average_completed_tasks == pytest.approx(sum(COMPLETED) / SPRINTS)
    # The line through 12, 6, 6 and 4 points.
    assert trends.slope_points_per_sprint == pytest.approx(-2.4)
    sprint = trends.sprints[0]
    assert sprint.tasks_per_person_day == pytest.approx(sprint.completed_tasks / sprint.capacity_person_days)
    newest = await dsm.orchestrator.GetVelocityTrends(pb.GetVelocityTrendsRequest(project_id=team, max_sprints=1))
    assert [sprint.completed_tasks for sprint in newest.trends.sprints] == [COMPLETED[-1]]
    assert not newest.trends.HasField("spread_completed_tasks")


async def test_the_quality_of_data_is_the_sum_of_its_parts(dsm: Dsm, team: str) -> None:
    quality = await _quality(dsm, team)
    parts = {part.name: part.score for part in quality.score_parts}
    assert parts == {"sprints": 0.4, "outcomes": 1, "points": 1, "reports": 0, "retrospectives": 1}
    assert sum(part.weight for part in quality.score_parts) == pytest.approx(1)
    assert quality.data_quality_score == pytest.approx(0.4 * 0.3 + 0.25 + 0.2 + 0.1)
    assert quality.common_team_velocity == 6
    assert len(quality.recommendations) == 2


async def test_similar_projects_are_compared(dsm: Dsm, team: str) -> None:
    request = pb.AnalyzeSimilarProjectsRequest(project_id=team, similarity_threshold=0, max_results=5)
    analysis = (await dsm.orchestrator.AnalyzeSimilarProjects(request)).analysis
    assert analysis.similarity_threshold == 0
    assert analysis.projects_compared >= len(analysis.similar_projects)
    scores = [project.similarity_score for project in analysis.similar_projects]
    assert scores == sorted(scores, reverse=True)
    assert team not in [project.project_id for project in analysis.similar_projects]
    default = await dsm.orchestrator.AnalyzeSimilarProjects(pb.AnalyzeSimilarProjectsRequest(project_id=team))
    assert default.analysis.similarity_threshold == 0.7


async def test_the_impact_of_decisions_is_the_chronicles(dsm: Dsm, team: str) -> None:
    answer = await dsm.orchestrator.GetDecisionImpact(pb.GetDecisionImpactRequest(project_id=team))
    assert answer.impact.project_id == team
    assert answer.impact.not_enough_data
    wrong = pb.GetDecisionImpactRequest(project_id=team, start_date="2026-02-01", end_date="2026-01-01")
    failed = await refused(dsm.orchestrator.GetDecisionImpact(wrong))
    assert (failed.code, failed.metadata["field"]) == ("INVALID_ARGUMENT", "end_date")


@pytest.mark.parametrize(
    ("method", "request_type"),
    [
        ("GetInsights", pb.GetInsightsRequest),
        ("AnalyzeSimilarProjects", pb.AnalyzeSimilarProjectsRequest),
        ("GetVelocityTrends", pb.GetVelocityTrendsRequest),
        ("GetDataQuality", pb.GetDataQualityRequest),
        ("GetDecisionImpact", pb.GetDecisionImpactRequest),
    ],
)
async def test_a_project_that_is_not_there(dsm: Dsm, method: str, request_type: Any) -> None:
    failed = await refused(getattr(dsm.orchestrator, method)(request_type(project_id="INS-NOBODY")))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "PROJECT_NOT_FOUND")


async def test_health_tells_what_is_there(dsm: Dsm, team: str) -> None:
    health = (await dsm.orchestrator.GetIntelligenceHealth(pb.GetIntelligenceHealthRequest())).health
    healthy, disabled = insight_pb2.COMPONENT_STATUS_HEALTHY, insight_pb2.COMPONENT_STATUS_DISABLED
    assert health.chronicle_service_connectivity == healthy
    assert health.embedding_service_connectivity == healthy
    assert health.episode_store_status == healthy
    assert health.advisor_status == disabled
    assert health.intelligence_status == healthy
    assert health.episodes >= 1
    assert health.embedding_model
    assert health.cache.time_to_live.ToSeconds() == 3600
    assert not health.reasons


async def test_with_history_away_insights_say_so(stack: Stack, team: str) -> None:
    async with AsyncExitStack() as exits:
        own_world = await make_world(stack, exits, DSM_CALL_TIMEOUT_SECONDS="2")
        await _say_what_is_away(await dsm_of(own_world, "chronicle", "embedding"), team)


async def _say_what_is_away(alone: Dsm, team: str) -> None:
    insights = (await alone.orchestrator.GetInsights(pb.GetInsightsRequest(project_id=team))).insights
    assert insights.degraded_parts == ["chronicle unavailable"]
    assert not insights.historical_context.HasField("project_patterns")
    quality = await _quality(alone, team)
    assert not quality.HasField("data_quality_score")
    assert not quality.HasField("historical_sprints")
    health = (await alone.orchestrator.GetIntelligenceHealth(pb.GetIntelligenceHealthRequest())).health
    away = insight_pb2.COMPONENT_STATUS_UNAVAILABLE
    assert health.chronicle_service_connectivity == health.embedding_service_connectivity == away
    assert health.intelligence_status == insight_pb2.COMPONENT_STATUS_DEGRADED
    assert len(health.reasons) >= 2
    failed = await refused(alone.orchestrator.GetDecisionImpact(pb.GetDecisionImpactRequest(project_id=team)))
    assert (failed.code, failed.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
