"""The table of the fault tests names each of them, says which run at length only, and names nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

_FAULTS = Path(__file__).parents[1] / "faults"


def test_each_fault_test_is_in_the_table() -> None:
    functions = [
        node
        for file in _FAULTS.glob("test_*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    found = {test.name: "only_full" in map(ast.unparse, test.decorator_list) for test in functions}
    named = re.findall(r"`(test_\w+)`( \(full\))?", (_FAULTS / "README.md").read_text())
    assert {name: bool(full) for name, full in named} == found
