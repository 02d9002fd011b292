"""Forecasts of sprints and backlogs, and how past ones did."""

from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb

from services.kit.convert import to_date_or_none
from services.kit.serving.gate import Context
from services.orchestrator.convert import forecasts as convert
from services.orchestrator.convert.presence import optional
from services.orchestrator.forecasting import Asked
from services.orchestrator.handlers.room import Room


class ForecastHandlers(Room):
    """ForecastSprint, ForecastBacklog and GetForecastCalibration."""

    async def ForecastSprint(self, request: pb.ForecastSprintRequest, context: Context) -> pb.ForecastSprintResponse:
        """How likely an open sprint completes what it holds."""
        forecast = await self.forecaster.sprint(request.sprint_id, _asked(request))
        calibration = await self.forecaster.calibration(forecast.sprint.project_id)
        return pb.ForecastSprintResponse(forecast=convert.from_sprint(forecast, calibration, self.now()))

    async def ForecastBacklog(self, request: pb.ForecastBacklogRequest, context: Context) -> pb.ForecastBacklogResponse:
        """How far a team gets by a day, and when so many tasks are done."""
        target = to_date_or_none(request.target_date, "target_date")
        forecast = await self.forecaster.backlog(request.project_id, target, request.task_count, _asked(request))
        calibration = await self.forecaster.calibration(request.project_id)
        return pb.ForecastBacklogResponse(forecast=convert.from_backlog(forecast, calibration, self.now()))

    async def GetForecastCalibration(
        self, request: pb.GetForecastCalibrationRequest, context: Context
    ) -> pb.GetForecastCalibrationResponse:
        """How past forecasts did."""
        calibration = await self.forecaster.calibration(request.project_id)
        return pb.GetForecastCalibrationResponse(calibration=convert.from_calibration(calibration, request.project_id))


def _asked(request: pb.ForecastSprintRequest | pb.ForecastBacklogRequest) -> Asked:
    return Asked(to_date_or_none(request.as_of_date, "as_of_date"), request.simulations, optional(request, "seed"))
