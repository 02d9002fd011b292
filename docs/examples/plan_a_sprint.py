"""Plan a sprint with the Python SDK: a project, a person, three tasks, a sprint.

pip install ./gen/python
python docs/examples/plan_a_sprint.py localhost:7600
"""

import sys
import uuid

import grpc
from dsm.backlog.v1 import backlog_service_pb2 as backlog
from dsm.backlog.v1 import backlog_service_pb2_grpc, task_pb2
from dsm.project.v1 import employee_pb2, project_pb2, project_service_pb2_grpc
from dsm.project.v1 import project_service_pb2 as project
from dsm.sprint.v1 import sprint_service_pb2 as sprint
from dsm.sprint.v1 import sprint_service_pb2_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

target = sys.argv[1] if len(sys.argv) > 1 else "localhost:7600"
suffix = uuid.uuid4().hex[:6].upper()
project_id, employee_id = f"EX-{suffix}", f"E-{suffix}"

with grpc.insecure_channel(target) as channel:
    projects = project_service_pb2_grpc.ProjectServiceStub(channel)
    backlogs = backlog_service_pb2_grpc.BacklogServiceStub(channel)
    sprints = sprint_service_pb2_grpc.SprintServiceStub(channel)

    # A request_id makes a mutation safe to repeat: the same id and body gets the first answer.
    projects.CreateProject(
        project.CreateProjectRequest(
            project=project_pb2.Project(project_id=project_id, name="Example", time_zone="Europe/Berlin"),
            request_id=str(uuid.uuid4()),
        ),
        timeout=5,
    )
    projects.CreateEmployee(
        project.CreateEmployeeRequest(employee=employee_pb2.Employee(employee_id=employee_id, name="Ada Example"))
    )
    projects.AssignTeamMembers(
        project.AssignTeamMembersRequest(
            project_id=project_id, assignments=[project.TeamAssignment(employee_id=employee_id)]
        )
    )
    backlogs.BatchCreateTasks(
        backlog.BatchCreateTasksRequest(
            project_id=project_id,
            tasks=[task_pb2.Task(title=title, points=1) for title in ("Design", "Build", "Ship")],
        )
    )
    answer = sprints.StartSprint(sprint.StartSprintRequest(project_id=project_id, duration_weeks=2))
    print(f"{answer.sprint.sprint_id}: {answer.assigned_tasks_count} tasks, {answer.limit_basis}")

    # A refused call carries one ErrorInfo; branch on its reason, never on the message.
    try:
        sprints.StartSprint(sprint.StartSprintRequest(project_id=project_id))
    except grpc.RpcError as error:
        info = error_details_pb2.ErrorInfo()
        rpc_status.from_call(error).details[0].Unpack(info)
        print(f"{error.code().name}: {info.reason} {dict(info.metadata)}")
