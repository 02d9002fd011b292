"""What several commands look up: the sprint that is meant, the names of people, the words of enums."""

import re
from collections.abc import Mapping
from typing import Any

import grpc
from dsm.project.v1.project_service_pb2 import ListTeamMembersRequest
from dsm.sprint.v1.sprint_pb2 import Sprint
from dsm.sprint.v1.sprint_service_pb2 import GetActiveSprintRequest, GetSprintRequest, ListSprintsRequest

from services.cli.client import Client, failure
from services.cli.errors import CliError

_SPRINT_ID = re.compile(r"^[A-Z][A-Z0-9]*(-[A-Z0-9]+)*-S[0-9]{2,}$")
_PAGE = 250

Names = Mapping[str, str]


def is_sprint(target: str) -> bool:
    """Whether an id is a sprint's, not a project's."""
    return bool(_SPRINT_ID.match(target))


def open_sprint(dsm: Client, target: str) -> Sprint:
    """The sprint that `target` names, or the open one of the project that it names, or, without one, of any project.

    Raises CliError if no sprint is open.
    """
    if is_sprint(target):
        return dsm.sprint.GetSprint(GetSprintRequest(sprint_id=target)).sprint
    if sprint := open_sprint_of(dsm, target):
        return sprint
    where = f"Project {target} has" if target else "There is"
    raise CliError(f"{where} no open sprint: start one with `dsm plan {target or 'PROJECT'}`.")


def open_sprint_of(dsm: Client, project_id: str) -> Sprint | None:
    """The open sprint of a project, with its tasks; None without one."""
    try:
        return dsm.sprint.GetActiveSprint(GetActiveSprintRequest(project_id=project_id)).sprint
    except grpc.RpcError as error:
        if failure(error).reason == "NO_ACTIVE_SPRINT":
            return None
        raise


def last_sprint(dsm: Client, target: str) -> Sprint:
    """The sprint that `target` names, or the open one of the project that it names, else its newest.

    Raises CliError if the project never had one.
    """
    if is_sprint(target):
        return dsm.sprint.GetSprint(GetSprintRequest(sprint_id=target)).sprint
    if sprint := open_sprint_of(dsm, target):
        return sprint
    newest = dsm.sprint.ListSprints(ListSprintsRequest(project_id=target, page_size=1)).sprints
    if not newest:
        raise CliError(f"Project {target} never had a sprint: start one with `dsm plan {target}`.")
    return newest[0]


def names_of(dsm: Client, project_id: str) -> dict[str, str]:
    """Names of the people who are or were on a project's team, by employee id."""
    found: dict[str, str] = {}
    token = ""
    while True:
        request = ListTeamMembersRequest(project_id=project_id, page_size=_PAGE, page_token=token)
        answer = dsm.project.ListTeamMembers(request)
        found |= {member.employee_id: member.employee.name for member in answer.team_members}
        token = answer.next_page_token
        if not token:
            return found


def name(names: Names, employee_id: str) -> str:
    """What to call somebody: the name, else the id (the name was erased, or the person never was on the team)."""
    return names.get(employee_id) or employee_id or "nobody"


def word(enum: Any, value: int) -> str:
    """An enum's value as people read it: TASK_STATE_IN_PROGRESS becomes 'in progress'."""
    names = enum.DESCRIPTOR.values_by_number
    prefix = names[0].name.removesuffix("UNSPECIFIED")
    # A newer DSM may know values that this program does not.
    return names[value].name.removeprefix(prefix).replace("_", " ").lower() if value in names else str(value)
