"""Good requests of the orchestrator."""

from __future__ import annotations

from dsm.orchestrator.v1 import decision_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb

from tests.contract.samples.scene import Scene


class OrchestratorService:
    """One request for each call, named as the call."""

    async def Orchestrate(self, scene: Scene) -> pb.OrchestrateRequest:
        return pb.OrchestrateRequest(project_id=await scene.new_plannable())

    async def GetOrchestrationStatus(self, scene: Scene) -> pb.GetOrchestrationStatusRequest:
        return pb.GetOrchestrationStatusRequest(project_id=scene.project_id)

    async def DeleteCronJob(self, scene: Scene) -> pb.DeleteCronJobRequest:
        project_id, name = await scene.new_cron_job()
        return pb.DeleteCronJobRequest(project_id=project_id, cron_job_name=name)

    async def ListCronJobs(self, scene: Scene) -> pb.ListCronJobsRequest:
        return pb.ListCronJobsRequest(project_id=scene.project_id)

    async def GetOrchestrationSchedule(self, scene: Scene) -> pb.GetOrchestrationScheduleRequest:
        return pb.GetOrchestrationScheduleRequest(project_id=scene.project_id)

    async def SetOrchestrationSchedule(self, scene: Scene) -> pb.SetOrchestrationScheduleRequest:
        return pb.SetOrchestrationScheduleRequest(project_id=scene.project_id, schedule="0 6 * * 1-5")

    async def GetDecisionMode(self, scene: Scene) -> pb.GetDecisionModeRequest:
        return pb.GetDecisionModeRequest(project_id=scene.project_id)

    async def SetDecisionMode(self, scene: Scene) -> pb.SetDecisionModeRequest:
        config = decision_pb2.DecisionModeConfig(mode=decision_pb2.DECISION_MODE_HYBRID)
        return pb.SetDecisionModeRequest(project_id=scene.project_id, config=config)

    async def ListDecisionAudit(self, scene: Scene) -> pb.ListDecisionAuditRequest:
        return pb.ListDecisionAuditRequest(project_id=scene.project_id)

    async def GetDecisionImpact(self, scene: Scene) -> pb.GetDecisionImpactRequest:
        return pb.GetDecisionImpactRequest(project_id=scene.project_id)

    async def GetInsights(self, scene: Scene) -> pb.GetInsightsRequest:
        return pb.GetInsightsRequest(project_id=scene.project_id)

    async def AnalyzeSimilarProjects(self, scene: Scene) -> pb.AnalyzeSimilarProjectsRequest:
        return pb.AnalyzeSimilarProjectsRequest(project_id=scene.project_id)

    async def GetVelocityTrends(self, scene: Scene) -> pb.GetVelocityTrendsRequest:
        return pb.GetVelocityTrendsRequest(project_id=scene.project_id)

    async def GetDataQuality(self, scene: Scene) -> pb.GetDataQualityRequest:
        return pb.GetDataQualityRequest(project_id=scene.project_id)

    async def GetIntelligenceHealth(self, scene: Scene) -> pb.GetIntelligenceHealthRequest:
        return pb.GetIntelligenceHealthRequest()

    async def ForecastSprint(self, scene: Scene) -> pb.ForecastSprintRequest:
        return pb.ForecastSprintRequest(sprint_id=scene.sprint.sprint_id, seed=1)

    async def ForecastBacklog(self, scene: Scene) -> pb.ForecastBacklogRequest:
        return pb.ForecastBacklogRequest(project_id=scene.sprint.project_id, task_count=1, seed=1)

    async def GetForecastCalibration(self, scene: Scene) -> pb.GetForecastCalibrationRequest:
        return pb.GetForecastCalibrationRequest(project_id=scene.project_id)

    async def ListEpisodes(self, scene: Scene) -> pb.ListEpisodesRequest:
        return pb.ListEpisodesRequest(project_id=scene.project_id)

    async def SearchEpisodes(self, scene: Scene) -> pb.SearchEpisodesRequest:
        return pb.SearchEpisodesRequest(query="A small team with many tasks")

    async def EmbedEpisodes(self, scene: Scene) -> pb.EmbedEpisodesRequest:
        return pb.EmbedEpisodesRequest()

    async def ListStrategies(self, scene: Scene) -> pb.ListStrategiesRequest:
        return pb.ListStrategiesRequest(project_id=scene.project_id)

    async def EvolveStrategies(self, scene: Scene) -> pb.EvolveStrategiesRequest:
        return pb.EvolveStrategiesRequest(project_id=scene.project_id)
