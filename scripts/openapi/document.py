"""The OpenAPI document: a path for each HTTP rule of the contract, in the order of the protos."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from scripts.openapi import rules
from scripts.openapi.contract import Contract, message_of, refuse
from scripts.openapi.errors import Errors
from scripts.openapi.rules import Json
from scripts.openapi.schemas import Schemas, rules_in_words

_VERBS = ("get", "put", "post", "delete", "patch")
_IN_PATH = re.compile(r"{([a-z_.]+)}")
_ABOUT = (
    "The HTTP/JSON mapping of DSM's gRPC contract, derived from its protos: paths from google.api.http, bodies by the "
    "proto3 JSON mapping, rules from protovalidate. A field at its default may be left out, and is left out of "
    "answers. 64-bit integers are strings. A streaming call sends or answers one JSON object a line."
)
_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "A token whose `roles`, or whose `project_roles` of the project concerned, include the role that "
    "the operation names. None is needed where identity is off.",
}
_LICENSE = {"name": "Apache License 2.0", "identifier": "Apache-2.0"}


def build(contract: Contract) -> Json:
    """The whole document; the same contract gives the same document."""
    schemas, errors = Schemas(contract), Errors(contract)
    paths: dict[str, Json] = {}
    for service in contract.services:
        for method in service.methods:
            for number, rule in enumerate(_http_rules(method)):
                template, verb, operation = _Operation(contract, schemas, method, rule).build()
                if number:
                    operation["operationId"] += f"_{number + 1}"
                operation["responses"] |= errors.answers(contract.comment(method.full_name))
                if verb in paths.setdefault(template, {}):
                    raise SystemExit(f"{method.full_name}: {verb.upper()} {template} belongs to another call.")
                paths[template][verb] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "DSM, the Digital Scrum Master", "version": "v1", "description": _ABOUT, "license": _LICENSE},
        "tags": [{"name": each.name, "description": contract.comment(each.full_name)} for each in contract.services],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": _TOKEN},
            "schemas": dict(sorted((schemas.components | errors.schemas()).items())),
            "responses": {"Error": errors.response()},
        },
    }


def _http_rules(method: MethodDescriptor) -> list[Any]:
    rule: Any = method.GetOptions().Extensions[annotations_pb2.http]  # type: ignore[index]  # googleapis' own stubs
    return [rule, *rule.additional_bindings] if rule.WhichOneof("pattern") else []


class _Operation:
    """One HTTP rule of one call."""

    def __init__(self, contract: Contract, schemas: Schemas, method: MethodDescriptor, rule: Any) -> None:
        self._contract = contract
        self._schemas = schemas
        self._method = method
        self._verb: str = rule.WhichOneof("pattern")
        self._template: str = getattr(rule, self._verb)
        self._body: str = rule.body
        if self._verb not in _VERBS or rule.response_body:
            refuse(method.full_name, "this kind of HTTP rule")

    def build(self) -> tuple[str, str, Json]:
        """The path, the verb and the operation."""
        in_path = _IN_PATH.findall(self._template)
        summary, _, rest = self._contract.comment(self._method.full_name).partition(". ")
        service = self._method.containing_service.name
        operation: Json = {"tags": [service], "operationId": f"{service}_{self._method.name}"}
        operation["summary"] = summary.removesuffix(".")
        words = [] if self._body == "*" else rules_in_words(self._method.input_type)
        operation["description"] = "\n".join(filter(None, [rest, *words, self._access()]))
        parameters = [self._path_parameter(name) for name in in_path]
        if self._body != "*":
            parameters += self._query(self._method.input_type, {*in_path, self._body})
        if parameters:
            operation["parameters"] = parameters
        if self._body:
            operation["requestBody"] = self._request_body(in_path)
        operation["responses"] = {"200": self._answer()}
        if self._method.GetOptions().deprecated:
            operation["deprecated"] = True
        return _IN_PATH.sub(lambda name: f"{{{self._field(name[1]).json_name}}}", self._template), self._verb, operation

    def _access(self) -> str:
        """Who may call, in words."""
        role, fields = self._contract.access(self._method)
        where = " and ".join(f"`{field}`" for field in fields)
        held = f"in the project of {where}" if fields else "over all projects"
        return f"Role: {role.removeprefix('ROLE_')} {held}."

    def _field(self, path: str) -> FieldDescriptor:
        """A field of the request by its path, for example `task.project_id`."""
        *parents, last = path.split(".")
        message = self._method.input_type
        for parent in parents:
            message = message_of(message.fields_by_name[parent])
        return message.fields_by_name[last]

    def _path_parameter(self, path: str) -> Json:
        field = self._field(path)
        schema = self._schemas.field(field, given=True)
        schema.pop("readOnly", None)  # In the path it names what is meant.
        return _parameter(field.json_name, "path", schema, required=True)

    def _query(self, message: Descriptor, elsewhere: Collection[str]) -> Iterator[Json]:
        for field in message.fields:
            if field.name in elsewhere:
                continue
            if not self._schemas.is_text(field):
                refuse(field.full_name, "messages in a query")
            yield _parameter(field.json_name, "query", self._schemas.field(field), required=rules.must_be_given(field))

    def _request_body(self, in_path: Collection[str]) -> Json:
        if self._body == "*":
            schema = self._schemas.body(self._method.input_type, in_path)
        else:
            schema = self._schemas.reference(message_of(self._field(self._body)))
        return {"required": True, "content": {_media(self._method.client_streaming): {"schema": schema}}}

    def _answer(self) -> Json:
        response = self._method.output_type
        content = {_media(self._method.server_streaming): {"schema": self._schemas.reference(response)}}
        return {"description": self._contract.comment(response.full_name), "content": content}


def _parameter(name: str, where: str, schema: Json, *, required: bool) -> Json:
    parameter: Json = {"name": name, "in": where}
    if required:
        parameter["required"] = True
    if text := schema.pop("description", ""):
        parameter["description"] = text
    return parameter | {"schema": schema}


def _media(streaming: bool) -> str:
    return "application/x-ndjson" if streaming else "application/json"
