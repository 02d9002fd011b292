"""The main job on real backlogs: imported, planned, worked, reported, closed; then everything is counted again."""

import csv
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import holidays
import nats
import pytest
import pytest_asyncio
from dsm.backlog.v1 import backlog_service_pb2 as backlog_pb
from dsm.backlog.v1 import backlog_service_pb2_grpc, import_pb2, task_pb2
from dsm.chronicle.v1 import chronicle_service_pb2 as chronicle_pb
from dsm.chronicle.v1 import chronicle_service_pb2_grpc
from dsm.orchestrator.v1 import decision_pb2, orchestrator_service_pb2_grpc
from dsm.orchestrator.v1 import orchestrator_service_pb2 as orchestrator_pb
from dsm.project.v1 import calendar_pb2, employee_pb2, project_pb2, project_service_pb2_grpc
from dsm.project.v1 import project_service_pb2 as project_service_pb
from dsm.sprint.v1 import sprint_pb2, sprint_service_pb2_grpc
from dsm.sprint.v1 import sprint_service_pb2 as sprint_pb

from services.kit.events import stream_of
from services.local.stack import running
from tests.harness import DATA, SERVICES, STATEFUL, World, eventually, make_world

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the real backlogs are not at {DATA}"),
]

WEEKS = 2
# Allocation in percent, and PTO as (first day, last day, starts at midday) counted from the sprint's start.
TEAM: dict[str, tuple[int, tuple[int, int, bool] | None]] = {
    "ADA": (100, None),
    "BOB": (100, (1, 3, False)),
    "CYD": (50, None),
    "DEE": (80, (8, 8, True)),
    "EVE": (100, (0, 13, False)),
}


@dataclass
class Job:
    """One run of the main job: where it happens and what came of it."""

    world: World
    csv: Path
    project_id: str
    start: date
    project: Any
    backlog: Any
    sprint: Any
    chronicle: Any
    orchestrator: Any
    sprint_id: str = ""
    planned: sprint_pb2.Sprint = field(default_factory=sprint_pb2.Sprint)

    @property
    def end(self) -> date:
        return self.start + timedelta(days=7 * WEEKS - 1)


@pytest_asyncio.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Servers of its own: every event is counted here, and other tests lose streams on purpose."""
    with running(tmp_path_factory.mktemp("main-job"), durable=False, postgres_port=0, nats_port=0) as stack:
        async with AsyncExitStack() as exits:
            yield await make_world(stack, exits)


@pytest_asyncio.fixture(scope="module", params=["XD", "USERGRID"])
async def job(request: pytest.FixtureRequest, world: World) -> AsyncIterator[Job]:
    """A project whose backlog was imported and whose sprint was planned, worked and closed."""
    await world.start(*SERVICES)
    today = datetime.now(UTC).date()
    monday = today - timedelta(days=today.weekday() + 28)
    made = Job(
        world,
        DATA / "backlog" / f"{request.param}.csv",
        f"MAIN-{request.param}",
        monday,
        project_service_pb2_grpc.ProjectServiceStub(await world.channel("project")),
        backlog_service_pb2_grpc.BacklogServiceStub(await world.channel("backlog")),
        sprint_service_pb2_grpc.SprintServiceStub(await world.channel("sprint")),
        chronicle_service_pb2_grpc.ChronicleServiceStub(await world.channel("chronicle")),
        orchestrator_service_pb2_grpc.OrchestratorServiceStub(await world.channel("orchestrator")),
    )
    await _found_project(made)
    await _import(made)
    yield made


async def _found_project(job: Job) -> None:
    project = project_pb2.Project(project_id=job.project_id, name=job.csv.stem, time_zone="America/New_York")
    await job.project.CreateProject(project_service_pb.CreateProjectRequest(project=project))
    assignments = []
    for name, (percent, pto) in TEAM.items():
        employee_id = _employee(job, name)
        employee = employee_pb2.Employee(employee_id=employee_id, name=name, hours_per_day=8)
        await job.project.CreateEmployee(project_service_pb.CreateEmployeeRequest(employee=employee))
        assignments.append(project_service_pb.TeamAssignment(employee_id=employee_id, allocation_percent=percent))
        if pto:
            first, last, at_midday = pto
            off = calendar_pb2.Pto(
                employee_id=employee_id,
                start_date=str(job.start + timedelta(days=first)),
                end_date=str(job.start + timedelta(days=last)),
                starts_at_midday=at_midday,
            )
            await job.project.AddPto(project_service_pb.AddPtoRequest(pto=off))
    request = project_service_pb.AssignTeamMembersRequest(project_id=job.project_id, assignments=assignments)
    await job.project.AssignTeamMembers(request)
    company_day = project_service_pb.AddHolidayRequest(
        project_id=job.project_id, date=str(job.start + timedelta(days=9)), name="Company day"
    )
    await job.project.AddHoliday(company_day)


def _employee(job: Job, name: str) -> str:
    return f"{job.csv.stem}-{name}"


async def _import(job: Job) -> import_pb2.ImportReport:
    def requests() -> Iterator[backlog_pb.ImportTasksRequest]:
        options = import_pb2.ImportOptions(project_id=job.project_id, format=import_pb2.IMPORT_FORMAT_JIRA_CSV)
        yield backlog_pb.ImportTasksRequest(options=options)
        data = job.csv.read_bytes()
        for at in range(0, len(data), 65536):
            yield backlog_pb.ImportTasksRequest(data=data[at : at + 65536])

    report: import_pb2.ImportReport = (await job.backlog.ImportTasks(requests())).report
    return report


async def _tasks(job: Job) -> dict[str, task_pb2.Task]:
    """Every task of the project, by id, page by page."""
    found: dict[str, task_pb2.Task] = {}
    token = ""
    while True:
        request = backlog_pb.ListTasksRequest(project_id=job.project_id, page_size=250, page_token=token)
        answer = await job.backlog.ListTasks(request)
        assert not found.keys() & {task.task_id for task in answer.tasks}, "a page repeated a task"
        found |= {task.task_id: task for task in answer.tasks}
        token = answer.next_page_token
        if not token:
            return found


def _rows(job: Job) -> list[dict[str, str]]:
    with job.csv.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- import -------------------------------------------------------------------------------------


async def test_every_row_is_there_once_with_its_text_and_points(job: Job) -> None:
    rows = _rows(job)
    tasks = {task.origin.key: task for task in (await _tasks(job)).values()}
    stories = {story.origin.key: story for story in await _stories(job)}
    assert len(rows) == len({row["issue_key"] for row in rows})
    assert len(tasks) + len(stories) == len(rows)
    for row in rows:
        kept: Any = tasks.get(row["issue_key"]) or stories[row["issue_key"]]
        assert kept.title == row["title"].strip()
        assert kept.description.strip() == row["description"].strip()
        if row["issue_key"] in tasks and row["story_points"]:
            assert kept.points == float(row["story_points"])


async def _stories(job: Job) -> list[task_pb2.Story]:
    found: list[task_pb2.Story] = []
    token = ""
    while True:
        request = backlog_pb.ListStoriesRequest(project_id=job.project_id, page_size=250, page_token=token)
        answer = await job.backlog.ListStories(request)
        found += answer.stories
        token = answer.next_page_token
        if not token:
            return found


async def test_a_second_import_changes_nothing(job: Job) -> None:
    report = await _import(job)
    assert report.rows == len(_rows(job))
    assert (report.created_tasks, report.updated_tasks, report.refused_count) == (0, 0, 0)


async def test_the_summary_equals_a_recount(job: Job) -> None:
    answer = await job.backlog.GetBacklogSummary(backlog_pb.GetBacklogSummaryRequest(project_id=job.project_id))
    tasks = (await _tasks(job)).values()
    assert answer.summary.total_tasks == len(tasks)
    counted = Counter(task.state for task in tasks)
    assert {count.state: count.tasks for count in answer.summary.state_counts if count.tasks} == counted


# --- planning -----------------------------------------------------------------------------------


def _share(name: str, offset: int) -> Fraction:
    """What a person can work on a day of the sprint, counted here on its own."""
    percent, pto = TEAM[name]
    share = Fraction(percent, 100)
    if pto and pto[0] <= offset <= pto[1]:
        return share / 2 if pto[2] else Fraction(0)
    return share


def _working_offsets(job: Job) -> list[int]:
    public = holidays.country_holidays("US")
    days = [job.start + timedelta(days=offset) for offset in range(7 * WEEKS)]
    return [at for at, day in enumerate(days) if day.weekday() < 5 and day not in public and at != 9]


async def test_capacity_is_exact_for_the_people_on_pto(job: Job) -> None:
    request = project_service_pb.GetCapacityRequest(
        project_id=job.project_id, start_date=str(job.start), end_date=str(job.end)
    )
    answer = await job.project.GetCapacity(request)
    expected = {
        _employee(job, name): float(sum(_share(name, offset) for offset in _working_offsets(job))) for name in TEAM
    }
    assert {member.employee_id: member.person_days for member in answer.members} == expected
    assert answer.person_days == sum(expected.values())
    assert expected[_employee(job, "EVE")] == 0


async def test_the_orchestrator_plans_by_capacity(job: Job) -> None:
    options = decision_pb2.OrchestrateOptions(
        start_date=str(job.start), as_of_date=str(job.start), sprint_duration_weeks=WEEKS, max_tasks_per_sprint=40
    )
    request = orchestrator_pb.OrchestrateRequest(project_id=job.project_id, options=options)
    decision = (await job.orchestrator.Orchestrate(request)).decision
    assert decision.sprint_id == f"{job.project_id}-S01"
    job.sprint_id = decision.sprint_id
    job.planned = (await job.sprint.GetSprint(sprint_pb.GetSprintRequest(sprint_id=job.sprint_id))).sprint
    assert job.planned.state == sprint_pb2.SPRINT_STATE_IN_PROGRESS
    assert (job.planned.start_date, job.planned.end_date) == (str(job.start), str(job.end))
    assert len(job.planned.tasks) == decision.final_decision.tasks_to_assign <= 40


async def test_points_are_proportional_to_capacity_within_the_largest_task(job: Job) -> None:
    points: Counter[str] = Counter()
    for task in job.planned.tasks:
        assert task.assignee_id
        points[task.assignee_id] += task.points  # type: ignore[assignment]  # a Counter adds floats as well
    days = {_employee(job, name): float(sum(_share(name, at) for at in _working_offsets(job))) for name in TEAM}
    total, largest = sum(points.values()), max(task.points for task in job.planned.tasks)
    assert points[_employee(job, "EVE")] == 0
    for employee_id, person_days in days.items():
        fair = total * person_days / sum(days.values())
        assert abs(points[employee_id] - fair) <= largest + 1e-9, (employee_id, points, days)


# --- working ------------------------------------------------------------------------------------


async def test_the_days_pass_with_daily_scrums(job: Job) -> None:
    rng = random.Random(7)
    progress = dict.fromkeys((task.task_id for task in job.planned.tasks), 0)
    for offset in _working_offsets(job):
        day = str(job.start + timedelta(days=offset))
        away = {_employee(job, name) for name in TEAM if not _share(name, offset)}
        worked = await _work(job, day, away, progress, rng)
        scrum = sprint_pb.RunDailyScrumRequest(sprint_id=job.sprint_id, report_date=day, simulate=False)
        answer = await job.sprint.RunDailyScrum(scrum)
        assert answer.updated_tasks_count == len(worked)
        reported = {task.task_id for person in answer.report.reports for task in person.tasks if task.yesterday_work}
        assert reported == worked
        assert not any(person.tasks for person in answer.report.reports if person.employee_id in away)
        assert (await job.sprint.RunDailyScrum(scrum)).report_id == answer.report_id


async def _work(job: Job, day: str, away: set[str], progress: dict[str, int], rng: random.Random) -> set[str]:
    worked = set()
    for task in job.planned.tasks:
        if task.assignee_id in away or progress[task.task_id] == 100 or rng.random() < 0.6:
            continue
        progress[task.task_id] = min(100, progress[task.task_id] + rng.choice([20, 50, 100]))
        request = sprint_pb.UpdateTaskProgressRequest(
            task_id=task.task_id,
            progress_percent=progress[task.task_id],
            work_note=f"Reached {progress[task.task_id]} %.",
            work_date=day,
        )
        await job.sprint.UpdateTaskProgress(request)
        worked.add(task.task_id)
    return worked


async def test_backlog_and_sprint_agree_on_every_task(job: Job) -> None:
    async def agree() -> bool:
        tasks = await _tasks(job)
        sprint = (await job.sprint.GetSprint(sprint_pb.GetSprintRequest(sprint_id=job.sprint_id))).sprint
        in_sprint = {task.task_id for task in tasks.values() if task.sprint_id == job.sprint_id}
        return in_sprint == {task.task_id for task in sprint.tasks} and all(
            _essence(tasks[task.task_id], "sprint_version") == _essence(task, "version") for task in sprint.tasks
        )

    await eventually(agree)


def _essence(task: Any, version: str) -> tuple[Any, ...]:
    return task.state, task.assignee_id, task.progress_percent, task.sprint_id, getattr(task, version)


async def test_the_burndown_ends_where_the_tasks_are(job: Job) -> None:
    days = (await job.sprint.GetBurndown(sprint_pb.GetBurndownRequest(sprint_id=job.sprint_id))).days
    summary = (await job.sprint.GetTaskSummary(sprint_pb.GetTaskSummaryRequest(sprint_id=job.sprint_id))).summary
    assert [day.date for day in days] == [str(job.start + timedelta(days=at)) for at in range(7 * WEEKS)]
    assert [at for at, day in enumerate(days) if day.working_day] == _working_offsets(job)
    assert days[-1].remaining_tasks == summary.pending_tasks
    assert days[-1].remaining_points == pytest.approx(summary.pending_points)
    assert 0 < summary.completed_tasks < summary.total_tasks
    left = [day.remaining_points for day in days]
    assert left == sorted(left, reverse=True)


# --- closing ------------------------------------------------------------------------------------


async def test_closing_gives_unfinished_work_back(job: Job) -> None:
    before = (await job.sprint.GetTaskSummary(sprint_pb.GetTaskSummaryRequest(sprint_id=job.sprint_id))).summary
    request = sprint_pb.CloseSprintRequest(sprint_id=job.sprint_id, close_date=str(job.end))
    answer = await job.sprint.CloseSprint(request)
    assert answer.final_state == sprint_pb2.SPRINT_STATE_CLOSED_WITH_PENDING_TASKS
    assert answer.completed_tasks_count == before.completed_tasks
    assert answer.released_tasks_count == before.pending_tasks

    async def settled() -> bool:
        tasks = await _tasks(job)
        mine = [tasks[task.task_id] for task in job.planned.tasks]
        states = Counter(task.state for task in mine)
        return states == {
            task_pb2.TASK_STATE_COMPLETED: before.completed_tasks,
            task_pb2.TASK_STATE_UNASSIGNED: before.pending_tasks,
        } and not any(task.sprint_id for task in mine)

    await eventually(settled)


async def test_history_has_plan_reports_retrospective_and_velocity(job: Job) -> None:
    async def plannings() -> list[Any]:
        request = chronicle_pb.ListSprintPlanningsRequest(sprint_id=job.sprint_id)
        return list((await job.chronicle.ListSprintPlannings(request)).planning_notes)

    async def retrospectives() -> list[Any]:
        request = chronicle_pb.ListRetrospectivesRequest(sprint_id=job.sprint_id)
        return list((await job.chronicle.ListRetrospectives(request)).retrospectives)

    [note] = await eventually(plannings)
    assert {task.task_id for task in note.planned_tasks} == {task.task_id for task in job.planned.tasks}
    [retrospective] = await eventually(retrospectives)
    assert len(retrospective.tasks_summary) == len(job.planned.tasks)
    days = (await job.chronicle.ListDailyScrums(chronicle_pb.ListDailyScrumsRequest(sprint_id=job.sprint_id))).days
    assert [day.report_date for day in days] == [str(job.start + timedelta(days=at)) for at in _working_offsets(job)]
    velocity = (await job.chronicle.GetVelocity(chronicle_pb.GetVelocityRequest(project_id=job.project_id))).velocity
    assert [sprint.sprint_id for sprint in velocity.velocity_trend_data] == [job.sprint_id]


async def test_a_second_decision_remembers_the_first(job: Job) -> None:
    async def remembered() -> bool:
        options = decision_pb2.OrchestrateOptions(as_of_date=str(job.end + timedelta(days=1)), dry_run=True)
        request = orchestrator_pb.OrchestrateRequest(project_id=job.project_id, options=options)
        decision = (await job.orchestrator.Orchestrate(request)).decision
        return bool(decision.intelligence_metadata.episodes_considered)

    await eventually(remembered)


# --- counting again -----------------------------------------------------------------------------


async def test_a_task_is_in_at_most_one_open_sprint(job: Job) -> None:
    rows = await job.world.query(
        "sprint",
        """SELECT task_id FROM sprint_task JOIN sprint USING (sprint_id)
           WHERE sprint.state IN ('PLANNING', 'IN_PROGRESS', 'CLOSING') AND sprint_task.outcome IS NULL
           GROUP BY task_id HAVING count(*) > 1""",
    )
    assert rows == []


async def test_every_event_is_in_its_stream_once_and_was_applied_once(job: Job) -> None:
    published = {name: await eventually(partial(_published, job.world, name)) for name in STATEFUL}
    client = await nats.connect(job.world.stack.nats.url)
    try:
        for name, ids in published.items():
            state = (await client.jetstream().stream_info(stream_of(f"dsm.{name}.v1.x.y"))).state
            assert state.messages == len(ids), name
    finally:
        await client.close()
    for consumer, name in (("backlog", "sprint"), ("chronicle", "sprint"), ("sprint", "backlog")):
        await eventually(partial(_all_applied, job.world, consumer, name, published[name]))


async def _published(world: World, name: str) -> set[str] | None:
    rows = await world.query(name, "SELECT event_id::text AS id, publish_time FROM outbox")
    return None if any(row["publish_time"] is None for row in rows) else {row["id"] for row in rows}


async def _all_applied(world: World, consumer: str, source: str, published: set[str]) -> bool:
    """The consumer's inbox holds each event that it subscribes to, and no other."""
    durable = f"{consumer}-dsm_{source}"
    applied = await world.query(
        consumer, "SELECT event_id::text AS id FROM inbox WHERE consumer = %(name)s", {"name": durable}
    )
    client = await nats.connect(world.stack.nats.url)
    try:
        info = await client.jetstream().consumer_info(f"DSM_{source.upper()}", durable)
    finally:
        await client.close()
    subjects = info.config.filter_subjects or [info.config.filter_subject or ""]
    payloads = await world.query(source, "SELECT event_id::text AS id, subject FROM outbox")
    expected = {row["id"] for row in payloads if row["subject"] in subjects}
    return {row["id"] for row in applied} == expected and expected <= published


async def test_versions_in_the_outbox_only_grow(job: Job) -> None:
    for name in STATEFUL:
        rows = await job.world.query(
            name,
            """SELECT aggregate_id, subject FROM (
                 SELECT aggregate_id, split_part(subject, '.', 4) AS kind, subject, aggregate_version,
                        lag(aggregate_version) OVER (PARTITION BY aggregate_id, split_part(subject, '.', 4)
                                                     ORDER BY position) AS before
                 FROM outbox) AS steps
               WHERE aggregate_version < before""",
        )
        assert rows == [], name
