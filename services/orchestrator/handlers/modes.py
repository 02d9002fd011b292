"""How projects want their decisions made."""

from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.project.v1 import project_pb2

from services.kit.convert import from_time
from services.kit.serving.gate import Context
from services.orchestrator import events
from services.orchestrator.convert import answers, requests
from services.orchestrator.domain.errors import ProjectArchived
from services.orchestrator.handlers.room import Room
from services.orchestrator.store import modes


class ModeHandlers(Room):
    """GetDecisionMode and SetDecisionMode."""

    async def GetDecisionMode(self, request: pb.GetDecisionModeRequest, context: Context) -> pb.GetDecisionModeResponse:
        """How a project wants its decisions made."""
        stored = await modes.find(self.db.read, request.project_id)
        if stored:
            config = answers.from_mode(stored.config)
            return pb.GetDecisionModeResponse(config=config, update_time=from_time(stored.update_time))
        await self.observer.project(request.project_id)
        mode = await self.pipeline.mode(request.project_id)
        return pb.GetDecisionModeResponse(config=answers.from_mode(mode))

    async def SetDecisionMode(self, request: pb.SetDecisionModeRequest, context: Context) -> pb.SetDecisionModeResponse:
        """Set it, as a whole."""
        project = await self.observer.project(request.project_id)
        if project.status == project_pb2.PROJECT_STATUS_ARCHIVED:
            raise ProjectArchived(request.project_id)
        config = requests.to_mode(request.config, self.pipeline.default_mode.confidence_threshold)
        now = self.now()
        async with self.db.write() as tx:
            version = await modes.put(tx, request.project_id, config, now)
            events.mode_changed(tx, request.project_id, config, version)
            answer = pb.SetDecisionModeResponse(config=answers.from_mode(config), update_time=from_time(now))
            return tx.reply(answer)
