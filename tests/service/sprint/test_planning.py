"""StartSprint."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import grpc
import pytest
from dsm.backlog.v1 import backlog_service_pb2 as backlog
from dsm.backlog.v1 import task_pb2
from dsm.project.v1 import calendar_pb2, project_pb2
from dsm.project.v1 import project_service_pb2 as project
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask

from tests.harness import World, eventually, refused
from tests.service.sprint.sprints import LAST_DAY, MONDAY, make

IN_PROGRESS = sprint_pb2.SPRINT_STATE_IN_PROGRESS


async def test_a_sprint_starts_with_tasks_that_everybody_has_a_share_of(world: World) -> None:
    at = await make(world, points=(5, 5, 5, 5))
    answer = await at.start(name="First light", goal="See something")
    sprint = answer.sprint
    assert (sprint.sprint_id, sprint.state) == (f"{at.project_id}-S01", IN_PROGRESS)
    assert (sprint.name, sprint.goal) == ("First light", "See something")
    assert (sprint.start_date, sprint.end_date, sprint.duration_weeks) == (MONDAY, LAST_DAY, 2)
    assert sprint.capacity_person_days == 20
    # 20 person-days x 0.8 points per person-day, the default of a first sprint, hold three tasks of five points.
    assert answer.points_limit == 16
    assert "default" in answer.limit_basis
    assert [task.task_id for task in sprint.tasks] == at.task_ids[:3]
    assert {task.state for task in sprint.tasks} == {task_pb2.TASK_STATE_ASSIGNED_TO_SPRINT}
    assert (answer.assigned_tasks_count, sprint.task_summary.total_tasks) == (3, 3)
    assert [(load.employee_id, load.tasks) for load in answer.loads] == [(at.people[0], 2), (at.people[1], 1)]
    assert answer.planning_note_id == sprint.planning_note_id
    assert await at.events("sprint.started") == [sprint.sprint_id]
    assert await at.sprint(sprint.sprint_id) == sprint


async def test_the_backlog_knows_at_once_and_follows_the_assignees(world: World) -> None:
    at = await make(world, points=(5, 5))
    sprint = await at.started(max_tasks=2)
    assert (await at.task(at.task_ids[0])).sprint_id == sprint.sprint_id
    for task in sprint.tasks:
        found = await eventually(lambda task=task: _assigned(at.task(task.task_id)))  # type: ignore[misc]
        assert (found.assignee_id, found.sprint_version) == (task.assignee_id, task.version)


async def _assigned(reading: object) -> task_pb2.Task | None:
    found: task_pb2.Task = await reading  # type: ignore[misc]
    return found if found.assignee_id else None


async def test_limits_that_are_asked_for_hold(world: World) -> None:
    at = await make(world, points=(5, 5, 5, 5, 5))
    answer = await at.start(task_ids=[at.task_ids[3], at.task_ids[1]])
    assert {task.task_id for task in answer.sprint.tasks} == {at.task_ids[1], at.task_ids[3]}
    other = await make(world, points=(5, 5, 5, 5, 5))
    answer = await other.start(max_points=11.5)
    assert (len(answer.sprint.tasks), answer.points_limit) == (2, 11.5)
    third = await make(world, points=(1,) * 9)
    answer = await third.start(max_tasks=4)
    assert (len(answer.sprint.tasks), answer.points_limit) == (4, 0)


async def test_a_backlog_without_estimates_is_limited_in_tasks(world: World) -> None:
    at = await make(world, points=(None,) * 9)
    answer = await at.start()
    assert (len(answer.sprint.tasks), answer.points_limit) == (4, 0)


async def test_the_next_sprint_takes_what_the_team_did_in_the_last(world: World) -> None:
    at = await make(world, points=(5, 5, 5, 5, 5, 5))
    sprint = await at.started(max_tasks=4)
    for task in sprint.tasks[:2]:
        await at.report(task.task_id, 100)
    await at.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=sprint.sprint_id))
    answer = await at.start(start_date="2025-03-17")
    assert answer.sprint.sprint_id == f"{at.project_id}-S02"
    assert (answer.points_limit, len(answer.sprint.tasks)) == (10, 2)


async def test_people_keep_their_tasks_and_those_who_are_away_give_theirs_up(world: World) -> None:
    at = await make(world, people=3, points=(5, 5, 5), assignees=(1, 2, None))
    pto = calendar_pb2.Pto(employee_id=at.people[2], start_date=MONDAY, end_date=LAST_DAY)
    await at.projects.AddPto(project.AddPtoRequest(pto=pto))
    answer = await at.start(max_tasks=3)
    first, second, _ = answer.sprint.tasks
    assert first.assignee_id == at.people[1]
    (moved,) = answer.reassignments
    assert (moved.task_id, moved.from_employee_id, moved.to_employee_id) == (
        second.task_id,
        at.people[2],
        second.assignee_id,
    )
    assert at.people[2] not in {task.assignee_id for task in answer.sprint.tasks}


async def test_skills_count(world: World) -> None:
    at = await make(world, points=(5, 5), skills=("python", "SQL"), tags=("sql", "Python"))
    sprint = await at.started(max_tasks=2)
    assert [task.assignee_id for task in sprint.tasks] == [at.people[1], at.people[0]]


async def test_a_plan_may_leave_assignees_alone(world: World) -> None:
    at = await make(world, points=(5, 5), assignees=(0,))
    answer = await at.start(leave_unassigned=True)
    assert [task.assignee_id for task in answer.sprint.tasks] == [at.people[0], ""]
    assert answer.assigned_tasks_count == 1


async def test_a_project_has_one_open_sprint(world: World) -> None:
    at = await make(world, points=(5,) * 6)
    sprint = await at.started(max_tasks=2)
    failed = await refused(at.start(max_tasks=2))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "SPRINT_ALREADY_OPEN")
    assert failed.metadata == {
        "project_id": at.project_id,
        "sprint_id": sprint.sprint_id,
        "state": "IN_PROGRESS",
    }


async def test_of_many_at_once_one_starts(world: World) -> None:
    at = await make(world, points=(5,) * 6)
    answers = await asyncio.gather(*(at.start(max_tasks=2) for _ in range(8)), return_exceptions=True)
    started = [answer for answer in answers if isinstance(answer, pb.StartSprintResponse)]
    assert len(started) == 1
    assert {type(answer) for answer in answers} == {pb.StartSprintResponse, grpc.aio.AioRpcError}
    states = await world.query(
        "sprint", "SELECT state FROM sprint WHERE project_id = %(project_id)s", {"project_id": at.project_id}
    )
    assert [row["state"] for row in states] == ["IN_PROGRESS"]


async def test_the_same_request_from_many_gives_one_sprint_and_one_answer(world: World) -> None:
    at = await make(world, points=(5,) * 6)
    request_id = str(uuid4())
    answers = await asyncio.gather(*(at.start(max_tasks=2, request_id=request_id) for _ in range(12)))
    assert {answer.SerializeToString(deterministic=True) for answer in answers} == {
        answers[0].SerializeToString(deterministic=True)
    }
    assert await at.events("sprint.started") == [answers[0].sprint.sprint_id]
    failed = await refused(at.start(max_tasks=3, request_id=request_id))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")


async def test_the_same_request_from_many_is_not_refused_for_the_tasks_that_it_took(world: World) -> None:
    at = await make(world, points=(5, 5))
    request_id = str(uuid4())
    calls = [at.start(max_tasks=2, request_id=request_id) for _ in range(40)]
    assert len({answer.planning_note_id for answer in await asyncio.gather(*calls)}) == 1


async def test_what_stands_against_a_sprint_is_said(world: World) -> None:
    at = await make(world, points=())
    assert (await refused(at.start())).reason == "NO_UNASSIGNED_TASKS"
    at = await make(world, people=0)
    failed = await refused(at.start())
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "NO_CAPACITY")
    assert failed.metadata == {"project_id": at.project_id, "start_date": MONDAY, "end_date": LAST_DAY}
    failed = await refused(at.start(project_id="NO-SUCH"))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "PROJECT_NOT_FOUND")
    await at.projects.SetProjectStatus(
        project.SetProjectStatusRequest(project_id=at.project_id, status=project_pb2.PROJECT_STATUS_INACTIVE)
    )
    failed = await refused(at.start())
    assert (failed.code, failed.reason, failed.metadata["status"]) == (
        "FAILED_PRECONDITION",
        "PROJECT_NOT_ACTIVE",
        "INACTIVE",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"duration_weeks": 7},
        {"start_date": "2025-02-30"},
        {"start_date": "soon"},
        {"max_tasks": -1},
        {"max_points": 0.0},
        {"project_id": "lower"},
        {"request_id": "1"},
    ],
)
async def test_bad_requests_name_the_field(world: World, fields: dict[str, object]) -> None:
    at = await make(world)
    failed = await refused(at.start(**fields))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "VALIDATION_FAILED")
    assert failed.metadata["field"] == next(iter(fields))


async def test_a_start_at_the_end_of_the_calendar_is_refused(world: World) -> None:
    at = await make(world)
    assert (await refused(at.start(start_date="9999-12-31"))).reason == "DATE_OUT_OF_RANGE"


async def test_a_task_that_is_not_free_undoes_the_planning(world: World) -> None:
    at = await make(world, points=(5, 5))
    await at.backlog.CompleteTask(backlog.CompleteTaskRequest(task_id=at.task_ids[0]))
    failed = await refused(at.start(task_ids=at.task_ids))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "TASK_NOT_AVAILABLE")
    sprint = await at.sprint(f"{at.project_id}-S01")
    assert sprint.state == sprint_pb2.SPRINT_STATE_ABANDONED
    assert await at.events("sprint.abandoned") == [sprint.sprint_id]
    assert (await at.started(task_ids=at.task_ids[1:])).sprint_id == f"{at.project_id}-S02"


async def test_a_sprint_follows_titles_and_points_of_the_backlog(world: World) -> None:
    at = await make(world, points=(5, 5))
    sprint = await at.started(max_tasks=2)
    task_id = at.task_ids[0]
    changed = task_pb2.Task(task_id=task_id, title="Renamed", points=8)
    await at.backlog.UpdateTask(
        backlog.UpdateTaskRequest(task=changed, update_mask=FieldMask(paths=["title", "points"]))
    )

    async def followed() -> bool:
        return (await at.sprint(sprint.sprint_id)).tasks[0].points == 8

    await eventually(followed)
    task = (await at.sprint(sprint.sprint_id)).tasks[0]
    assert (task.title, task.version) == ("Renamed", 1)
    burndown = await at.sprints.GetBurndown(pb.GetBurndownRequest(sprint_id=sprint.sprint_id))
    assert (burndown.start_points, burndown.days[-1].remaining_points) == (10, 13)


class TestCrashes:
    """Sprint services that die, and a backlog that is away, in a world of their own with short leases."""

    async def test_a_planning_that_broke_off_is_finished_by_the_next_process(self, own_world: World) -> None:
        at = await make(own_world, points=(5, 5, 5))
        await _break_off(own_world, at.project_id, max_tasks=2)
        sprint = await _settled(own_world, at.project_id)
        assert (sprint["state"], sprint["tasks"]) == ("IN_PROGRESS", 2)
        assert await at.events("sprint.started") == [sprint["sprint_id"]]

    async def test_a_planning_whose_backlog_goes_away_is_undone_when_it_is_back(self, own_world: World) -> None:
        at = await make(own_world, points=(5, 5, 5))
        await own_world.stop("backlog")
        failed = await refused(at.start())
        assert (failed.code, failed.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
        assert failed.metadata["service"] == "backlog"
        await _break_off(own_world, at.project_id, max_tasks=2)
        await eventually(lambda: _undoing(own_world, at.project_id))
        await own_world.start("backlog")
        sprint = await _settled(own_world, at.project_id)
        assert (sprint["state"], sprint["tasks"]) == ("ABANDONED", 0)
        assert {(await at.task(task_id)).sprint_id for task_id in at.task_ids} == {""}
        assert (await at.start()).sprint.state == IN_PROGRESS

    async def test_what_the_backlog_changes_between_reserving_and_starting_is_not_missed(
        self, own_world: World
    ) -> None:
        """The planning read the old title; the change was consumed while the task was in no sprint here."""
        at = await make(own_world, points=(5, 5))
        sprint_id, task_id = f"{at.project_id}-S01", at.task_ids[0]
        await _break_off(own_world, at.project_id, max_tasks=2, pause=3600)
        request = backlog.ReserveTasksRequest(sprint_id=sprint_id, project_id=at.project_id, max_tasks=2)
        before = (await at.backlog.ReserveTasks(request)).tasks
        kept = [
            {
                "task_id": task.task_id,
                "points": "5",
                "assignee_id": "",
                "tags": [],
                "title": task.title,
                "progress_percent": 0,
                "version": 0,
                "backlog_version": int(task.etag.removeprefix("v")),
            }
            for task in before
        ]
        changed = task_pb2.Task(task_id=task_id, title="Renamed", points=8)
        await at.backlog.UpdateTask(
            backlog.UpdateTaskRequest(task=changed, update_mask=FieldMask(paths=["title", "points"]))
        )
        told = "SELECT 1 FROM backlog_task WHERE task_id = %(task_id)s AND title = 'Renamed'"
        await eventually(lambda: own_world.query("sprint", told, {"task_id": task_id}))
        await own_world.query(
            "sprint",
            """
            UPDATE saga SET step = 1, lease_time = now(),
                            state = state || jsonb_build_object('reserved', %(kept)s::jsonb)
            WHERE key = %(project_id)s
            """,
            {"kept": json.dumps(kept), "project_id": at.project_id},
        )
        await _settled(own_world, at.project_id)
        sprint = await at.sprint(sprint_id)
        assert [(task.title, task.points) for task in sprint.tasks] == [("Renamed", 8), ("Task 2", 5)]
        burndown = await at.sprints.GetBurndown(pb.GetBurndownRequest(sprint_id=sprint_id))
        assert (burndown.start_points, burndown.days[-1].remaining_points) == (13, 13)


async def _break_off(world: World, project_id: str, max_tasks: int, pause: int = -1) -> None:
    """Leave behind what a process leaves that dies right after it began to plan; taken over after `pause` seconds."""
    sprint_id = f"{project_id}-S01"
    await world.query(
        "sprint",
        """
        INSERT INTO sprint (sprint_id, project_id, number, name, goal, state, start_date, end_date, duration_weeks,
                            time_zone, capacity_person_days, working_dates, members, planning_note_id, version,
                            create_time, update_time)
        VALUES (%(sprint_id)s, %(project_id)s, 1, 'Sprint 1', '', 'PLANNING', '2025-03-03', '2025-03-16', 2, 'UTC', 10,
                '{2025-03-03}', '[{"employee_id": "E1", "person_days": "10", "skills": []}]', gen_random_uuid(), 1,
                now(), now())
        """,
        {"sprint_id": sprint_id, "project_id": project_id},
    )
    await world.query(
        "sprint",
        """
        INSERT INTO saga (saga_id, kind, key, status, state, owner, lease_time, caller)
        VALUES (gen_random_uuid(), 'start-sprint', %(project_id)s, 'RUNNING',
                jsonb_build_object('sprint_id', %(sprint_id)s::text, 'project_id', %(project_id)s::text,
                                   'max_tasks', %(max_tasks)s::integer, 'max_points', NULL, 'unestimated_points', 0,
                                   'task_ids', '[]'::jsonb, 'leave_unassigned', false, 'basis', ''),
                gen_random_uuid(), now() + make_interval(secs => %(pause)s),
                '{"actor": "anonymous", "correlation_id": "", "method": ""}')
        """,
        {"sprint_id": sprint_id, "project_id": project_id, "max_tasks": max_tasks, "pause": pause},
    )


async def _settled(world: World, project_id: str) -> dict[str, object]:
    """The project's sprint once its planning has ended."""

    async def ended() -> dict[str, object] | None:
        rows = await world.query(
            "sprint",
            """
            SELECT sprint_id, state, (SELECT count(*) FROM sprint_task t WHERE t.sprint_id = s.sprint_id) AS tasks
            FROM sprint s WHERE project_id = %(project_id)s AND state <> 'PLANNING'
            """,
            {"project_id": project_id},
        )
        return rows[0] if rows else None

    found: dict[str, object] = await eventually(ended, 30)
    return found


async def _undoing(world: World, project_id: str) -> bool:
    sql = "SELECT 1 FROM saga WHERE key = %(project_id)s AND status = 'UNDOING'"
    return bool(await world.query("sprint", sql, {"project_id": project_id}))
