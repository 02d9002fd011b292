"""The contract as a whole keeps its own rules; everything is read from the descriptors."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from buf.validate import validate_pb2
from dsm.common.v1 import options_pb2
from dsm.events.v1 import event_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from services.kit.envelope import SUBJECTS, stream_of, stream_subjects
from tests.contract.methods import METHODS, REASONS, is_map, is_read

_STREAMING = {"ImportTasks", "ExportProject", "WatchTasks", "WatchSprint"}
_SERVICES_FOLDER = Path(__file__).parents[2] / "services"


_ids = [method.full_name for method in METHODS]


@pytest.mark.parametrize("method", METHODS, ids=_ids)
def test_every_call_is_mapped_to_http(method: MethodDescriptor) -> None:
    rule: Any = method.GetOptions().Extensions[annotations_pb2.http]  # type: ignore[index]  # googleapis' own stubs
    path = rule.get or rule.post or rule.put or rule.patch or rule.delete
    assert path.startswith("/v1/")
    assert is_read(method) or not rule.get, "a GET has no side effects"
    for name in re.findall(r"{([a-z_.]+)}", path):
        message = method.input_type
        for part in name.split("."):
            assert part in message.fields_by_name, f"{path} names {name}, which the request has not"
            message = message.fields_by_name[part].message_type or message


@pytest.mark.parametrize("method", METHODS, ids=_ids)
def test_every_mutation_takes_a_request_id(method: MethodDescriptor) -> None:
    if not is_read(method) and not method.client_streaming and not _computes_only(method):
        assert "request_id" in method.input_type.fields_by_name


def _computes_only(method: MethodDescriptor) -> bool:
    """Embedding a text changes nothing; it is no GET because texts are long."""
    return method.containing_service.name == "EmbeddingService"


@pytest.mark.parametrize("method", METHODS, ids=_ids)
def test_every_call_says_who_may_make_it(method: MethodDescriptor) -> None:
    access = method.GetOptions().Extensions[options_pb2.access]
    assert access.role != options_pb2.ROLE_UNSPECIFIED
    assert access.role != options_pb2.ROLE_VIEWER or is_read(method), "who only reads changes nothing"
    for path in access.project:
        *parents, last = path.split(".")
        message = method.input_type
        for parent in parents:
            inside = message.fields_by_name[parent].message_type
            assert inside is not None
            message = inside
        assert not message.fields_by_name[last].is_repeated
        assert last.endswith(("project_id", "task_id", "story_id", "sprint_id")), f"{last} names no project"


@pytest.mark.parametrize("method", METHODS, ids=_ids)
def test_only_named_calls_stream(method: MethodDescriptor) -> None:
    assert (method.client_streaming or method.server_streaming) == (method.name in _STREAMING)


@pytest.mark.parametrize("method", METHODS, ids=_ids)
def test_requests_and_responses_are_their_own(method: MethodDescriptor) -> None:
    assert method.input_type.name == f"{method.name}Request"
    assert method.output_type.name == f"{method.name}Response"


@pytest.mark.parametrize("method", METHODS, ids=_ids)
def test_lists_page(method: MethodDescriptor) -> None:
    fields = method.input_type.fields_by_name
    assert ("page_size" in fields) == ("page_token" in fields)
    if "page_size" in fields:
        assert "next_page_token" in method.output_type.fields_by_name
        assert is_read(method)


def _input_fields() -> dict[str, FieldDescriptor]:
    """Every field of a request, nested ones included, that is not said to be output only."""
    found: dict[str, FieldDescriptor] = {}
    waiting = [method.input_type for method in METHODS]
    while waiting:
        for field in waiting.pop().fields:
            if field.full_name not in found:
                found[field.full_name] = field
                # The entries of a map are bounded by the rules of the map.
                inner = field.message_type
                if inner and inner.file.package.startswith("dsm.") and not inner.GetOptions().map_entry:
                    waiting.append(inner)
    return found


_INPUTS = _input_fields()


@pytest.mark.parametrize("name", sorted(_INPUTS))
def test_every_input_is_bounded(name: str) -> None:
    field = _INPUTS[name]
    rules = field.GetOptions().Extensions[validate_pb2.field]
    if is_map(field):
        assert rules.map.max_pairs, "a map needs max_pairs"
    elif field.is_repeated:
        assert rules.repeated.max_items or name in _OUTPUT_ONLY, "a repeated field needs max_items"
    elif field.type == FieldDescriptor.TYPE_STRING:
        assert rules.string.max_len or rules.string.uuid or name in _OUTPUT_ONLY, "a string needs max_len"


# Fields of resources that the service sets and ignores when given.
_OUTPUT_ONLY = {
    "dsm.backlog.v1.Task.story_ids",
}


def test_every_payload_has_a_subject_of_its_own() -> None:
    assert (
        len(set(SUBJECTS.values())) == len(SUBJECTS) == len(event_pb2.Event.DESCRIPTOR.oneofs_by_name["payload"].fields)
    )
    for name, subject in SUBJECTS.items():
        assert re.fullmatch(r"dsm\.(in\.)?[a-z]+\.v1\.[a-z_]+\.[a-z_]+", subject), name
        assert subject.startswith(stream_subjects(stream_of(subject)).removesuffix(">"))


def test_no_other_message_has_a_subject() -> None:
    for method in METHODS:
        for message in (method.input_type, method.output_type):
            assert message.full_name in SUBJECTS or not message.GetOptions().Extensions[options_pb2.subject]


def _reasons_in_code() -> Iterator[tuple[Path, str]]:
    """Every `reason = "…"` in a class body of the services."""
    for path in _SERVICES_FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                for statement in node.body:
                    match statement:
                        case ast.Assign(targets=[ast.Name(id="reason")], value=ast.Constant(value=str(reason))):
                            yield path, reason
                        case ast.AnnAssign(target=ast.Name(id="reason"), value=ast.Constant(value=str(reason))):
                            yield path, reason


def test_every_reason_in_the_code_is_in_the_contract() -> None:
    found = list(_reasons_in_code())
    assert found
    for path, reason in found:
        assert reason in REASONS, f"{path.name}: {reason}"
