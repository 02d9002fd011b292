"""What a refused call answers over HTTP: google.rpc.Status, and which reason goes with which status."""

from __future__ import annotations

import re

from scripts.openapi.contract import Contract, refuse
from scripts.openapi.rules import Json

_PREFIX = "ERROR_REASON_"
# google/rpc/code.proto names the HTTP status of each code.
_HTTP_STATUS = {
    "CANCELLED": 499,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}
_ERROR = {"$ref": "#/components/responses/Error"}


class Errors:
    """The published reasons, and the answers that carry them."""

    def __init__(self, contract: Contract) -> None:
        self._comments = {
            value.name.removeprefix(_PREFIX): contract.comment(f"{contract.reasons.full_name}.{value.name}")
            for value in contract.reasons.values
            if value.number
        }
        self._statuses = {reason: _http_status(reason, comment) for reason, comment in self._comments.items()}

    def answers(self, comment: str) -> Json:
        """The refusals that a call's comment names after 'Errors:', by HTTP status, and any other."""
        named = re.findall(r"\b[A-Z][A-Z_]+\b", comment.partition("Errors:")[2])
        reasons = sorted({name for name in named if name in self._statuses})
        answers: Json = {}
        for status in sorted({self._statuses[reason] for reason in reasons}):
            matching = [reason for reason in reasons if self._statuses[reason] == status]
            answers[str(status)] = _ERROR | {"description": ", ".join(matching)}
        return answers | {"default": _ERROR}

    def response(self) -> Json:
        """The one shape of every refusal."""
        return {
            "description": "The call was refused; `details` holds one ErrorInfo, on whose reason to branch.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/google.rpc.Status"}}},
        }

    def schemas(self) -> dict[str, Json]:
        """The schemas of a refusal and its details, as proto3 JSON writes them."""
        details = ("ErrorInfo", "BadRequest", "RetryInfo")
        listed = "\n".join(f"- `{reason}`: {comment}" for reason, comment in self._comments.items())
        text = {"type": "string"}
        violation = {"type": "object", "properties": {"field": text, "description": text, "reason": text}}
        return {
            "google.rpc.Status": {
                "type": "object",
                "properties": {
                    "code": {"type": "integer", "format": "int32", "description": "The code of google.rpc.Code."},
                    "message": text | {"description": "One sentence for people; it may change."},
                    "details": {
                        "type": "array",
                        "items": {"anyOf": [{"$ref": f"#/components/schemas/google.rpc.{name}"} for name in details]},
                    },
                },
            },
            "google.rpc.ErrorInfo": _detail(
                "ErrorInfo",
                "Why the call was refused.",
                reason=text | {"description": listed, "enum": list(self._comments)},
                domain={"const": "dsm"},
                metadata={
                    "type": "object",
                    "description": "The facts, by the keys that the reason names.",
                    "additionalProperties": text,
                },
            ),
            "google.rpc.BadRequest": _detail(
                "BadRequest",
                "The fields that break a rule.",
                fieldViolations={"type": "array", "items": violation},
            ),
            "google.rpc.RetryInfo": _detail(
                "RetryInfo",
                "When to repeat the call at the earliest.",
                retryDelay=text | {"description": 'A duration such as "0.5s".'},
            ),
        }


def _http_status(reason: str, comment: str) -> int:
    code = comment.partition(".")[0]
    if code not in _HTTP_STATUS:
        refuse(reason, f"the code of a reason whose comment begins with {code!r}")
    return _HTTP_STATUS[code]


def _detail(name: str, description: str, **properties: Json) -> Json:
    kind = {"@type": {"const": f"type.googleapis.com/google.rpc.{name}"}}
    return {"type": "object", "description": description, "properties": kind | properties, "required": ["@type"]}
