"""What samples stand on: projects, people, tasks and sprints, made through the contract's own calls."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

from dsm.backlog.v1 import backlog_service_pb2 as backlog
from dsm.backlog.v1 import task_pb2
from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceStub
from dsm.chronicle.v1 import chronicle_service_pb2 as chronicle
from dsm.chronicle.v1 import note_pb2
from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceStub
from dsm.orchestrator.v1 import orchestrator_service_pb2 as orchestrator
from dsm.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from dsm.project.v1 import calendar_pb2, employee_pb2, project_pb2
from dsm.project.v1 import project_service_pb2 as project
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as sprint
from dsm.sprint.v1.sprint_service_pb2_grpc import SprintServiceStub

from tests.harness import SERVICES, World

# The first day of a sprint of two weeks without a public holiday in the United States.
MONDAY = "2025-03-03"
TUESDAY = "2025-03-04"
LAST_DAY = "2025-03-16"
# The first day of the two weeks before.
BEFORE = "2025-02-17"

_numbers = itertools.count(random.Random().randrange(10**6) * 1000)


@dataclass
class Scene:
    """A project with a team, tasks, a story and an open sprint to read; and ways to make fresh ones to change."""

    world: World
    project_id: str = ""
    employee_id: str = ""
    task_ids: list[str] = field(default_factory=list)
    story_id: str = ""
    sprint: sprint_pb2.Sprint = field(default_factory=sprint_pb2.Sprint)
    # A token that ListProjects gave; it is no other query's.
    page_token: str = ""

    async def new_project(self) -> str:
        """A project without a team."""
        project_id = f"CALL-{next(_numbers)}"
        stub = ProjectServiceStub(await self.world.channel("project"))
        made = project_pb2.Project(project_id=project_id, name="A project")
        await stub.CreateProject(project.CreateProjectRequest(project=made))
        return project_id

    async def new_employee(self) -> str:
        """A person on no team."""
        employee_id = f"CALL-E{next(_numbers)}"
        stub = ProjectServiceStub(await self.world.channel("project"))
        made = employee_pb2.Employee(employee_id=employee_id, name="Somebody")
        await stub.CreateEmployee(project.CreateEmployeeRequest(employee=made))
        return employee_id

    async def new_team(self) -> tuple[str, str]:
        """A project with one person on its team."""
        project_id, employee_id = await self.new_project(), await self.new_employee()
        stub = ProjectServiceStub(await self.world.channel("project"))
        places = [project.TeamAssignment(employee_id=employee_id)]
        await stub.AssignTeamMembers(project.AssignTeamMembersRequest(project_id=project_id, assignments=places))
        return project_id, employee_id

    async def new_pto(self) -> str:
        """Time off of a person of its own."""
        stub = ProjectServiceStub(await self.world.channel("project"))
        pto = calendar_pb2.Pto(employee_id=await self.new_employee(), start_date=MONDAY, end_date=TUESDAY)
        return (await stub.AddPto(project.AddPtoRequest(pto=pto))).pto.pto_id

    async def new_holiday(self) -> str:
        """A project whose Tuesday is a company day."""
        project_id = await self.new_project()
        stub = ProjectServiceStub(await self.world.channel("project"))
        await stub.AddHoliday(project.AddHolidayRequest(project_id=project_id, date=TUESDAY, name="A day"))
        return project_id

    async def new_tasks(self, project_id: str = "", count: int = 2) -> list[str]:
        """Free tasks; of the scene's project, if no other is given."""
        stub = BacklogServiceStub(await self.world.channel("backlog"))
        tasks = [task_pb2.Task(title=f"Task {number}", points=3) for number in range(count)]
        request = backlog.BatchCreateTasksRequest(project_id=project_id or self.project_id, tasks=tasks)
        return [task.task_id for task in (await stub.BatchCreateTasks(request)).tasks]

    async def new_task(self) -> str:
        """A free task of the scene's project."""
        [task_id] = await self.new_tasks(count=1)
        return task_id

    async def new_story(self) -> str:
        """A story of the scene's project."""
        stub = BacklogServiceStub(await self.world.channel("backlog"))
        story = task_pb2.Story(project_id=self.project_id, title="A story")
        return (await stub.CreateStory(backlog.CreateStoryRequest(story=story))).story.story_id

    async def new_plannable(self) -> str:
        """A project with a team and free tasks, and no sprint."""
        project_id, _ = await self.new_team()
        await self.new_tasks(project_id)
        return project_id

    async def new_sprint(self) -> sprint_pb2.Sprint:
        """An open sprint with two tasks, of a project of its own."""
        stub = SprintServiceStub(await self.world.channel("sprint"))
        request = sprint.StartSprintRequest(project_id=await self.new_plannable(), start_date=MONDAY)
        return (await stub.StartSprint(request)).sprint

    async def new_second_sprint(self) -> sprint_pb2.Sprint:
        """An open sprint with two tasks, of a project of its own that has closed one before."""
        stub = SprintServiceStub(await self.world.channel("sprint"))
        project_id = await self.new_plannable()
        request = sprint.StartSprintRequest(project_id=project_id, start_date=BEFORE)
        first = (await stub.StartSprint(request)).sprint
        await stub.CloseSprint(sprint.CloseSprintRequest(sprint_id=first.sprint_id, close_date=first.end_date))
        return (await stub.StartSprint(sprint.StartSprintRequest(project_id=project_id, start_date=MONDAY))).sprint

    async def new_sprint_task(self) -> str:
        """A task of an open sprint of its own."""
        return (await self.new_sprint()).tasks[0].task_id

    async def new_begun_task(self) -> str:
        """A task in progress in an open sprint of its own."""
        stub = SprintServiceStub(await self.world.channel("sprint"))
        task_id = await self.new_sprint_task()
        await stub.UpdateTaskProgress(sprint.UpdateTaskProgressRequest(task_id=task_id, progress_percent=20))
        return task_id

    async def new_impediment(self) -> str:
        """An open impediment in a sprint of its own."""
        stub = SprintServiceStub(await self.world.channel("sprint"))
        request = sprint.RaiseImpedimentRequest(task_id=await self.new_begun_task(), text="No access")
        return (await stub.RaiseImpediment(request)).impediment.impediment_id

    async def new_action_item(self) -> str:
        """An action item of a retrospective of its own."""
        stub = ChronicleServiceStub(await self.world.channel("chronicle"))
        items = [note_pb2.ActionItem(description="Review within a day")]
        request = chronicle.RecordRetrospectiveRequest(retrospective=retrospective(new_sprint_id(), items))
        answer = await stub.RecordRetrospective(request)
        return answer.retrospective.action_items[0].action_item_id

    async def new_cron_job(self) -> tuple[str, str]:
        """A project of its own with an open sprint, and the cron job of its daily scrum."""
        stub = OrchestratorServiceStub(await self.world.channel("orchestrator"))
        request = orchestrator.OrchestrateRequest(project_id=await self.new_plannable())
        actions = (await stub.Orchestrate(request)).decision.actions
        return request.project_id, actions[-1].cron_job_name


def new_sprint_id() -> str:
    """The id of a sprint that no service has."""
    return f"CALL-{next(_numbers)}-S01"


def project_of(sprint_id: str) -> str:
    """The project that a sprint's id names."""
    return sprint_id.rpartition("-")[0]


def retrospective(sprint_id: str, action_items: list[note_pb2.ActionItem]) -> note_pb2.Retrospective:
    """A retrospective of a sprint of two weeks."""
    return note_pb2.Retrospective(
        sprint_id=sprint_id,
        project_id=project_of(sprint_id),
        start_date=MONDAY,
        end_date=LAST_DAY,
        duration_weeks=2,
        action_items=action_items,
    )


async def make_scene(world: World) -> Scene:
    """Every service started, and one of everything to read."""
    await world.start(*SERVICES)
    scene = Scene(world)
    scene.project_id, scene.employee_id = await scene.new_team()
    scene.task_ids = await scene.new_tasks()
    scene.story_id = await scene.new_story()
    scene.sprint = await scene.new_second_sprint()
    stub = ProjectServiceStub(await world.channel("project"))
    scene.page_token = (await stub.ListProjects(project.ListProjectsRequest(page_size=1))).next_page_token
    chronicle_stub = ChronicleServiceStub(await world.channel("chronicle"))
    note = note_pb2.FreeNote(project_id=scene.project_id, text="A note")
    await chronicle_stub.RecordNote(chronicle.RecordNoteRequest(note=note))
    return scene
