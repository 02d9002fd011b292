"""Who a caller is, and who may make a call."""

from typing import Any

import pytest
from dsm.backlog.v1 import backlog_service_pb2 as backlog
from dsm.project.v1 import project_service_pb2 as project
from dsm.sprint.v1 import sprint_service_pb2 as sprint
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st

from services.kit.security.guard import access_by_path, actor_of
from services.kit.security.identity import (
    Access,
    Caller,
    Role,
    RoleRequired,
    TokenInvalid,
    access_of,
    caller_of,
    project_of,
)

_METHOD = "/dsm.sprint.v1.SprintService/StartSprint"


def _caller(*roles: str, **project_roles: str) -> Caller:
    return caller_of({"sub": "anna", "exp": 100, "roles": list(roles), "project_roles": project_roles})


def _method(file: Any, service: str, name: str) -> MethodDescriptor:
    method: MethodDescriptor = file.DESCRIPTOR.services_by_name[service].methods_by_name[name]
    return method


def _may(caller: Caller, access: Access, request: object) -> bool:
    try:
        access.check(caller, _METHOD, request)
    except RoleRequired:
        return False
    return True


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("project_id", "TEST-001", "TEST-001"),
        ("reference_project_id", "A", "A"),
        ("task.project_id", "TEST-S01", "TEST-S01"),
        ("project_id", "test", None),
        ("project_id", "A" * 33, None),
        ("project_id", "A\n", None),
        ("task_id", "TEST-001-TASK001", "TEST-001"),
        ("before_task_id", "A-TASK1234", "A"),
        ("task_id", "A-TASK001-TASK002", "A-TASK001"),
        ("task_id", "TASK001", None),
        ("task_id", "A-TASK1", None),
        ("task_id", "A-TASK١٢٣", None),
        ("task_id", "A-S01", None),
        ("sprint_id", "A-S01-S02", "A-S01"),
        ("sprint_id", "A-S01x", None),
        ("sprint_id", "-S01", None),
        ("story.story_id", "TEST-001-STORY012", "TEST-001"),
        ("employee_id", "A", None),
    ],
)
def test_an_id_tells_its_project(field: str, value: str, expected: str | None) -> None:
    assert project_of(field, value) == expected


@pytest.mark.parametrize(
    ("roles", "needed", "allowed"),
    [
        ((), Role.VIEWER, False),
        (("viewer",), Role.VIEWER, True),
        (("viewer",), Role.MEMBER, False),
        (("member",), Role.VIEWER, True),
        (("scrum_master",), Role.MEMBER, True),
        (("scrum_master",), Role.ADMIN, False),
        (("viewer", "admin"), Role.SCRUM_MASTER, True),
        (("admin",), Role.SERVICE, False),
        (("service",), Role.SERVICE, True),
        (("service",), Role.SCRUM_MASTER, True),
        (("service",), Role.ADMIN, False),
        (("service", "admin"), Role.ADMIN, True),
        (("ADMIN", "offline_access", "uma_authorization"), Role.VIEWER, False),
        (("admin", "service"), Role.NONE, False),
    ],
)
def test_roles_over_all_projects(roles: tuple[str, ...], needed: Role, allowed: bool) -> None:
    assert _may(_caller(*roles), Access(needed), project.ListProjectsRequest()) == allowed


_BY_PROJECT = Access(Role.MEMBER, ("project_id",))
_BY_BOTH = Access(Role.MEMBER, ("sprint_id", "task_id"))


@pytest.mark.parametrize(
    ("held", "access", "request_", "allowed"),
    [
        ({"XD": "member"}, _BY_PROJECT, backlog.BatchCreateTasksRequest(project_id="XD"), True),
        ({"XD": "admin"}, _BY_PROJECT, backlog.BatchCreateTasksRequest(project_id="XD"), True),
        ({"XD": "viewer"}, _BY_PROJECT, backlog.BatchCreateTasksRequest(project_id="XD"), False),
        ({"XD": "member"}, _BY_PROJECT, backlog.BatchCreateTasksRequest(project_id="XE"), False),
        ({"XD": "member"}, _BY_PROJECT, backlog.BatchCreateTasksRequest(), False),
        ({"XD": "service"}, _BY_PROJECT, backlog.BatchCreateTasksRequest(project_id="XD"), False),
        ({"XD": "admin"}, Access(Role.VIEWER), project.ListProjectsRequest(), False),
        ({"XD": "member"}, _BY_BOTH, sprint.ReassignTaskRequest(sprint_id="XD-S01", task_id="XD-TASK001"), True),
        ({"XD": "member"}, _BY_BOTH, sprint.ReassignTaskRequest(sprint_id="XD-S01", task_id="XE-TASK001"), False),
        ({"XD": "member"}, _BY_BOTH, sprint.ReassignTaskRequest(sprint_id="XD-S01"), True),
        ({"XD": "member"}, _BY_BOTH, sprint.ReassignTaskRequest(sprint_id="XD-S01", task_id="?"), False),
        ({"XD": "member"}, _BY_PROJECT, DecodeError("no message"), False),
        ({"XD": "member"}, _BY_PROJECT, None, False),
    ],
)
def test_roles_in_projects(held: dict[str, str], access: Access, request_: object, allowed: bool) -> None:
    assert _may(_caller(**held), access, request_) == allowed


def test_a_role_over_all_projects_needs_no_project() -> None:
    access = access_of(_method(backlog, "BacklogService", "ImportTasks"))
    assert _may(_caller("scrum_master"), access, None)
    assert not _may(_caller(XD="scrum_master"), access, backlog.ImportTasksRequest(data=b"XD"))
    options = backlog.ImportTasksRequest()
    options.options.project_id = "XD"
    assert _may(_caller(XD="scrum_master"), access, options)


@given(st.text(max_size=70))
def test_only_ids_of_the_project_pass(text: str) -> None:
    caller = _caller(XD="admin")
    requests: list[tuple[Message, str]] = [
        (backlog.GetTaskRequest(task_id=text), "task_id"),
        (sprint.GetSprintRequest(sprint_id=text), "sprint_id"),
        (project.GetProjectRequest(project_id=text), "project_id"),
    ]
    for request, field in requests:
        ours = text == "XD" or text.startswith("XD-")
        assert not _may(caller, Access(Role.VIEWER, (field,)), request) or ours


def test_a_refusal_names_role_method_and_project() -> None:
    with pytest.raises(RoleRequired) as refused:
        _BY_PROJECT.check(_caller(XD="viewer"), _METHOD, backlog.BatchCreateTasksRequest(project_id="XD"))
    assert refused.value.metadata == {"role": "MEMBER", "method": _METHOD, "project_id": "XD"}
    with pytest.raises(RoleRequired) as refused:
        Access(Role.ADMIN).check(_caller("viewer"), _METHOD, None)
    assert refused.value.metadata == {"role": "ADMIN", "method": _METHOD}


def test_nobody_may_make_a_call_that_the_contract_does_not_know() -> None:
    assert not _may(_caller("admin", "service"), access_by_path("/dsm.sprint.v1.SprintService/Nothing"), None)


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"sub": ""},
        {"sub": " anna"},
        {"sub": "anna\n"},
        {"sub": "Änne"},
        {"sub": "a" * 256},
        {"sub": 7},
        {"sub": "service:sprint"},
        {"sub": "service:sprint", "roles": ["admin"]},
        {"roles": "admin"},
        {"roles": {"admin": True}},
        {"roles": [["admin"]]},
        {"roles": None},
        {"project_roles": ["XD"]},
        {"project_roles": {"XD": ["member"]}},
        {"project_roles": "XD=member"},
        {"exp": "soon"},
        {"exp": None},
    ],
)
def test_claims_that_are_not_as_they_must_be(claims: dict[str, Any]) -> None:
    good: dict[str, Any] = {"exp": 100} | ({"sub": "anna"} if claims else {})
    with pytest.raises(TokenInvalid):
        caller_of(good | claims)


def test_only_a_service_acts_for_others() -> None:
    anna, service = _caller("admin"), caller_of({"sub": "service:sprint", "exp": 100, "roles": ["service"]})
    assert actor_of(anna, "", _METHOD) == "anna"
    assert actor_of(anna, "anna", _METHOD) == "anna"
    with pytest.raises(RoleRequired) as refused:
        actor_of(anna, "bob", _METHOD)
    assert refused.value.metadata["role"] == "SERVICE"
    assert actor_of(service, "", _METHOD) == "service:sprint"
    assert actor_of(service, "anna", _METHOD) == "anna"
