"""The backlog service on real sockets: broken files, seeded. No fault inside, no half import under strict."""

from __future__ import annotations

import json
import random
from typing import Any

import grpc
import pytest
from dsm.backlog.v1.import_pb2 import (
    IMPORT_FORMAT_DSM_JSON,
    IMPORT_FORMAT_GITHUB_JSON,
    IMPORT_FORMAT_JIRA_CSV,
    ImportFormat,
    ImportOptions,
    ImportReport,
)

from tests.harness import Failed, World
from tests.service.backlog.backlogs import Backlog, backlog_of
from tests.service.backlog.imports import send, tasks_of

FILES = 40
_PIECES = [
    '"',
    ",",
    "\n",
    "[",
    "}",
    "\\",
    "\\u0000",
    "\\ud800",
    "\0",
    "1e999",
    "null",
    "-1",
    "X-1",
    "ä🦄",
    ":",
    " ",
    "9" * 30,
]
_STRANGE: list[Any] = [None, True, -1, 1 << 70, 1e300, "", " ", "\0", "\ud800", "x" * 60_000, [], {}, [[]], {"a": 1}]


@pytest.fixture
async def backlog(world: World) -> Backlog:
    return await backlog_of(world)


def _jira(_: random.Random) -> str:
    rows = [f'X-{n},"Title, {n}",Done,2026-01-02,a b,{n},X-{n + 1},E-1,04/Mar/26,High' for n in range(1, 12)]
    head = "Issue key,Summary,Status,Created,Labels,Story Points,Parent,Epic Link,Due Date,Priority"
    return "\n".join([head, *rows, "E-1,Goal,Open,,,,,,,"])


def _github(rng: random.Random) -> str:
    milestone = {"number": 1, "title": "M", "html_url": "https://github.com/a/b/milestone/1"}
    issues: list[dict[str, Any]] = [
        {"number": n, "title": f"Issue {n}", "state": "open", "labels": [{"name": "bug"}], "milestone": milestone}
        for n in range(1, 12)
    ]
    return json.dumps(_with_something_strange(rng, issues), indent=1)


def _dsm(rng: random.Random) -> str:
    tasks: list[dict[str, Any]] = [
        {
            "task_id": f"A-TASK{n:03d}",
            "title": f"Task {n}",
            "points": n,
            "estimate": "3600s",
            "tags": ["a"],
            "depends_on": [f"A-TASK{n + 1:03d}"],
            "parent_task_id": f"A-TASK{n // 2:03d}",
            "custom_fields": {"a": "b"},
            "origin": {"system": "jira", "key": f"X-{n}"},
            "state": "TASK_STATE_IN_PROGRESS",
            "story_ids": ["A-STORY001"],
            "rank": str(n),
        }
        for n in range(1, 12)
    ]
    story = {"story": {"story_id": "A-STORY001", "title": "S"}}
    found = [{"task": task} for task in _with_something_strange(rng, tasks)]
    return json.dumps([{"export": {"version": 1}}, story, *found], indent=1)


def _with_something_strange(rng: random.Random, things: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for thing in rng.sample(things, rng.randrange(4)):
        thing[rng.choice(list(thing))] = rng.choice(_STRANGE)
    return things


def _damaged(rng: random.Random, text: str) -> bytes:
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(_PIECES) + text[at + rng.randrange(4) :]
    data = text.encode("utf-8", "replace")
    return data[: rng.randrange(len(data))] if rng.random() < 0.1 else data


async def _import(backlog: Backlog, options: ImportOptions, data: bytes) -> ImportReport | Failed:
    try:
        return await send(backlog, options, *(data[at : at + 1000] for at in range(0, len(data), 1000)))
    except grpc.aio.AioRpcError as error:
        return Failed(error)


@pytest.mark.parametrize(
    ("form", "make"),
    [(IMPORT_FORMAT_JIRA_CSV, _jira), (IMPORT_FORMAT_GITHUB_JSON, _github), (IMPORT_FORMAT_DSM_JSON, _dsm)],
)
async def test_broken_files(backlog: Backlog, form: ImportFormat.ValueType, make: Any) -> None:
    refused_rows = taken = 0
    for seed in range(FILES):
        rng = random.Random(seed)
        project_id = await backlog.project()
        data = _damaged(rng, make(rng))
        strict = await _import(backlog, ImportOptions(project_id=project_id, format=form, strict=True), data)
        stored = len(await tasks_of(backlog, project_id))
        if isinstance(strict, Failed):
            assert strict.code in ("INVALID_ARGUMENT", "ALREADY_EXISTS"), f"seed {seed}: {strict}"
            assert stored == 0, f"seed {seed}: {strict}"
        else:
            assert stored == strict.created_tasks, f"seed {seed}"
        report = await _import(backlog, ImportOptions(project_id=project_id, format=form), data)
        if isinstance(report, Failed):
            assert report.code in ("INVALID_ARGUMENT", "ALREADY_EXISTS"), f"seed {seed}: {report}"
            continue
        if isinstance(strict, Failed):
            assert report.refused_count == int(strict.metadata["refused_count"]) > 0, f"seed {seed}: {strict}"
        assert report.refused_count == len(report.refused_rows)
        assert all(row.rule and row.line for row in report.refused_rows)
        again = await _import(backlog, ImportOptions(project_id=project_id, format=form), data)
        assert isinstance(again, ImportReport)
        assert (again.created_tasks, again.refused_count) == (0, report.refused_count), f"seed {seed}"
        refused_rows += report.refused_count
        taken += report.created_tasks + report.unchanged_tasks
    # Else this tests nothing.
    assert refused_rows > FILES / 4
    assert taken > FILES
