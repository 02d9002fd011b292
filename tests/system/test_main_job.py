"""The main job on real backlogs: imported, planned, worked, reported, closed; then everything is counted again."""

import random
from collections import Counter
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from dsm.backlog.v1 import backlog_service_pb2 as backlog_pb
from dsm.backlog.v1 import task_pb2
from dsm.chronicle.v1 import chronicle_service_pb2 as chronicle_pb
from dsm.orchestrator.v1 import decision_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as orchestrator_pb
from dsm.project.v1 import project_service_pb2 as project_service_pb
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as sprint_pb

from services.kit.envelope import stream_of
from tests.harness import DATA, STATEFUL, World, eventually
from tests.system.main_job import TEAM, WEEKS, Job, open_job, share_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the real backlogs are not at {DATA}"),
]


@pytest_asyncio.fixture(scope="module", params=["XD", "USERGRID"])
async def job(request: pytest.FixtureRequest, world: World) -> Job:
    """A job of which a test after the other does a part."""
    return await open_job(world, request.param)


# --- import -------------------------------------------------------------------------------------


async def test_every_row_is_there_once_with_its_text_and_points(job: Job) -> None:
    rows = job.rows()
    tasks = {task.origin.key: task for task in (await job.tasks()).values()}
    stories = {story.origin.key: story for story in await job.stories()}
    assert len(rows) == len({row["issue_key"] for row in rows})
    assert len(tasks) + len(stories) == len(rows)
    for row in rows:
        kept: Any = tasks.get(row["issue_key"]) or stories[row["issue_key"]]
        assert kept.title == row["title"].strip()
        assert kept.description.strip() == row["description"].strip()
        if row["issue_key"] in tasks and row["story_points"]:
            assert kept.points == float(row["story_points"])


async def test_a_second_import_changes_nothing(job: Job) -> None:
    report = await job.import_backlog()
    assert report.rows == len(job.rows())
    assert (report.created_tasks, report.updated_tasks, report.refused_count) == (0, 0, 0)


async def test_the_summary_equals_a_recount(job: Job) -> None:
    answer = await job.backlog.GetBacklogSummary(backlog_pb.GetBacklogSummaryRequest(project_id=job.project_id))
    tasks = (await job.tasks()).values()
    assert answer.summary.total_tasks == len(tasks)
    counted = Counter(task.state for task in tasks)
    assert {count.state: count.tasks for count in answer.summary.state_counts if count.tasks} == counted


# --- planning -----------------------------------------------------------------------------------


async def test_capacity_is_exact_for_the_people_on_pto(job: Job) -> None:
    request = project_service_pb.GetCapacityRequest(
        project_id=job.project_id, start_date=str(job.start), end_date=str(job.end)
    )
    answer = await job.project.GetCapacity(request)
    expected = {
        job.employee(name): float(sum(share_of(name, offset) for offset in job.working_offsets())) for name in TEAM
    }
    assert {member.employee_id: member.person_days for member in answer.members} == expected
    assert answer.person_days == sum(expected.values())
    assert expected[job.employee("EVE")] == 0


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
    days = {job.employee(name): float(sum(share_of(name, at) for at in job.working_offsets())) for name in TEAM}
    total, largest = sum(points.values()), max(task.points for task in job.planned.tasks)
    assert points[job.employee("EVE")] == 0
    for employee_id, person_days in days.items():
        fair = total * person_days / sum(days.values())
        assert abs(points[employee_id] - fair) <= largest + 1e-9, (employee_id, points, days)


# --- working ------------------------------------------------------------------------------------


async def test_the_days_pass_with_daily_scrums(job: Job) -> None:
    rng = random.Random(7)
    progress = dict.fromkeys((task.task_id for task in job.planned.tasks), 0)
    for offset in job.working_offsets():
        day = str(job.start + timedelta(days=offset))
        away = {job.employee(name) for name in TEAM if not share_of(name, offset)}
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
        tasks = await job.tasks()
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
    assert [at for at, day in enumerate(days) if day.working_day] == job.working_offsets()
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
        tasks = await job.tasks()
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
    assert [day.report_date for day in days] == [str(job.start + timedelta(days=at)) for at in job.working_offsets()]
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
    async with job.world.jetstream() as js:
        for name, ids in published.items():
            state = (await js.stream_info(stream_of(f"dsm.{name}.v1.x.y"))).state
            assert state.messages == len(ids), name
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
    async with world.jetstream() as js:
        info = await js.consumer_info(f"DSM_{source.upper()}", durable)
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
