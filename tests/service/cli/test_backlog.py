"""`dsm seed`, `dsm export` and `dsm import` against real services."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from services.cli.errors import CliError
from services.kit.server import Server
from tests.service.cli.commands import command


async def test_a_sample_is_seeded_exported_and_imported(whole: Server, tmp_path: Path) -> None:
    made = await command(whole, "seed", "CLI-SEED", "--json")
    assert json.loads(made.stdout)["tasks_count"] == 8
    assert "nothing was made" in (await command(whole, "seed", "CLI-SEED")).stdout
    file = tmp_path / "seed.json"
    file.write_text("what was there")
    assert (await command(whole, "export", "CLI-SEED", "--output", str(file))).exit_code == 0
    printed = await command(whole, "export", "CLI-SEED")
    assert json.loads(printed.stdout) == json.loads(file.read_text())
    options = ("--project", "CLI-COPY", "--create-project", "--format", "dsm", "--json")
    report = json.loads((await command(whole, "import", str(file), *options)).stdout)
    assert (report["created_tasks"], report["stories"], report["refused_count"]) == ("8", "4", "0")
    again = json.loads((await command(whole, "import", str(file), *options)).stdout)
    assert (again["created_tasks"], again["unchanged_tasks"]) == ("0", "8")


async def test_an_export_that_fails_leaves_what_was_there(whole: Server, tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    file.write_text("what was there")
    failed = await command(whole, "export", "NOSUCH", "--output", str(file))
    assert isinstance(failed.exception, CliError)
    assert os.listdir(tmp_path) == ["kept.json"]
    assert file.read_text() == "what was there"


async def test_issues_are_imported_and_pull_requests_told_of(whole: Server, tmp_path: Path) -> None:
    file = tmp_path / "issues.json"
    file.write_text('[{"number": 1, "title": "One"}, {"number": 2, "pull_request": {}}, {"number": 3}]')
    options = ("--project", "CLI-ISSUES", "--create-project", "--format", "github")
    told = await command(whole, "import", str(file), *options)
    assert "Pull requests passed over: 1." in told.stdout
    assert "must be set" in told.stdout
    strict = await command(whole, "import", str(file), *options, "--strict")
    assert isinstance(strict.exception, CliError)


@pytest.mark.parametrize("name", ["github", "dsm"])
async def test_a_file_of_another_format_is_told_without_hints_at_columns(
    whole: Server, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "some.csv"
    file.write_text("key,summary\nX-1,T\n")
    options = ("--project", "CLI-OTHER", "--create-project", "--format", name)
    failed = await command(whole, "import", str(file), *options)
    assert "IMPORT_HEADER_INVALID" in str(failed.exception)
    assert "--map" not in str(failed.exception)
