"""Good requests of the chronicle."""

from __future__ import annotations

from uuid import uuid4

from dsm.chronicle.v1 import chronicle_service_pb2 as pb
from dsm.chronicle.v1 import note_pb2
from dsm.orchestrator.v1 import decision_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from tests.contract.samples.scene import LAST_DAY, MONDAY, TUESDAY, Scene, new_sprint_id, project_of, retrospective


class ChronicleService:
    """One request for each call, named as the call."""

    async def RecordSprintPlanning(self, scene: Scene) -> pb.RecordSprintPlanningRequest:
        sprint_id = new_sprint_id()
        note = note_pb2.PlanningNote(
            sprint_id=sprint_id,
            project_id=project_of(sprint_id),
            start_date=MONDAY,
            end_date=LAST_DAY,
            duration_weeks=2,
        )
        return pb.RecordSprintPlanningRequest(planning_note=note)

    async def ListSprintPlannings(self, scene: Scene) -> pb.ListSprintPlanningsRequest:
        return pb.ListSprintPlanningsRequest(project_id=scene.project_id)

    async def RecordDailyScrum(self, scene: Scene) -> pb.RecordDailyScrumRequest:
        sprint_id = new_sprint_id()
        report = note_pb2.DailyScrumReport(
            sprint_id=sprint_id, project_id=project_of(sprint_id), report_date=TUESDAY, summary="A day"
        )
        return pb.RecordDailyScrumRequest(report=report)

    async def ListDailyScrums(self, scene: Scene) -> pb.ListDailyScrumsRequest:
        return pb.ListDailyScrumsRequest(project_id=scene.project_id)

    async def RecordRetrospective(self, scene: Scene) -> pb.RecordRetrospectiveRequest:
        return pb.RecordRetrospectiveRequest(retrospective=retrospective(new_sprint_id(), []))

    async def ListRetrospectives(self, scene: Scene) -> pb.ListRetrospectivesRequest:
        return pb.ListRetrospectivesRequest(project_id=scene.project_id)

    async def UpdateActionItem(self, scene: Scene) -> pb.UpdateActionItemRequest:
        return pb.UpdateActionItemRequest(
            action_item_id=await scene.new_action_item(), state=note_pb2.ACTION_ITEM_STATE_DONE
        )

    async def RecordDecision(self, scene: Scene) -> pb.RecordDecisionRequest:
        decision = decision_pb2.DecisionRecord(
            decision_id=str(uuid4()),
            project_id=scene.project_id,
            decision_time=Timestamp(seconds=1_740_000_000),
            mode=decision_pb2.DECISION_MODE_HYBRID,
            decision_source=decision_pb2.DECISION_SOURCE_RULE_BASED_ONLY,
            rule_based_decision=decision_pb2.Decision(tasks_to_assign=3),
            final_decision=decision_pb2.Decision(tasks_to_assign=3),
        )
        return pb.RecordDecisionRequest(decision=decision)

    async def ListDecisions(self, scene: Scene) -> pb.ListDecisionsRequest:
        return pb.ListDecisionsRequest(project_id=scene.project_id)

    async def GetMetricsSummary(self, scene: Scene) -> pb.GetMetricsSummaryRequest:
        return pb.GetMetricsSummaryRequest()

    async def GetProjectPatterns(self, scene: Scene) -> pb.GetProjectPatternsRequest:
        return pb.GetProjectPatternsRequest(project_id=scene.project_id)

    async def GetVelocity(self, scene: Scene) -> pb.GetVelocityRequest:
        return pb.GetVelocityRequest(project_id=scene.project_id)

    async def GetImpediments(self, scene: Scene) -> pb.GetImpedimentsRequest:
        return pb.GetImpedimentsRequest(project_id=scene.project_id)

    async def FindSimilarProjects(self, scene: Scene) -> pb.FindSimilarProjectsRequest:
        return pb.FindSimilarProjectsRequest(reference_project_id=scene.project_id)

    async def GetDecisionImpact(self, scene: Scene) -> pb.GetDecisionImpactRequest:
        return pb.GetDecisionImpactRequest(project_id=scene.project_id)

    async def RecordNote(self, scene: Scene) -> pb.RecordNoteRequest:
        return pb.RecordNoteRequest(note=note_pb2.FreeNote(project_id=scene.project_id, text="A note"))

    async def ListNotes(self, scene: Scene) -> pb.ListNotesRequest:
        return pb.ListNotesRequest(project_id=scene.project_id)
