"""What clients send: plausible commands, of which many are refused."""

from __future__ import annotations

from datetime import date, timedelta
from uuid import uuid4

from dsm.backlog.v1 import backlog_service_pb2 as backlog
from dsm.backlog.v1 import task_pb2
from dsm.events.v1 import event_pb2, sprint_events_pb2
from dsm.project.v1 import calendar_pb2, project_pb2
from dsm.project.v1 import project_service_pb2 as project
from dsm.sprint.v1 import daily_scrum_service_pb2 as daily
from dsm.sprint.v1 import sprint_service_pb2 as sprint
from google.protobuf.field_mask_pb2 import FieldMask

from tests.system.play.client import MONDAY, Client, Command
from tests.system.play.stage import Ground

_POLICIES = tuple(backlog.ReleasePolicy.values())


# --- backlog -------------------------------------------------------------------------------------


async def create_task(client: Client, ground: Ground) -> None:
    task = client.content(ground)
    task.project_id = ground.project_id
    if answer := await client.tell("CreateTask", backlog.CreateTaskRequest(task=task)):
        ground.tasks.append(answer.task.task_id)


async def create_tasks(client: Client, ground: Ground) -> None:
    tasks = [client.content(ground) for _ in range(client.rng.randint(1, 12))]
    request = backlog.BatchCreateTasksRequest(project_id=ground.project_id, tasks=tasks)
    if answer := await client.tell("BatchCreateTasks", request):
        ground.tasks += [task.task_id for task in answer.tasks]


async def generate(client: Client, ground: Ground) -> None:
    request = backlog.GenerateBacklogRequest(project_id=ground.project_id, count=client.rng.randint(1, 5))
    if answer := await client.tell("GenerateBacklog", request):
        ground.tasks += [task.task_id for task in answer.tasks]


async def update_task(client: Client, ground: Ground) -> None:
    await client.tell("UpdateTask", backlog.UpdateTaskRequest(**client.update(ground, client.task(ground))))


async def update_tasks(client: Client, ground: Ground) -> None:
    updates = [backlog.TaskUpdate(**client.update(ground, task_id)) for task_id in client.tasks(ground, 6)]
    await client.tell(
        "BatchUpdateTasks", backlog.BatchUpdateTasksRequest(project_id=ground.project_id, updates=updates)
    )


async def delete_task(client: Client, ground: Ground) -> None:
    await client.tell("DeleteTask", backlog.DeleteTaskRequest(task_id=client.task(ground)))


async def rank_task(client: Client, ground: Ground) -> None:
    other = client.task(ground)
    place = {"before_task_id": other} if client.maybe(0.5) else {"after_task_id": other}
    await client.tell("RankTask", backlog.RankTaskRequest(task_id=client.task(ground), **place))


async def assign_task(client: Client, ground: Ground) -> None:
    request = backlog.AssignTaskRequest(task_id=client.task(ground), assignee_id=client.person(ground))
    await client.tell("AssignTask", request)


async def start_task(client: Client, ground: Ground) -> None:
    await client.tell("StartTask", backlog.StartTaskRequest(task_id=client.task(ground)))


async def complete_task(client: Client, ground: Ground) -> None:
    await client.tell("CompleteTask", backlog.CompleteTaskRequest(task_id=client.task(ground)))


async def cancel_task(client: Client, ground: Ground) -> None:
    await client.tell("CancelTask", backlog.CancelTaskRequest(task_id=client.task(ground)))


async def reopen_task(client: Client, ground: Ground) -> None:
    await client.tell("ReopenTask", backlog.ReopenTaskRequest(task_id=client.task(ground)))


async def create_story(client: Client, ground: Ground) -> None:
    story = task_pb2.Story(project_id=ground.project_id, title="A story")
    if answer := await client.tell("CreateStory", backlog.CreateStoryRequest(story=story)):
        ground.stories.append(answer.story.story_id)


async def update_story(client: Client, ground: Ground) -> None:
    story = task_pb2.Story(story_id=client.story(ground), title=f"Story {client.rng.randrange(100)}")
    await client.tell("UpdateStory", backlog.UpdateStoryRequest(story=story, update_mask=FieldMask(paths=["title"])))


async def delete_story(client: Client, ground: Ground) -> None:
    await client.tell("DeleteStory", backlog.DeleteStoryRequest(story_id=client.story(ground)))


async def link_tasks(client: Client, ground: Ground) -> None:
    request = backlog.LinkTasksRequest(story_id=client.story(ground), task_ids=client.tasks(ground, 5))
    await client.tell("LinkTasks", request)


async def unlink_tasks(client: Client, ground: Ground) -> None:
    request = backlog.UnlinkTasksRequest(story_id=client.story(ground), task_ids=client.tasks(ground, 5))
    await client.tell("UnlinkTasks", request)


# --- projects ------------------------------------------------------------------------------------


async def set_status(client: Client, ground: Ground) -> None:
    """Seldom out of work, and soon back."""
    status = client.rng.choices(project_pb2.ProjectStatus.values()[1:], (8, 1, 1))[0]
    request = project.SetProjectStatusRequest(project_id=ground.project_id, status=status)
    await client.tell("SetProjectStatus", request)


async def add_pto(client: Client, ground: Ground) -> None:
    start = MONDAY + timedelta(days=client.rng.randint(0, 40))
    pto = calendar_pb2.Pto(
        employee_id=client.rng.choice(ground.people),
        start_date=start.isoformat(),
        end_date=(start + timedelta(days=client.rng.randint(-1, 6))).isoformat(),
        starts_at_midday=client.maybe(0.2),
    )
    if answer := await client.tell("AddPto", project.AddPtoRequest(pto=pto)):
        ground.pto.append(answer.pto.pto_id)


async def cancel_pto(client: Client, ground: Ground) -> None:
    if ground.pto:
        await client.tell("CancelPto", project.CancelPtoRequest(pto_id=client.rng.choice(ground.pto)))


async def assign_members(client: Client, ground: Ground) -> None:
    start = MONDAY + timedelta(days=client.rng.randint(0, 40))
    places = [
        project.TeamAssignment(
            employee_id=employee_id,
            allocation_percent=client.rng.choice((10, 50, 60, 100)),
            start_date=start.isoformat() if client.maybe(0.3) else "",
            end_date=(start + timedelta(days=20)).isoformat() if client.maybe(0.2) else "",
        )
        for employee_id in client.rng.sample(ground.people, k=client.rng.randint(1, 2))
    ]
    request = project.AssignTeamMembersRequest(project_id=ground.project_id, assignments=places)
    await client.tell("AssignTeamMembers", request)


async def remove_member(client: Client, ground: Ground) -> None:
    employee_id = client.rng.choice(ground.people[1:])
    request = project.RemoveTeamMemberRequest(project_id=ground.project_id, employee_id=employee_id)
    await client.tell("RemoveTeamMember", request)


# --- sprints -------------------------------------------------------------------------------------


async def start_sprint(client: Client, ground: Ground) -> None:
    request = sprint.StartSprintRequest(
        project_id=ground.project_id,
        start_date=(MONDAY + timedelta(days=client.rng.randint(0, 14))).isoformat(),
        duration_weeks=client.rng.randint(0, 3),
        leave_unassigned=client.maybe(0.2),
    )
    limit = client.rng.randrange(4)
    if limit == 0:
        request.max_tasks = client.rng.randint(1, 12)
    elif limit == 1:
        request.max_points = client.rng.choice((0.5, 8, 40))
    elif limit == 2:
        request.task_ids.extend(client.tasks(ground, 6))
    if answer := await client.tell("StartSprint", request):
        begun = answer.sprint
        ground.planned[:] = [task.task_id for task in begun.tasks]
        ground.sprints[begun.sprint_id] = date.fromisoformat(begun.start_date), date.fromisoformat(begun.end_date)


async def report_progress(client: Client, ground: Ground) -> None:
    request = sprint.UpdateTaskProgressRequest(
        task_id=client.planned(ground),
        progress_percent=client.rng.choice((0, 1, 20, 50, 80, 99, 100)),
        work_note="Worked.",
        impediment="No access." if client.maybe(0.1) else "",
        work_date=client.day(ground),
        employee_id=client.person(ground),
    )
    if (answer := await client.tell("UpdateTaskProgress", request)) and answer.HasField("impediment"):
        ground.impediments.append(answer.impediment.impediment_id)


async def raise_impediment(client: Client, ground: Ground) -> None:
    request = sprint.RaiseImpedimentRequest(
        task_id=client.planned(ground), text="Stuck.", raised_by=client.person(ground), raise_date=client.day(ground)
    )
    if answer := await client.tell("RaiseImpediment", request):
        ground.impediments.append(answer.impediment.impediment_id)


async def resolve_impediment(client: Client, ground: Ground) -> None:
    if ground.impediments:
        impediment_id = client.rng.choice(ground.impediments[-8:])
        await client.tell("ResolveImpediment", sprint.ResolveImpedimentRequest(impediment_id=impediment_id))


async def run_daily_scrum(client: Client, ground: Ground) -> None:
    request = sprint.RunDailyScrumRequest(sprint_id=client.sprint(ground), report_date=client.day(ground))
    if client.maybe(0.7):
        request.simulate = client.maybe(0.7)
    await client.tell("RunDailyScrum", request)


async def close_sprint(client: Client, ground: Ground) -> None:
    request = sprint.CloseSprintRequest(
        sprint_id=client.sprint(ground),
        policy=client.rng.choice(_POLICIES),
        close_date=client.day(ground) if client.maybe(0.3) else "",
        dry_run=client.maybe(0.3),
    )
    await client.tell("CloseSprint", request)


async def add_task_to_sprint(client: Client, ground: Ground) -> None:
    request = sprint.AddTaskToSprintRequest(
        sprint_id=client.sprint(ground), task_id=client.task(ground), assignee_id=client.person(ground)
    )
    if await client.tell("AddTaskToSprint", request):
        ground.planned.append(request.task_id)


async def remove_task_from_sprint(client: Client, ground: Ground) -> None:
    request = sprint.RemoveTaskFromSprintRequest(
        sprint_id=client.sprint(ground), task_id=client.planned(ground), policy=client.rng.choice(_POLICIES)
    )
    await client.tell("RemoveTaskFromSprint", request)


async def reassign_task(client: Client, ground: Ground) -> None:
    request = sprint.ReassignTaskRequest(
        sprint_id=client.sprint(ground), task_id=client.planned(ground), assignee_id=client.person(ground)
    )
    await client.tell("ReassignTask", request)


async def cancel_sprint_task(client: Client, ground: Ground) -> None:
    request = sprint.CancelSprintTaskRequest(sprint_id=client.sprint(ground), task_id=client.planned(ground))
    await client.tell("CancelSprintTask", request)


async def run_scrum(client: Client, ground: Ground) -> None:
    await client.tell("RunScrum", daily.RunScrumRequest(sprint_id=client.sprint(ground), seed=client.rng.randint(0, 9)))


async def report_from_outside(client: Client, ground: Ground) -> None:
    """What a stand-up bot publishes, some of it twice; the newest may be older than what is known already."""
    event = event_pb2.Event(event_id=str(uuid4()))
    said = sprint_events_pb2.TaskProgressed(
        task_id=client.planned(ground),
        new_total_progress=client.rng.choice((0, 10, 60, 100)),
        sprint_id=client.sprint(ground) if client.maybe(0.3) else "",
        employee_id=client.person(ground),
        # By its note one sees how often it was applied.
        yesterday_work=event.event_id,
        impediments="No network." if client.maybe(0.1) else "None",
    )
    event.task_progressed.CopyFrom(said)
    if client.maybe(0.7):
        event.event_time.GetCurrentTime()
        event.event_time.seconds -= client.rng.choice((0, 0, 1, 86400))
    await client.stage.publish(client.name, event, times=client.rng.choice((1, 2)))


# How often each is sent.
BACKLOG_COMMANDS: dict[Command, int] = {
    create_task: 8,
    create_tasks: 4,
    generate: 1,
    update_task: 8,
    update_tasks: 3,
    delete_task: 2,
    rank_task: 3,
    assign_task: 4,
    start_task: 3,
    complete_task: 2,
    cancel_task: 2,
    reopen_task: 4,
    create_story: 1,
    update_story: 1,
    delete_story: 1,
    link_tasks: 3,
    unlink_tasks: 1,
}
PROJECT_COMMANDS: dict[Command, int] = {
    set_status: 2,
    add_pto: 2,
    cancel_pto: 1,
    assign_members: 3,
    remove_member: 1,
}
SPRINT_COMMANDS: dict[Command, int] = {
    start_sprint: 8,
    report_progress: 22,
    report_from_outside: 8,
    raise_impediment: 5,
    resolve_impediment: 5,
    run_daily_scrum: 5,
    run_scrum: 2,
    close_sprint: 5,
    add_task_to_sprint: 5,
    remove_task_from_sprint: 4,
    reassign_task: 4,
    cancel_sprint_task: 3,
}
COMMANDS = BACKLOG_COMMANDS | PROJECT_COMMANDS | SPRINT_COMMANDS
