"""The backlog service on real sockets: GitHub's issues come in, exports go out and come back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1.import_pb2 import (
    IMPORT_FORMAT_DSM_JSON,
    IMPORT_FORMAT_GITHUB_JSON,
    IMPORT_FORMAT_JIRA_CSV,
    ImportOptions,
    ImportReport,
)
from dsm.backlog.v1.task_pb2 import (
    PRIORITY_URGENT,
    TASK_STATE_CANCELLED,
    TASK_STATE_COMPLETED,
    TASK_STATE_IN_PROGRESS,
    TASK_STATE_UNASSIGNED,
    Origin,
    Story,
    Task,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tests.harness import DATA, World, refused
from tests.service.backlog.backlogs import Backlog, backlog_of, ids, update_of
from tests.service.backlog.imports import figures, send, tasks_by_key, tasks_of

needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"needs the real backlogs in {DATA}")

ISSUES = "https://github.com/acme/shop/issues"
MILESTONE = {
    "url": "https://api.github.com/repos/acme/shop/milestones/3",
    "html_url": "https://github.com/acme/shop/milestone/3",
    "number": 3,
    "title": "Summer",
    "description": "Out by July",
    "state": "open",
    "created_at": "2026-01-01T00:00:00Z",
}


@pytest.fixture
async def backlog(world: World) -> Backlog:
    return await backlog_of(world)


def _issue(number: int, **fields: Any) -> dict[str, Any]:
    issue = {"number": number, "html_url": f"{ISSUES}/{number}", "title": f"Issue {number}", "body": None}
    return issue | {"state": "open", "labels": [], "created_at": "2026-02-03T04:05:06Z"} | fields


async def _github(backlog: Backlog, project_id: str, data: Any, **options: Any) -> ImportReport:
    body = data if isinstance(data, bytes) else json.dumps(data, indent=1).encode()
    given = ImportOptions(project_id=project_id, format=IMPORT_FORMAT_GITHUB_JSON, **options)
    return await send(backlog, given, *(body[at : at + 997] for at in range(0, len(body), 997)))


async def _restore(backlog: Backlog, project_id: str, data: bytes, **options: Any) -> ImportReport:
    given = ImportOptions(project_id=project_id, format=IMPORT_FORMAT_DSM_JSON, **options)
    return await send(backlog, given, *(data[at : at + 99_991] for at in range(0, len(data), 99_991)))


async def _export(backlog: Backlog, project_id: str) -> bytes:
    stream = backlog.stub.ExportProject(pb.ExportProjectRequest(project_id=project_id))
    return b"".join([response.data async for response in stream])


async def _stories(backlog: Backlog, project_id: str) -> list[Story]:
    request = pb.ListStoriesRequest(project_id=project_id, page_size=250)
    return list((await backlog.stub.ListStories(request)).stories)


async def test_issues_become_tasks_and_milestones_stories(backlog: Backlog) -> None:
    project_id = await backlog.project()
    labels = [{"name": "bug"}, {"name": "good, first"}, "plain"]
    done = {"state": "closed", "state_reason": "completed", "closed_at": "2026-03-01T10:00:00Z"}
    issues = [
        _issue(1, body="What\nand why", labels=labels, milestone=MILESTONE, assignee={"login": "octocat"}),
        _issue(2, **done, milestone=MILESTONE, assignee={"login": "E001"}, type={"name": "Bug"}),
        _issue(3, state="closed", state_reason="not_planned"),
        _issue(4, state="closed", state_reason="duplicate"),
        _issue(5, state_reason="reopened"),
        _issue(6, state="closed", state_reason=None),
        _issue(7, pull_request={"url": "…"}),
    ]
    report = await _github(backlog, project_id, issues)
    assert figures(report) == {"rows": 7, "created_tasks": 6, "stories": 1, "skipped_rows": 1}
    tasks = await tasks_by_key(backlog, project_id)
    first, second = tasks["acme/shop#1"], tasks["acme/shop#2"]
    assert (first.title, first.description, first.type) == ("Issue 1", "What\nand why", "Task")
    assert (list(first.tags), first.assignee_id) == (["bug", "good  first", "plain"], "")
    assert (first.origin.system, first.origin.url, first.origin.status) == ("github", f"{ISSUES}/1", "open")
    assert first.origin.create_time.ToJsonString() == "2026-02-03T04:05:06Z"
    assert (second.assignee_id, second.type, second.state) == ("E001", "Bug", TASK_STATE_COMPLETED)
    assert (second.origin.resolution, second.complete_time.ToJsonString()) == ("completed", "2026-03-01T10:00:00Z")
    states = [tasks[f"acme/shop#{number}"].state for number in range(1, 7)]
    names = (TASK_STATE_UNASSIGNED, TASK_STATE_COMPLETED, TASK_STATE_CANCELLED)
    assert states == [names[0], names[1], names[2], names[2], names[0], names[1]]
    [story] = await _stories(backlog, project_id)
    assert (story.title, story.description, story.origin.url) == ("Summer", "Out by July", MILESTONE["html_url"])
    assert list(first.story_ids) == list(second.story_ids) == [story.story_id]
    again = await _github(backlog, project_id, issues)
    assert figures(again) == {"rows": 7, "unchanged_tasks": 6, "skipped_rows": 1}
    issues[0] |= {"state": "closed", "milestone": None}
    third = await _github(backlog, project_id, issues)
    assert figures(third) == {"rows": 7, "unchanged_tasks": 5, "updated_tasks": 1, "skipped_rows": 1}
    first = await backlog.get(first.task_id)
    assert (first.state, list(first.story_ids)) == (TASK_STATE_COMPLETED, [])


async def test_two_repositories_in_one_project_and_pages_of_a_download(backlog: Backlog) -> None:
    project_id = await backlog.project()
    other = {"html_url": "https://github.com/acme/site/issues/1"}
    pages = json.dumps([_issue(1)]) + json.dumps([]) + "\n" + json.dumps([_issue(1, **other)])
    report = await _github(backlog, project_id, pages.encode())
    assert figures(report) == {"rows": 2, "created_tasks": 2}
    assert set(await tasks_by_key(backlog, project_id)) == {"acme/shop#1", "acme/site#1"}


async def test_bad_issues_are_reported_with_their_line(backlog: Backlog) -> None:
    project_id = await backlog.project()
    bad = [
        ('{"title": "No number"}', "number", ""),
        (json.dumps(_issue(2, title="")), "title", "acme/shop#2"),
        (json.dumps(_issue(3, title="t" * 501)), "title", "acme/shop#3"),
        (json.dumps(_issue(4, body=["no text"])), "body", "acme/shop#4"),
        (json.dumps(_issue(5, created_at="yesterday")), "created_at", "acme/shop#5"),
        (json.dumps(_issue(6, labels=[{"name": "l" * 51}])), "labels", "acme/shop#6"),
        (json.dumps(_issue(7, body="nul\0")), "body", "acme/shop#7"),
        (json.dumps(_issue(8, title="half \ud83d")), "title", "acme/shop#8"),
        ("17", "", ""),
        (json.dumps(_issue(1)), "key", "acme/shop#1"),
        (json.dumps(_issue(True)), "number", ""),
    ]
    text = "[\n" + ",\n".join([json.dumps(_issue(1)), *(line for line, _, _ in bad), json.dumps(_issue(9))]) + "\n]"
    report = await _github(backlog, project_id, text.encode())
    told = [(row.line, row.field, row.key) for row in report.refused_rows]
    assert told == [(line, field, key) for line, (_, field, key) in enumerate(bad, start=3)]
    assert figures(report) == {"rows": 13, "created_tasks": 2, "refused_count": 11}
    failed = await refused(_github(backlog, project_id, text.encode(), strict=True))
    assert (failed.reason, failed.metadata["line"]) == ("IMPORT_ROWS_REFUSED", "3")


@pytest.mark.parametrize("tail", ["", ",", ",\n{", ',\n{"number": 2', ",\n}", ",\nNaN]", ",\n" + "[" * 100_000])
async def test_a_file_that_breaks_off_is_told_and_the_rest_is_taken(backlog: Backlog, tail: str) -> None:
    project_id = await backlog.project()
    text = f"[\n{json.dumps(_issue(1))}{tail}"
    failed = await refused(_github(backlog, project_id, text.encode(), strict=True))
    assert failed.reason == "IMPORT_ROWS_REFUSED"
    assert not await tasks_of(backlog, project_id)
    report = await _github(backlog, project_id, text.encode())
    assert figures(report) == {"rows": 2, "created_tasks": 1, "refused_count": 1}
    assert (report.refused_rows[0].line, report.refused_rows[0].field) == (2 + ("\n" in tail), "")


async def test_what_is_no_such_file_is_refused_as_a_whole(backlog: Backlog) -> None:
    project_id = await backlog.project()
    for data in (b"", b"  ", b'{"message": "Not Found"}', b"key,summary\nX-1,T\n"):
        failed = await refused(_github(backlog, project_id, data))
        assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "IMPORT_HEADER_INVALID")
        assert failed.metadata == {"column": "a JSON array", "format": "GITHUB_JSON"}
    for data in (b"[]", b"[1]", b'[{"task": {}}]', b'[{"export": {"version": 2}}]', b'[{"export": 1'):
        failed = await refused(_restore(backlog, project_id, data))
        assert (failed.reason, failed.metadata["format"]) == ("IMPORT_HEADER_INVALID", "DSM_JSON")
    failed = await refused(_github(backlog, project_id, b"[]", column_mapping={"title": "name"}))
    assert (failed.reason, failed.metadata["field"]) == ("VALIDATION_FAILED", "options.column_mapping")
    failed = await refused(_restore(backlog, project_id, b"[]", status_map={"a": TASK_STATE_COMPLETED}))
    assert (failed.reason, failed.metadata["field"]) == ("VALIDATION_FAILED", "options.status_map")
    failed = await refused(_export(backlog, "NOSUCH"))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "PROJECT_NOT_FOUND")


async def _full_project(backlog: Backlog) -> str:
    """Everything that a task and a story can have."""
    project_id = await backlog.project()
    rich = Task(
        title="Rich 漢字 🦄",
        description='Two\n"lines"\u2028',
        type="Epic",
        points=2.5,
        estimate=Duration(seconds=5400, nanos=250_000_000),
        remaining=Duration(seconds=0),
        priority=PRIORITY_URGENT,
        tags=["b", "a"],
        due_date="2026-03-04",
        reminder_offsets=[Duration(seconds=86_400), Duration(seconds=0)],
        recurrence_rule="FREQ=WEEKLY;BYDAY=MO",
        custom_fields={"Team": "blue"},
        origin=Origin(system="jira", key="X-1", url="https://x/1", status="Odd", create_time=Timestamp(seconds=7)),
        assignee_id="E001",
    )
    tasks = await backlog.create_many(project_id, rich, "plain", "done", "gone", "begun", "below", "waits", "last")
    first, plain, done, gone, begun, _, waits, last = ids(tasks)
    await backlog.stub.CompleteTask(pb.CompleteTaskRequest(task_id=done))
    await backlog.stub.CancelTask(pb.CancelTaskRequest(task_id=gone))
    await backlog.stub.StartTask(pb.StartTaskRequest(task_id=begun))
    await backlog.stub.UpdateTask(update_of(tasks[5], "parent_task_id", parent_task_id=last))
    await backlog.stub.UpdateTask(update_of(tasks[6], "depends_on", depends_on=[last, first, done]))
    await backlog.stub.RankTask(pb.RankTaskRequest(task_id=last, before_task_id=plain))
    for title, linked in (("Goal", [first, waits]), ("Other", [first])):
        story = Story(project_id=project_id, title=title, description="Why", origin=Origin(url=f"https://x/{title}"))
        made = (await backlog.stub.CreateStory(pb.CreateStoryRequest(story=story))).story
        await backlog.stub.LinkTasks(pb.LinkTasksRequest(story_id=made.story_id, task_ids=linked))
    return project_id


async def _meaning(backlog: Backlog, project_id: str) -> tuple[list[Any], list[Any]]:
    """A project's tasks in order and its stories, with places in the order for ids."""
    tasks, stories = await tasks_of(backlog, project_id), await _stories(backlog, project_id)
    names = {task.task_id: f"task {place}" for place, task in enumerate(tasks)}
    names |= {story.story_id: f"story {place}" for place, story in enumerate(stories)}
    for thing in (*tasks, *stories):
        for field in ("create_time", "update_time", "etag", "project_id", "rank"):
            if field in thing.DESCRIPTOR.fields_by_name:
                thing.ClearField(field)
    for story in stories:
        story.story_id = names[story.story_id]
    for task in tasks:
        task.task_id, task.parent_task_id = names[task.task_id], names.get(task.parent_task_id, "")
        task.depends_on[:] = [names[task_id] for task_id in task.depends_on]
        task.story_ids[:] = sorted(names[story_id] for story_id in task.story_ids)
    return tasks, stories


async def test_an_export_imports_back_equal(backlog: Backlog) -> None:
    project_id, copy_id = await _full_project(backlog), await backlog.project()
    data = await _export(backlog, project_id)
    assert await _export(backlog, project_id) == data
    assert figures(await _restore(backlog, copy_id, data)) == {"rows": 10, "created_tasks": 8, "stories": 2}
    assert await _meaning(backlog, copy_id) == await _meaning(backlog, project_id)
    before = await tasks_of(backlog, copy_id)
    assert figures(await _restore(backlog, copy_id, data)) == {"rows": 10, "unchanged_tasks": 8}
    assert await tasks_of(backlog, copy_id) == before
    third_id = await backlog.project()
    await _restore(backlog, third_id, await _export(backlog, copy_id), strict=True)
    assert await _meaning(backlog, third_id) == await _meaning(backlog, project_id)


async def test_an_export_brings_its_own_project_back(backlog: Backlog) -> None:
    project_id = await _full_project(backlog)
    data, before = await _export(backlog, project_id), await _meaning(backlog, project_id)
    assert figures(await _restore(backlog, project_id, data)) == {"rows": 10, "unchanged_tasks": 8}
    order = ids(await tasks_of(backlog, project_id))
    await backlog.stub.UpdateTask(update_of(await backlog.get(order[0]), title="Other", points=None))
    await backlog.stub.ReopenTask(pb.ReopenTaskRequest(task_id=order[3]))
    await backlog.stub.RankTask(pb.RankTaskRequest(task_id=order[0], after_task_id=order[5]))
    await backlog.stub.UnlinkTasks(pb.UnlinkTasksRequest(story_id=f"{project_id}-STORY001", task_ids=[order[0]]))
    assert await _meaning(backlog, project_id) != before
    # Changed here, not in the file: the marks of the last import say that nothing is new.
    assert figures(await _restore(backlog, project_id, data)) == {"rows": 10, "unchanged_tasks": 8}
    await backlog.world.query("backlog", "UPDATE task SET import_digest = NULL, import_state = ''")
    report = await _restore(backlog, project_id, data)
    assert (report.rows, report.created_tasks, report.refused_count) == (10, 0, 0)
    assert await _meaning(backlog, project_id) == before
    assert ids(await tasks_of(backlog, project_id)) == order


async def test_tasks_of_an_open_sprint_come_as_free_ones(backlog: Backlog) -> None:
    project_id, copy_id = await backlog.project(), await backlog.project()
    await backlog.create_many(project_id, "a", "b")
    await backlog.reserve(f"{project_id}-S01", project_id, max_tasks=1)
    data = await _export(backlog, project_id)
    await _restore(backlog, copy_id, data)
    copied = await tasks_of(backlog, copy_id)
    assert [(task.state, task.sprint_id) for task in copied] == [(TASK_STATE_UNASSIGNED, "")] * 2
    report = await _restore(backlog, project_id, data)
    assert figures(report) == {"rows": 2, "unchanged_tasks": 2, "states_kept": 1}


async def test_what_came_from_elsewhere_is_known_again(backlog: Backlog) -> None:
    """Both projects took in the same Jira export before."""
    one, two = await backlog.project(), await backlog.project()
    text = b"key,summary\nX-1,First\nX-2,Second\n"
    for project_id in (one, two):
        await send(backlog, ImportOptions(project_id=project_id, format=IMPORT_FORMAT_JIRA_CSV), text)
    first, second = await tasks_of(backlog, one)
    await backlog.stub.UpdateTask(update_of(second, title="Changed", depends_on=[first.task_id]))
    report = await _restore(backlog, two, await _export(backlog, one))
    assert (report.created_tasks, report.updated_tasks, report.unchanged_tasks) == (0, 1, 1)
    tasks = await tasks_by_key(backlog, two)
    assert (tasks["X-2"].title, list(tasks["X-2"].depends_on)) == ("Changed", [tasks["X-1"].task_id])


async def test_bad_entries_of_an_export_are_refused(backlog: Backlog) -> None:
    project_id = await backlog.project()
    good = {"task_id": "A-TASK001", "title": "Good", "state": "TASK_STATE_IN_PROGRESS"}
    bad: list[tuple[Any, str]] = [
        ({"task": 1}, ""),
        ({"task": {}, "story": {}}, ""),
        ({"task": good | {"task_id": "A-TASK002", "surprise": 1}}, ""),
        ({"task": good | {"task_id": "nonsense"}}, "task_id"),
        ({"task": good | {"task_id": "A-TASK003", "title": ""}}, "title"),
        ({"task": good | {"task_id": "A-TASK004", "points": 1.234}}, "points"),
        ({"task": good | {"task_id": "A-TASK005", "points": 1e999}}, ""),
        ({"task": good | {"task_id": "A-TASK006", "due_date": "2026-02-30"}}, "due_date"),
        ({"task": good | {"task_id": "A-TASK007", "recurrence_rule": "FREQ=NEVER"}}, "recurrence_rule"),
        ({"task": good | {"task_id": "A-TASK008", "progress_percent": 101}}, "progress_percent"),
        ({"task": good | {"task_id": "A-TASK009", "rank": str(1 << 62)}}, "rank"),
        ({"task": good | {"task_id": "A-TASK010", "assignee_id": "Jane Doe"}}, "assignee_id"),
        ({"task": good | {"task_id": "A-TASK011", "tags": ["a", "a"]}}, "tags"),
        ({"task": good | {"task_id": "A-TASK012", "custom_fields": {"a\0": "b"}}}, ""),
        ({"task": good}, "key"),
        ({"story": {"story_id": "A-STORY001", "title": " "}}, "story.title"),
        ({"task": good | {"task_id": "A-TASK013", "depends_on": ["A-TASK014"]}}, "depends_on"),
        ({"task": good | {"task_id": "A-TASK014", "depends_on": ["A-TASK015"]}}, "depends_on"),
        ({"task": good | {"task_id": "A-TASK015", "depends_on": ["A-TASK013"]}}, "depends_on"),
    ]
    entries = [{"export": {"version": 1}}, {"task": good}, *(entry for entry, _ in bad)]
    text = "[" + ",\n".join(json.dumps(entry) for entry in entries) + "]"
    report = await _restore(backlog, project_id, text.replace("Infinity", "1e999").encode())
    told = {row.line: row.field for row in report.refused_rows}
    assert told == {line: field.removeprefix("story.") for line, (_, field) in enumerate(bad, start=3)}
    [task] = await tasks_of(backlog, project_id)
    assert (task.title, task.state) == ("Good", TASK_STATE_IN_PROGRESS)


@needs_data
async def test_a_real_backlog_goes_out_and_comes_back(backlog: Backlog) -> None:
    project_id, copy_id = await backlog.project(), await backlog.project()
    data = (DATA / "backlog" / "MESOS.csv").read_bytes()
    options = ImportOptions(project_id=project_id, format=IMPORT_FORMAT_JIRA_CSV)
    first = await send(backlog, options, *(data[at : at + (1 << 18)] for at in range(0, len(data), 1 << 18)))
    exported = await _export(backlog, project_id)
    report = await _restore(backlog, copy_id, exported, strict=True)
    assert report.created_tasks == first.created_tasks
    assert await _meaning(backlog, copy_id) == await _meaning(backlog, project_id)
