"""The backlog service on real sockets: imports."""

from __future__ import annotations

import asyncio
import csv
from typing import Any

import pytest
from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1.import_pb2 import (
    IMPORT_FORMAT_JIRA_CSV,
    IMPORT_FORMAT_MAPPED_CSV,
    ImportOptions,
    ImportReport,
)
from dsm.backlog.v1.task_pb2 import (
    PRIORITY_MEDIUM,
    PRIORITY_NONE,
    PRIORITY_URGENT,
    TASK_STATE_ASSIGNED_TO_SPRINT,
    TASK_STATE_CANCELLED,
    TASK_STATE_COMPLETED,
    TASK_STATE_IN_PROGRESS,
    TASK_STATE_UNASSIGNED,
)

from tests.harness import DATA, World, eventually, refused
from tests.service.backlog.backlogs import Backlog, backlog_of, update_of
from tests.service.backlog.imports import figures, send, tasks_by_key

needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"needs the real backlogs in {DATA}")

HEADER = "Issue key,Summary,Issue Type,Status,Resolution,Created,Resolved,Priority,Labels,Labels,"
HEADER += "Custom field (Story Points),Description,Due Date,Assignee,Custom field (Epic Link),Issue id,Parent id"


@pytest.fixture
async def backlog(world: World) -> Backlog:
    return await backlog_of(world)


async def _jira(backlog: Backlog, project_id: str, data: str | bytes, **options: Any) -> ImportReport:
    data = data.encode() if isinstance(data, str) else data
    given = ImportOptions(project_id=project_id, format=IMPORT_FORMAT_JIRA_CSV, **options)
    # In small pieces, so that rows, lines and characters are cut anywhere.
    return await send(backlog, given, *(data[at : at + 997] for at in range(0, len(data), 997)))


async def test_a_jira_export_keeps_all_that_it_says(backlog: Backlog) -> None:
    project_id = await backlog.project()
    rows = f'''{HEADER}
X-1,First,Bug,Done,Fixed,04/Mar/14 11:32 AM,2014-03-05 09:00,Blocker,ui,api,2.5,"Two
lines, ""quoted""",15/Mar/14,E001,X-3,101,
X-2,Second,Sub-task,In Progress,,2014-03-04 11:32,,Odd one,,,,,,jane.doe,,102,101
X-3,Epic,Epic,To Do,Unresolved,,,,,,,Why,,,,103,
'''
    report = await _jira(backlog, project_id, rows)
    assert figures(report) == {"rows": 3, "created_tasks": 2, "stories": 1}
    tasks = await tasks_by_key(backlog, project_id)
    first, second = tasks["X-1"], tasks["X-2"]
    assert (first.title, first.type, first.points, first.priority) == ("First", "Bug", 2.5, PRIORITY_URGENT)
    assert (first.description, list(first.tags)) == ('Two\nlines, "quoted"', ["ui", "api"])
    assert (first.state, first.progress_percent, first.assignee_id) == (TASK_STATE_COMPLETED, 100, "E001")
    assert first.due_date == "2014-03-15"
    assert first.complete_time.ToJsonString() == "2014-03-05T09:00:00Z"
    assert first.origin.create_time.ToJsonString() == "2014-03-04T11:32:00Z"
    assert (first.origin.system, first.origin.status, first.origin.resolution) == ("jira", "Done", "Fixed")
    assert (second.state, second.parent_task_id, second.assignee_id) == (TASK_STATE_IN_PROGRESS, first.task_id, "")
    assert (second.priority, dict(second.custom_fields)) == (PRIORITY_NONE, {"priority": "Odd one"})
    [story_id] = first.story_ids
    story = (await backlog.stub.GetStory(pb.GetStoryRequest(story_id=story_id))).story
    assert (story.title, story.description, story.origin.key) == ("Epic", "Why", "X-3")
    assert story.progress.total_tasks == 1


async def test_a_second_run_changes_only_what_changed(backlog: Backlog) -> None:
    project_id = await backlog.project()
    text = "issue_key,title,type,status,epic_link\n" + "".join(
        f"X-{n},Title {n},Task,Open,X-0\n" for n in range(1, 1200)
    )
    text += "X-0,Goal,Epic,Open,\n"
    first = await _jira(backlog, project_id, text)
    assert figures(first) == {"rows": 1200, "created_tasks": 1199, "stories": 1}
    before = await tasks_by_key(backlog, project_id)
    assert all(len(task.story_ids) == 1 for task in before.values())
    sql = "SELECT count(*) AS events FROM outbox"
    events = (await backlog.world.query("backlog", sql))[0]["events"]
    again = await _jira(backlog, project_id, text)
    assert figures(again) == {"rows": 1200, "unchanged_tasks": 1199}
    assert (await backlog.world.query("backlog", sql))[0]["events"] == events
    assert await tasks_by_key(backlog, project_id) == before
    changed = text.replace("Title 7,", "New title,").replace("X-9,Title 9,Task,Open", "X-9,Title 9,Task,Done")
    third = await _jira(backlog, project_id, changed.replace("Goal", "Aim"))
    assert figures(third) == {"rows": 1200, "unchanged_tasks": 1197, "updated_tasks": 2, "stories": 1}
    after = await tasks_by_key(backlog, project_id)
    assert {key for key in after if after[key] != before[key]} == {"X-7", "X-9"}
    assert (after["X-7"].title, after["X-9"].state) == ("New title", TASK_STATE_COMPLETED)


async def test_what_was_done_in_dsm_survives_the_same_file(backlog: Backlog) -> None:
    project_id = await backlog.project()
    text = "key,summary,status\nX-1,Old,Open\nX-2,Other,Open\n"
    await _jira(backlog, project_id, text)
    task = (await tasks_by_key(backlog, project_id))["X-1"]
    await backlog.stub.UpdateTask(update_of(task, points=3))
    await backlog.stub.CompleteTask(pb.CompleteTaskRequest(task_id=task.task_id))
    await _jira(backlog, project_id, text)
    await _jira(backlog, project_id, text.replace("Old", "New"))
    task = await backlog.get(task.task_id)
    assert (task.title, task.points, task.state) == ("New", 3, TASK_STATE_COMPLETED)
    report = await _jira(backlog, project_id, text.replace("Old", "New").replace("Open", "Won't Fix"))
    assert report.updated_tasks == 2
    assert (await backlog.get(task.task_id)).state == TASK_STATE_CANCELLED


async def test_an_open_sprint_keeps_its_states(backlog: Backlog) -> None:
    project_id = await backlog.project()
    await _jira(backlog, project_id, "key,summary,status\nX-1,Old,Open\nX-2,Old,Open\n")
    taken = (await backlog.reserve(f"{project_id}-S01", project_id, max_tasks=1)).tasks[0]
    text = "key,summary,status\nX-1,New,Done\nX-2,New,Done\n"
    report = await _jira(backlog, project_id, text)
    assert figures(report) == {"rows": 2, "updated_tasks": 2, "states_kept": 1}
    tasks = await tasks_by_key(backlog, project_id)
    assert (tasks["X-1"].title, tasks["X-1"].state) == ("New", TASK_STATE_ASSIGNED_TO_SPRINT)
    assert tasks["X-2"].state == TASK_STATE_COMPLETED
    give_back = [pb.TaskRelease(task_id=taken.task_id, version=1)]
    await backlog.stub.ReleaseTasks(pb.ReleaseTasksRequest(sprint_id=f"{project_id}-S01", tasks=give_back))
    await _jira(backlog, project_id, text)
    assert (await backlog.get(taken.task_id)).state == TASK_STATE_COMPLETED


async def test_bad_rows_are_reported_and_the_rest_is_taken(backlog: Backlog) -> None:
    project_id = await backlog.project()
    rows = [
        "Issue key,Summary,Story Points,Created,Description",
        'X-1,Good,1,,"a\nb\r\nc"',
        "X-2,,1,,",
        "",
        "X-3,T,many,,",
        "X-4,T,10001,,",
        "X-5,T,1.234,,",
        "X-6,T,,31/Feb/14,",
        f"X-7,{'t' * 501},,,",
        "X-8,nul\0,,,",
        ",No key,,,",
        "X-1,Again,,,",
        "X-9,T,1,,d,too,many",
        f"X-10,T,,,{'d' * 50_001}",
        "X-11,Short",
    ]
    report = await _jira(backlog, project_id, "\n".join(rows))
    refused_rows = [(row.line, row.key, row.field) for row in report.refused_rows]
    assert refused_rows == [
        (5, "X-2", "title"),
        (7, "X-3", "points"),
        (8, "X-4", "points"),
        (9, "X-5", "points"),
        (10, "X-6", "create_time"),
        (11, "X-7", "title"),
        (12, "X-8", "title"),
        (13, "", "key"),
        (14, "X-1", "key"),
        (15, "X-9", ""),
        (16, "X-10", "description"),
    ]
    assert figures(report) == {"rows": 13, "created_tasks": 2, "refused_count": 11}
    assert all(row.rule for row in report.refused_rows)
    assert max(len(row.value) for row in report.refused_rows) == 200
    assert set(await tasks_by_key(backlog, project_id)) == {"X-1", "X-11"}


async def test_a_quote_that_is_never_closed_spoils_its_row(backlog: Backlog) -> None:
    project_id = await backlog.project()
    rows = 'key,summary\nX-1,Good\nX-2,"open\n' + "".join(f"Y-{n},{'x' * 80}\n" for n in range(3000))
    report = await _jira(backlog, project_id, rows)
    assert (report.refused_rows[0].line, report.refused_rows[0].field) == (3, "")
    assert "X-1" in await tasks_by_key(backlog, project_id)


async def test_strict_writes_nothing_if_a_row_is_bad(backlog: Backlog) -> None:
    project_id = await backlog.project()
    good = "key,summary,parent\n" + "".join(f"X-{n},T,X-{n + 1}\n" for n in range(700))
    failed = await refused(_jira(backlog, project_id, f"{good}X-A,\nX-B,\n", strict=True))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "IMPORT_ROWS_REFUSED")
    assert failed.metadata == {"line": "702", "field": "title", "rule": "must be set", "refused_count": "2"}
    assert not await tasks_by_key(backlog, project_id)
    dry = await _jira(backlog, project_id, good, dry_run=True)
    assert figures(dry) == {"rows": 700, "created_tasks": 700}
    assert not await tasks_by_key(backlog, project_id)
    report = await _jira(backlog, project_id, good, strict=True)
    assert report.created_tasks == 700
    tasks = await tasks_by_key(backlog, project_id)
    assert tasks["X-499"].parent_task_id == tasks["X-500"].task_id
    assert tasks["X-699"].parent_task_id == ""
    assert len(await backlog.events(tasks["X-1"].task_id)) == 1


async def test_a_parent_that_comes_later_is_found(backlog: Backlog) -> None:
    project_id = await backlog.project()
    one = "key,summary,parent,epic link\nX-1,Child,X-2,X-3\n"
    await _jira(backlog, project_id, one)
    child = (await tasks_by_key(backlog, project_id))["X-1"]
    assert (child.parent_task_id, list(child.story_ids)) == ("", [])
    two = "key,summary,type\nX-2,Parent,Task\nX-3,Epic,Epic\n"
    await _jira(backlog, project_id, two)
    report = await _jira(backlog, project_id, one)
    assert figures(report) == {"rows": 1, "updated_tasks": 1}
    tasks = await tasks_by_key(backlog, project_id)
    assert tasks["X-1"].parent_task_id == tasks["X-2"].task_id
    assert list(tasks["X-1"].story_ids) == [f"{project_id}-STORY001"]
    assert figures(await _jira(backlog, project_id, one)) == {"rows": 1, "unchanged_tasks": 1}
    await _jira(backlog, project_id, one.replace("X-3", ""))
    assert not (await backlog.get(child.task_id)).story_ids


async def test_columns_are_mapped(backlog: Backlog) -> None:
    project_id = await backlog.project()
    options = ImportOptions(
        project_id=project_id,
        format=IMPORT_FORMAT_MAPPED_CSV,
        column_mapping={
            "title": "Name",
            "key": "NO",
            "points": "Größe",
            "status": "state",
            "estimate_hours": "Hours",
            "tags": "Tags",
            "assignee_id": "Who",
            "priority": "prio",
            "Team": "Squad",
        },
        status_map={"Parked": TASK_STATE_CANCELLED, "open": TASK_STATE_IN_PROGRESS},
        encoding="iso-8859-1",
        origin_system="excel",
    )
    text = "no;name;größe;STATE;hours;tags;who;Prio;squad\n1;Straße;3;parked;1.5;a b,c;E1;Medium;blue\n2;T;;Open;;;;;\n"
    report = await send(backlog, options, text.encode("iso-8859-1"))
    assert figures(report) == {"rows": 2, "created_tasks": 2}
    tasks = await tasks_by_key(backlog, project_id)
    task = tasks["1"]
    assert (task.title, task.points, task.state, task.priority) == ("Straße", 3, TASK_STATE_CANCELLED, PRIORITY_MEDIUM)
    assert (list(task.tags), task.assignee_id, dict(task.custom_fields)) == (["a b", "c"], "E1", {"Team": "blue"})
    assert (task.estimate.seconds, task.origin.system) == (5400, "excel")
    assert tasks["2"].state == TASK_STATE_IN_PROGRESS
    bad = await send(backlog, options, b"no;name;gr\xf6\xdfe;state;hours;tags;who;prio;squad\n3;T;;;;;Jane Doe;;\n")
    assert [(row.line, row.field) for row in bad.refused_rows] == [(2, "assignee_id")]


@pytest.mark.parametrize("name", ["utf-8-sig", "utf-16", "utf-16-le"])
async def test_other_encodings_are_read(backlog: Backlog, name: str) -> None:
    project_id = await backlog.project()
    encoding = "" if name == "utf-8-sig" else name
    await _jira(backlog, project_id, "key,summary\nX-1,漢字 🦄\n".encode(name), encoding=encoding)
    assert (await tasks_by_key(backlog, project_id))["X-1"].title == "漢字 🦄"


async def test_a_file_as_a_whole_may_be_refused(backlog: Backlog) -> None:
    project_id = await backlog.project()
    good = b"key,summary\nX-1,T\n"

    async def check(reason: str, data: bytes, metadata: dict[str, str], **options: Any) -> None:
        failed = await refused(_jira(backlog, project_id, data, **options))
        assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", reason)
        assert metadata.items() <= failed.metadata.items()

    jira = {"format": "JIRA_CSV"}
    await check("IMPORT_HEADER_INVALID", b"", {"column": "issue key", **jira})
    await check("IMPORT_HEADER_INVALID", b"key,name\nX-1,T\n", {"column": "summary", **jira})
    await check("IMPORT_HEADER_INVALID", good, {"column": "Size", **jira}, column_mapping={"points": "Size"})
    text = b"key,summary\nX-1," + "ä".encode() * 700
    await check("IMPORT_ENCODING_INVALID", text + b"\xff\n", {"encoding": "utf-8", "offset": str(len(text))})
    await check("IMPORT_ENCODING_INVALID", text[:-1], {"offset": str(len(text) - 2)})
    await check("IMPORT_ENCODING_INVALID", text, {"encoding": "ascii", "offset": "16"}, encoding="ascii")
    for encoding in ("klingon", "base64", "rot13", "undefined", "idna", "a\0b", "é"):
        await check("VALIDATION_FAILED", good, {"field": "options.encoding"}, encoding=encoding)
    assert not await tasks_by_key(backlog, project_id)


async def test_a_project_that_is_not_there_or_archived_takes_no_import(backlog: Backlog) -> None:
    project_id = await backlog.project()
    failed = await refused(_jira(backlog, "NOSUCH", "key,summary\n"))
    assert failed.reason == "PROJECT_NOT_FOUND"
    await backlog.create(project_id)
    await backlog.archive(project_id)
    assert (await refused(_jira(backlog, project_id, "key,summary\n"))).reason == "PROJECT_ARCHIVED"


@needs_data
@pytest.mark.parametrize("name", ["MESOS", "USERGRID", "MULE"])
async def test_real_backlogs_come_in_whole(backlog: Backlog, name: str) -> None:
    project_id = await backlog.project()
    data = (DATA / "backlog" / f"{name}.csv").read_bytes()
    rows = {row["issue_key"]: row for row in csv.DictReader(data.decode().splitlines(keepends=True))}
    epics = sum(row["type"] == "Epic" for row in rows.values())
    report = await _jira(backlog, project_id, data)
    assert figures(report) == {
        "rows": len(rows),
        "created_tasks": len(rows) - epics,
        **({"stories": epics} if epics else {}),
    }
    tasks = await tasks_by_key(backlog, project_id)
    for key, task in tasks.items():
        row = rows[key]
        assert task.title == row["title"].strip()
        assert task.description == row["description"].strip()
        assert task.points == float(row["story_points"] or 0)
        done = row["status"] in ("Resolved", "Closed", "Done") or row["resolution"] != ""
        assert task.state == (TASK_STATE_COMPLETED if done else TASK_STATE_UNASSIGNED)
        resolved = row["resolved"].replace(" ", "T") + "Z" if done and row["resolved"] else "1970-01-01T00:00:00Z"
        assert task.complete_time.ToJsonString() == resolved
    again = await _jira(backlog, project_id, data)
    assert figures(again) == {"rows": len(rows), "unchanged_tasks": len(rows) - epics}


async def test_the_same_file_twice_at_once_makes_each_task_once(backlog: Backlog) -> None:
    project_id = await backlog.project()
    text = "key,summary\n" + "".join(f"X-{n},T\n" for n in range(1200))
    reports = await asyncio.gather(*(_jira(backlog, project_id, text) for _ in range(3)))
    assert sum(report.created_tasks for report in reports) == 1200
    assert sum(report.unchanged_tasks for report in reports) == 2400
    assert len(await tasks_by_key(backlog, project_id)) == 1200


async def test_parents_in_a_circle_are_refused(backlog: Backlog) -> None:
    project_id = await backlog.project()
    text = "key,summary,parent\nX-1,T,X-3\nX-2,T,X-1\nX-3,T,X-2\nX-4,T,X-4\nX-5,Below a circle,X-1\nX-6,T,X-5\n"
    report = await _jira(backlog, project_id, text)
    assert [(row.line, row.key, row.field) for row in report.refused_rows] == [
        (line, f"X-{line - 1}", "parent_key") for line in range(2, 6)
    ]
    assert figures(report) == {"rows": 6, "created_tasks": 2, "refused_count": 4}
    tasks = await tasks_by_key(backlog, project_id)
    assert tasks["X-6"].parent_task_id == tasks["X-5"].task_id
    failed = await refused(_jira(backlog, project_id, text, strict=True))
    assert (failed.reason, failed.metadata["refused_count"]) == ("IMPORT_ROWS_REFUSED", "4")


@pytest.mark.parametrize("strict", [False, True])
async def test_a_circle_closed_with_tasks_that_are_there_is_refused(backlog: Backlog, strict: bool) -> None:
    project_id = await backlog.project()
    await _jira(backlog, project_id, "key,summary,parent\nX-1,T,\nX-2,T,X-1\nX-3,T,X-2\n")
    before = await tasks_by_key(backlog, project_id)
    # X-9 comes after the row that needs it.
    text = "key,summary,parent\nX-1,New,X-3\nX-4,Good,\nX-2,New,X-9\nX-9,New,X-3\n"
    if strict:
        assert (await refused(_jira(backlog, project_id, text, strict=True))).reason == "IMPORT_ROWS_REFUSED"
        assert await tasks_by_key(backlog, project_id) == before
        return
    report = await _jira(backlog, project_id, text)
    assert (2, "X-1", "parent_key") in [(row.line, row.key, row.field) for row in report.refused_rows]
    tasks = await tasks_by_key(backlog, project_id)
    assert (tasks["X-1"].title, tasks["X-1"].parent_task_id) == ("T", "")
    for task in tasks.values():
        seen, above = {task.task_id}, task.parent_task_id
        while above:
            assert above not in seen
            seen.add(above)
            above = next(parent for parent in tasks.values() if parent.task_id == above).parent_task_id


async def test_an_import_that_breaks_off_is_made_up_for(backlog: Backlog) -> None:
    """Parents come after their children, and the client is gone before anything is settled."""
    whole, broken = await backlog.project(), await backlog.project()
    count = 1800
    text = "key,summary,parent,epic link\n" + "".join(f"X-{n},T{n},X-{n + 700},E-1\n" for n in range(count))
    text += "E-1,Goal,,\n"
    options = ImportOptions(project_id=broken, format=IMPORT_FORMAT_JIRA_CSV)
    call = asyncio.create_task(send(backlog, options, text.encode()))
    sql = "SELECT count(*) AS tasks FROM task WHERE project_id = %(id)s"

    async def begun() -> bool:
        return int((await backlog.world.query("backlog", sql, {"id": broken}))[0]["tasks"]) >= 500

    await eventually(begun)
    call.cancel()
    await asyncio.wait([call])
    taken = int((await backlog.world.query("backlog", sql, {"id": broken}))[0]["tasks"])
    assert 500 <= taken < count
    again = await _jira(backlog, broken, text)
    assert again.created_tasks < count
    await _jira(backlog, whole, text)
    left, right = await tasks_by_key(backlog, broken), await tasks_by_key(backlog, whole)
    assert left.keys() == right.keys()
    numbers = {key: task.task_id.removeprefix(broken) for key, task in left.items()}
    assert numbers == {key: task.task_id.removeprefix(whole) for key, task in right.items()}
    for key, task in left.items():
        assert task.parent_task_id.removeprefix(broken) == right[key].parent_task_id.removeprefix(whole)
        assert len(task.story_ids) == len(right[key].story_ids)
        assert task.rank == right[key].rank
