"""docs/coming-from-rest.md names only fields that the contract has."""

import re
from pathlib import Path
from typing import Any

import pytest
from dsm.orchestrator.v1 import orchestrator_service_pb2

_PAGE = Path(__file__).parents[2] / "docs" / "coming-from-rest.md"
_SERVICE = orchestrator_service_pb2.DESCRIPTOR.services_by_name["OrchestratorService"]
_PATHS = re.findall(r"`([A-Z]\w+\.(?:request|response)\.[a-z_.]+)`", _PAGE.read_text())


def test_the_table_is_read() -> None:
    assert len(_PATHS) > 90
    rows = [line for line in _PAGE.read_text().splitlines() if line.startswith("| `")]
    assert all(any(path in row for path in _PATHS) for row in rows)


@pytest.mark.parametrize("path", _PATHS)
def test_each_path_leads_to_a_field(path: str) -> None:
    rpc, side, *names = path.split(".")
    method = _SERVICE.methods_by_name[rpc]
    message: Any = method.input_type if side == "request" else method.output_type
    for name in names:
        field = message.fields_by_name[name]
        message = field.message_type
