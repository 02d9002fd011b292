"""What the benchmarks need to be there: projects, people, tasks, a sprint."""

from datetime import UTC, datetime, timedelta

from dsm.backlog.v1 import backlog_service_pb2 as backlog_pb
from dsm.backlog.v1 import task_pb2
from dsm.project.v1 import employee_pb2, project_pb2
from dsm.project.v1 import project_service_pb2 as project_pb
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as sprint_pb

from tests.bench.target import Target

_BATCH = 500


async def project(target: Target, project_id: str, people: int = 0) -> None:
    """A project with a team."""
    made = project_pb2.Project(project_id=project_id, name=project_id)
    await target.project.CreateProject(project_pb.CreateProjectRequest(project=made))
    places = []
    for number in range(people):
        employee = employee_pb2.Employee(employee_id=f"{project_id}-E{number}", name="Somebody")
        await target.project.CreateEmployee(project_pb.CreateEmployeeRequest(employee=employee))
        places.append(project_pb.TeamAssignment(employee_id=employee.employee_id))
    if places:
        request = project_pb.AssignTeamMembersRequest(project_id=project_id, assignments=places)
        await target.project.AssignTeamMembers(request)


async def backlog(target: Target, project_id: str, count: int, people: int = 0) -> list[str]:
    """A project with tasks of 1 to 8 points; their ids."""
    await project(target, project_id, people)
    ids: list[str] = []
    for first in range(0, count, _BATCH):
        batch = [
            task_pb2.Task(title=f"Task {number}", description="What to do. " * 20, points=1 + number % 8)
            for number in range(first, min(first + _BATCH, count))
        ]
        request = backlog_pb.BatchCreateTasksRequest(project_id=project_id, tasks=batch)
        ids += [task.task_id for task in (await target.backlog.BatchCreateTasks(request)).tasks]
    return ids


async def sprint(target: Target, project_id: str, *, people: int, tasks: int) -> sprint_pb2.Sprint:
    """A sprint of some tasks that began a week ago."""
    await backlog(target, project_id, tasks, people)
    request = sprint_pb.StartSprintRequest(project_id=project_id, start_date=_a_week_ago(), max_tasks=tasks)
    found: sprint_pb2.Sprint = (await target.sprint.StartSprint(request)).sprint
    return found


def _a_week_ago() -> str:
    return str(datetime.now(UTC).date() - timedelta(days=7))
