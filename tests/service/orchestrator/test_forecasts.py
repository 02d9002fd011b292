"""Forecasts on real sockets: of a sprint, of a backlog, and how past ones did."""

from typing import Any

import pytest
import pytest_asyncio
from dsm.orchestrator.v1 import forecast_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from dsm.sprint.v1 import sprint_service_pb2 as sprint_pb

from tests.harness import World, eventually, refused
from tests.service.orchestrator.pasts import NEXT_FRIDAY, NEXT_LAST_DAY, NEXT_MONDAY, with_history
from tests.service.sprint.sprints import FRIDAY, SATURDAY, make


@pytest_asyncio.fixture(scope="module")
async def orchestrator(world: World) -> Any:
    await world.start("project", "backlog", "sprint", "chronicle", "embedding")
    return OrchestratorServiceStub(await world.channel("orchestrator"))


async def sprint_forecast(orchestrator: Any, sprint_id: str, **asked: Any) -> forecast_pb2.SprintForecast:
    request = pb.ForecastSprintRequest(sprint_id=sprint_id, **({"seed": 7, "simulations": 4000} | asked))
    answer: pb.ForecastSprintResponse = await orchestrator.ForecastSprint(request)
    return answer.forecast


async def backlog_forecast(orchestrator: Any, project_id: str, **asked: Any) -> forecast_pb2.BacklogForecast:
    given: dict[str, Any] = {"seed": 7, "simulations": 4000, "as_of_date": NEXT_MONDAY} | asked
    answer: pb.ForecastBacklogResponse = await orchestrator.ForecastBacklog(
        pb.ForecastBacklogRequest(project_id=project_id, **given)
    )
    return answer.forecast


async def calibration(orchestrator: Any, project_id: str) -> forecast_pb2.ForecastCalibration:
    request = pb.GetForecastCalibrationRequest(project_id=project_id)
    answer: pb.GetForecastCalibrationResponse = await orchestrator.GetForecastCalibration(request)
    return answer.calibration


# --- sprints ----------------------------------------------------------------------------------


async def test_a_sprint_is_forecast_from_the_teams_own_sprints(world: World, orchestrator: Any) -> None:
    team, sprint = await with_history(world)
    forecast = await sprint_forecast(orchestrator, sprint.sprint_id, as_of_date=NEXT_MONDAY)
    assert (forecast.sprint_id, forecast.project_id) == (sprint.sprint_id, team.project_id)
    assert (forecast.remaining_tasks, forecast.remaining_working_days) == (4, 10)
    assert forecast.end_date == NEXT_LAST_DAY
    assert 0 < forecast.completion_probability < 1
    assert [entry.confidence_percent for entry in forecast.tasks_by_end] == [50, 85, 95]
    counts = [entry.task_count for entry in forecast.tasks_by_end]
    assert counts == sorted(counts, reverse=True)
    assert 0 < counts[0] <= 4
    days = [entry.completion_date for entry in forecast.completion_dates if entry.HasField("completion_date")]
    assert days == sorted(days)
    basis = forecast.basis
    assert (basis.sampled_sprints, basis.sampled_days, basis.seed, basis.simulations) == (1, 10, 7, 4000)
    assert basis.mean_tasks_per_day == pytest.approx(0.3)
    assert basis.as_of_date == NEXT_MONDAY
    assert forecast.calibration.not_enough_data


async def test_the_same_seed_gives_the_same_forecast_and_no_seed_one_of_chance(world: World, orchestrator: Any) -> None:
    _, sprint = await with_history(world)
    first, again = [await sprint_forecast(orchestrator, sprint.sprint_id) for _ in range(2)]
    for forecast in (first, again):
        forecast.ClearField("create_time")
    assert first == again
    request = pb.ForecastSprintRequest(sprint_id=sprint.sprint_id, simulations=1)
    unseeded = (await orchestrator.ForecastSprint(request)).forecast.basis
    assert unseeded.simulations == 100
    assert unseeded.seed > 0


async def test_the_more_is_done_the_likelier_the_rest(world: World, orchestrator: Any) -> None:
    team, sprint = await with_history(world)
    chances = [(await sprint_forecast(orchestrator, sprint.sprint_id, as_of_date=NEXT_FRIDAY)).completion_probability]
    for task in sprint.tasks:
        await team.report(task.task_id, 100, work_date=NEXT_MONDAY)
        forecast = await sprint_forecast(orchestrator, sprint.sprint_id, as_of_date=NEXT_FRIDAY)
        chances.append(forecast.completion_probability)
    assert chances == sorted(chances)
    assert chances[-1] == 1
    assert forecast.remaining_tasks == 0
    assert {entry.completion_date for entry in forecast.completion_dates} == {NEXT_FRIDAY}


async def test_what_was_done_later_is_not_seen_from_an_earlier_day(world: World, orchestrator: Any) -> None:
    team, sprint = await with_history(world)
    await team.report(sprint.tasks[0].task_id, 100, work_date=NEXT_FRIDAY)
    assert (await sprint_forecast(orchestrator, sprint.sprint_id, as_of_date=NEXT_FRIDAY)).remaining_tasks == 4
    assert (await sprint_forecast(orchestrator, sprint.sprint_id, as_of_date=NEXT_LAST_DAY)).remaining_tasks == 3


async def test_a_team_with_half_of_it_away_gets_less_done(world: World, orchestrator: Any) -> None:
    from dsm.project.v1 import project_service_pb2

    team, sprint = await with_history(world, done=4)
    before = await sprint_forecast(orchestrator, sprint.sprint_id, as_of_date=NEXT_MONDAY)
    pto = project_service_pb2.AddPtoRequest()
    pto.pto.employee_id, pto.pto.start_date, pto.pto.end_date = team.people[0], NEXT_MONDAY, NEXT_LAST_DAY
    await team.projects.AddPto(pto)
    after = await sprint_forecast(orchestrator, sprint.sprint_id, as_of_date=NEXT_MONDAY)
    assert after.completion_probability < before.completion_probability


async def test_without_a_closed_sprint_it_says_so(world: World, orchestrator: Any) -> None:
    team = await make(world)
    sprint = await team.started()
    for call, request in (
        (orchestrator.ForecastSprint, pb.ForecastSprintRequest(sprint_id=sprint.sprint_id)),
        (orchestrator.ForecastBacklog, pb.ForecastBacklogRequest(project_id=team.project_id)),
    ):
        failed = await refused(call(request))
        assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "NOT_ENOUGH_DATA")
        assert failed.metadata == {"needed": "1", "have": "0"}


async def test_only_days_of_an_open_sprint_are_forecast(world: World, orchestrator: Any) -> None:
    team, sprint = await with_history(world)
    for day in (SATURDAY, "2025-03-31"):
        failed = await refused(sprint_forecast(orchestrator, sprint.sprint_id, as_of_date=day))
        assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "DATE_OUT_OF_RANGE")
        assert failed.metadata["field"] == "as_of_date"
    failed = await refused(sprint_forecast(orchestrator, f"{team.project_id}-S01"))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "SPRINT_NOT_IN_PROGRESS")
    failed = await refused(sprint_forecast(orchestrator, f"{team.project_id}-S99"))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "SPRINT_NOT_FOUND")


async def test_a_sprint_that_is_over_is_forecast_as_on_its_last_day(world: World, orchestrator: Any) -> None:
    _, sprint = await with_history(world)
    forecast = await sprint_forecast(orchestrator, sprint.sprint_id)
    assert forecast.basis.as_of_date == NEXT_LAST_DAY
    assert forecast.remaining_working_days == 0
    assert forecast.completion_probability == 0


# --- backlogs ---------------------------------------------------------------------------------


async def test_a_backlog_is_forecast_by_day_and_by_number(world: World, orchestrator: Any) -> None:
    team, _ = await with_history(world)
    forecast = await backlog_forecast(orchestrator, team.project_id, target_date="2025-05-30", task_count=5)
    assert (forecast.remaining_tasks, forecast.task_count, forecast.target_date) == (9, 5, "2025-05-30")
    counts = [entry.task_count for entry in forecast.tasks_by_date]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 5
    days = [entry.completion_date for entry in forecast.completion_dates]
    assert days == sorted(days)
    assert NEXT_MONDAY < days[0] < "2025-06-30"
    every = await backlog_forecast(orchestrator, team.project_id)
    assert (every.task_count, list(every.tasks_by_date)) == (9, [])
    assert every.completion_dates[0].completion_date > days[0]


async def test_a_team_that_never_finished_anything_has_no_date(world: World, orchestrator: Any) -> None:
    team, _ = await with_history(world, done=0)
    forecast = await backlog_forecast(orchestrator, team.project_id, target_date=NEXT_LAST_DAY)
    assert [entry.HasField("completion_date") for entry in forecast.completion_dates] == [False] * 3
    assert [entry.task_count for entry in forecast.tasks_by_date] == [0, 0, 0]


async def test_days_of_a_backlog_forecast_are_checked(world: World, orchestrator: Any) -> None:
    team, _ = await with_history(world)
    for field, day in (("target_date", FRIDAY), ("target_date", "2035-01-01"), ("as_of_date", "2999-01-01")):
        failed = await refused(backlog_forecast(orchestrator, team.project_id, **{field: day}))
        assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "DATE_OUT_OF_RANGE")
        assert failed.metadata["field"] == field
    failed = await refused(backlog_forecast(orchestrator, "NO-SUCH-PROJECT"))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "PROJECT_NOT_FOUND")


# --- outcomes ---------------------------------------------------------------------------------


async def test_what_came_of_forecasts_is_told(world: World, orchestrator: Any) -> None:
    team, sprint = await with_history(world)
    forecast = await sprint_forecast(orchestrator, sprint.sprint_id, as_of_date=NEXT_MONDAY)
    await sprint_forecast(orchestrator, sprint.sprint_id, as_of_date=NEXT_MONDAY, seed=8)
    await backlog_forecast(orchestrator, team.project_id, target_date=NEXT_FRIDAY)
    await backlog_forecast(orchestrator, team.project_id, task_count=4)
    await backlog_forecast(orchestrator, team.project_id, target_date="2025-12-31")
    nothing = await calibration(orchestrator, team.project_id)
    assert (nothing.forecasts_evaluated, nothing.not_enough_data) == (0, True)
    assert not nothing.HasField("brier_score")
    assert not any(entry.HasField("observed_rate") for entry in nothing.coverage)

    for task in sprint.tasks:
        await team.report(task.task_id, 100, work_date=NEXT_MONDAY)
    request = sprint_pb.CloseSprintRequest(sprint_id=sprint.sprint_id, close_date=NEXT_LAST_DAY)
    await team.sprints.CloseSprint(request)

    async def judged() -> bool:
        return (await calibration(orchestrator, team.project_id)).forecasts_evaluated == 3

    await eventually(judged)
    known = await calibration(orchestrator, team.project_id)
    assert known.brier_score == pytest.approx((1 - forecast.completion_probability) ** 2)
    assert [(entry.confidence_percent, entry.forecasts, entry.observed_rate) for entry in known.coverage] == [
        (50, 3, 1),
        (85, 3, 1),
        (95, 3, 1),
    ]
    filled = [bucket for bucket in known.buckets if bucket.forecasts]
    assert len(known.buckets) == 5
    assert [(b.forecasts, b.observed_rate) for b in filled] == [(1, 1)]
    assert filled[0].probability_low <= forecast.completion_probability <= filled[0].probability_high
    assert known.not_enough_data
    assert (await calibration(orchestrator, "")).forecasts_evaluated >= 3


async def test_a_forecast_that_promised_too_much_did_not_hold(world: World, orchestrator: Any) -> None:
    team, sprint = await with_history(world, done=4)
    forecast = await sprint_forecast(orchestrator, sprint.sprint_id, as_of_date=NEXT_MONDAY)
    assert forecast.tasks_by_end[0].task_count > 0
    request = sprint_pb.CloseSprintRequest(sprint_id=sprint.sprint_id, close_date=NEXT_LAST_DAY)
    await team.sprints.CloseSprint(request)

    async def judged() -> bool:
        return (await calibration(orchestrator, team.project_id)).forecasts_evaluated == 1

    await eventually(judged)
    known = await calibration(orchestrator, team.project_id)
    assert known.coverage[0].observed_rate == 0
    assert known.brier_score == pytest.approx(forecast.completion_probability**2)


async def test_without_the_sprint_service_there_is_no_forecast(own_world: World) -> None:
    await own_world.start("project", "backlog")
    orchestrator = OrchestratorServiceStub(await own_world.channel("orchestrator"))
    failed = await refused(sprint_forecast(orchestrator, "SHOP-S01"))
    assert (failed.code, failed.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
