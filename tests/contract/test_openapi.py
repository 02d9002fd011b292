"""The OpenAPI document is a valid one, has every call, and refuses what the contract's own rules refuse."""

import json
from pathlib import Path
from typing import Any

import protovalidate
import pytest
from dsm.backlog.v1 import backlog_service_pb2 as backlog
from dsm.backlog.v1 import import_pb2, task_pb2
from dsm.chronicle.v1 import chronicle_service_pb2 as chronicle
from dsm.common.v1 import page_pb2
from dsm.embedding.v1 import embedding_service_pb2 as embedding
from dsm.project.v1 import employee_pb2, project_pb2
from dsm.sprint.v1 import sprint_service_pb2 as sprint
from google.protobuf import json_format
from google.protobuf.message import Message
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from scripts.openapi.contract import load

_GEN = Path(__file__).parents[2] / "gen"
_DOCUMENT: dict[str, Any] = json.loads((_GEN / "openapi" / "dsm.json").read_text(encoding="utf-8"))
_UUID = "018f4e9c-7d1a-7c3e-9b7a-0123456789ab"


def _operations() -> list[dict[str, Any]]:
    return [operation for path in _DOCUMENT["paths"].values() for operation in path.values()]


def test_it_is_valid() -> None:
    OpenAPIV31SpecValidator(_DOCUMENT).validate()


def test_it_has_every_call() -> None:
    contract = load((_GEN / "descriptor" / "dsm.binpb").read_bytes())
    calls = {f"{service.name}_{method.name}" for service in contract.services for method in service.methods}
    assert calls == {operation["operationId"].removesuffix("_2") for operation in _operations()}


def test_every_operation_answers_errors() -> None:
    for operation in _operations():
        assert operation["responses"]["default"] == {"$ref": "#/components/responses/Error"}
    created = _DOCUMENT["paths"]["/v1/projects/{projectId}/tasks"]["post"]["responses"]
    assert "TASK_NOT_FOUND" in created["404"]["description"]


def test_what_is_in_the_path_is_not_in_the_body() -> None:
    rank = _DOCUMENT["paths"]["/v1/tasks/{taskId}:rank"]["post"]
    assert [parameter["name"] for parameter in rank["parameters"]] == ["taskId"]
    assert "taskId" not in _DOCUMENT["components"]["schemas"]["dsm.backlog.v1.RankTaskRequest"]["properties"]


def test_a_query_names_what_is_needed() -> None:
    listed = _DOCUMENT["paths"]["/v1/projects/{projectId}/capacity"]["get"]["parameters"]
    assert {parameter["name"] for parameter in listed if parameter.get("required")} == {
        "projectId",
        "startDate",
        "endDate",
    }


def _as_document_says(message: Message, body: dict[str, Any]) -> bool:
    schema = {"$ref": f"#/components/schemas/{message.DESCRIPTOR.full_name}", "components": _DOCUMENT["components"]}
    return bool(OAS31Validator(schema, format_checker=OAS31Validator.FORMAT_CHECKER).is_valid(body))


def _as_contract_says(message: Message, body: dict[str, Any], path: dict[str, str]) -> bool:
    try:
        json_format.ParseDict(body | path, message)
        protovalidate.validate(message)
    except (json_format.ParseError, protovalidate.ValidationError):
        return False
    return True


_TASK = {"task_id": "T-1-TASK001"}
_SPRINT = {"sprint_id": "T-1-S01"}
# Message, JSON body, fields that the path gives, whether it is right.
_CASES: list[tuple[type[Message], dict[str, Any], dict[str, str], bool]] = [
    (task_pb2.Task, {}, {}, True),
    (task_pb2.Task, {"projectId": ""}, {}, True),
    (task_pb2.Task, {"projectId": "T-1", "title": "x" * 500, "points": 0.5, "rank": "12"}, {}, True),
    (task_pb2.Task, {"projectId": "t"}, {}, False),
    (task_pb2.Task, {"title": "x" * 501}, {}, False),
    (task_pb2.Task, {"points": -1}, {}, False),
    (task_pb2.Task, {"points": 10001}, {}, False),
    (task_pb2.Task, {"points": "many"}, {}, False),
    (task_pb2.Task, {"priority": "PRIORITY_HIGH", "tags": ["a", "b"]}, {}, True),
    (task_pb2.Task, {"priority": "HIGH"}, {}, False),
    (task_pb2.Task, {"tags": ["a", "a"]}, {}, False),
    (task_pb2.Task, {"tags": [""]}, {}, False),
    (task_pb2.Task, {"tags": [f"t{i}" for i in range(51)]}, {}, False),
    (task_pb2.Task, {"estimate": "5400s", "reminderOffsets": ["0.5s"]}, {}, True),
    (task_pb2.Task, {"estimate": "-1s"}, {}, False),
    (task_pb2.Task, {"estimate": "1h"}, {}, False),
    (task_pb2.Task, {"customFields": {"squad": "blue"}}, {}, True),
    (task_pb2.Task, {"customFields": {"": "blue"}}, {}, False),
    (task_pb2.Task, {"customFields": {str(i): "x" for i in range(51)}}, {}, False),
    (task_pb2.Task, {"dueDate": "2026-01-05"}, {}, True),
    (task_pb2.Task, {"dueDate": "5 January"}, {}, False),
    (page_pb2.DateRange, {"startDate": "2026-01-05", "endDate": "2026-01-06"}, {}, True),
    (page_pb2.DateRange, {"startDate": "2026-01-05"}, {}, False),
    (project_pb2.Project, {"projectId": "T-1", "status": "PROJECT_STATUS_ACTIVE"}, {}, True),
    (project_pb2.Project, {"workingDays": ["MONDAY", "FRIDAY"]}, {}, True),
    (project_pb2.Project, {"workingDays": ["FUNDAY"]}, {}, False),
    (employee_pb2.Employee, {"employeeId": "E001", "email": "ada@example.org"}, {}, True),
    (employee_pb2.Employee, {"employeeId": "E001", "email": "nowhere"}, {}, False),
    (backlog.RankTaskRequest, {"beforeTaskId": "T-1-TASK002", "requestId": _UUID}, _TASK, True),
    (backlog.RankTaskRequest, {}, _TASK, False),
    (backlog.RankTaskRequest, {"beforeTaskId": "a", "afterTaskId": "b"}, _TASK, False),
    (backlog.RankTaskRequest, {"beforeTaskId": "a", "requestId": "1"}, _TASK, False),
    (import_pb2.ImportOptions, {"projectId": "T", "format": "IMPORT_FORMAT_JIRA_CSV"}, {}, True),
    (import_pb2.ImportOptions, {"projectId": "T"}, {}, False),
    (import_pb2.ImportOptions, {"projectId": "T", "format": "IMPORT_FORMAT_UNSPECIFIED"}, {}, False),
    (sprint.UpdateTaskProgressRequest, {"progressPercent": 101}, {"task_id": "T-1-TASK001"}, False),
    (sprint.CloseSprintRequest, {}, _SPRINT, True),
    (chronicle.UpdateActionItemRequest, {"ownerId": ""}, {"action_item_id": _UUID}, True),
    (chronicle.UpdateActionItemRequest, {"description": ""}, {"action_item_id": _UUID}, False),
    (embedding.EmbedRequest, {"text": ""}, {}, False),
    (embedding.EmbedRequest, {"text": "hello"}, {}, True),
]


@pytest.mark.parametrize(("kind", "body", "path", "right"), _CASES)
def test_document_and_contract_agree(
    kind: type[Message], body: dict[str, Any], path: dict[str, str], right: bool
) -> None:
    assert _as_contract_says(kind(), body, path) == right
    assert _as_document_says(kind(), body) == right
