"""Files that nobody meant to write: importers take what can be taken, and say of the rest why not."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import IO, Any

import pytest
from dsm.backlog.v1.import_pb2 import (
    IMPORT_FORMAT_DSM_JSON,
    IMPORT_FORMAT_GITHUB_JSON,
    IMPORT_FORMAT_JIRA_CSV,
    IMPORT_FORMAT_MAPPED_CSV,
    ImportOptions,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from services.backlog.domain.graph import circular
from services.backlog.domain.importing.entries import MAX_ENTRY, NoJson, read_entries
from services.backlog.domain.importing.source import Tally
from services.backlog.handlers.sources import source_of
from services.kit.errors import DsmError

_JIRA = (
    b"Issue key,Summary,Status,Created,Labels,Story Points,Parent id,Issue id,Due Date,Priority\n"
    b'X-1,"First, of ""all""",Done,2026-01-02,"a b",3,,1,04/Mar/26,High\nX-2,Second,Open,,,,1,2,,\n'
)
_ISSUE = {
    "number": 1,
    "html_url": "https://github.com/a/b/issues/1",
    "title": "One",
    "body": "why",
    "state": "closed",
    "state_reason": "completed",
    "labels": [{"name": "bug"}],
    "milestone": {"number": 1, "title": "M", "html_url": "https://github.com/a/b/milestone/1"},
    "closed_at": "2026-01-02T03:04:05Z",
    "assignee": {"login": "E001"},
}
_TASK = {
    "task_id": "A-TASK001",
    "title": "One",
    "points": 2.5,
    "estimate": "3600s",
    "priority": "PRIORITY_HIGH",
    "tags": ["a"],
    "due_date": "2026-01-02",
    "depends_on": ["A-TASK002"],
    "custom_fields": {"a": "b"},
    "origin": {"system": "jira", "key": "X-1", "create_time": "2026-01-02T03:04:05Z"},
    "state": "TASK_STATE_COMPLETED",
    "story_ids": ["A-STORY001"],
    "rank": "1048576",
    "complete_time": "2026-01-02T03:04:05Z",
}
_GITHUB = json.dumps([_ISSUE, _ISSUE | {"number": 2, "pull_request": {}}], indent=1).encode()
_EXPORT = json.dumps(
    [{"export": {"version": 1}}, {"story": {"story_id": "A-STORY001", "title": "S"}}, {"task": _TASK}], indent=1
).encode()
_OPTIONS = {
    "jira": (ImportOptions(format=IMPORT_FORMAT_JIRA_CSV), _JIRA),
    "mapped": (ImportOptions(format=IMPORT_FORMAT_MAPPED_CSV, column_mapping={"title": "Summary"}), _JIRA),
    "github": (ImportOptions(format=IMPORT_FORMAT_GITHUB_JSON), _GITHUB),
    "dsm": (ImportOptions(format=IMPORT_FORMAT_DSM_JSON), _EXPORT),
}
each_format = pytest.mark.parametrize("name", list(_OPTIONS))

_plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("1" * 5000)
_values = st.recursive(
    _plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


def _read(name: str, data: bytes) -> Tally | None:
    """What reading a file comes to; None if it is refused as a whole, by an error that callers can act on."""
    source = source_of(_file(data), _OPTIONS[name][0])
    tally = Tally()
    try:
        source.check_header()
        drafts = [draft for batch in source.batches(tally) for draft in batch]
    except DsmError:
        return None
    tasks = [draft for draft in drafts if not (name == "github" and draft.is_epic)]
    assert tally.rows == len(tasks) + tally.refused + tally.skipped
    assert len(tally.refusals) == tally.refused
    for refusal in tally.refusals:
        assert refusal.rule
        assert refusal.line >= 1
        f"{refusal}".encode()
    keys = [draft.key for draft in drafts if draft.key]
    assert len(set(keys)) == len(keys)
    return tally


def _file(data: bytes) -> IO[bytes]:
    return io.BytesIO(data)


@each_format
def test_the_samples_are_good(name: str) -> None:
    tally = _read(name, _OPTIONS[name][1])
    assert tally is not None
    assert (tally.rows, tally.refused, tally.skipped) == (2, 0, int(name == "github"))


@each_format
@given(st.data())
@settings(max_examples=150, deadline=None)
def test_bytes_that_were_damaged(name: str, data: st.DataObject) -> None:
    good = _OPTIONS[name][1]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(good)))
        end = data.draw(st.integers(at, min(len(good), at + 12)))
        good = good[:at] + data.draw(st.text(alphabet='[]{},:"\\\n\r;\t0eE-+.\0ä🦄u', max_size=6)).encode() + good[end:]
    _read(name, good.decode("utf-8", "replace").encode())


@each_format
@given(st.text(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_text(name: str, text: str) -> None:
    _read(name, text.encode("utf-8", "replace"))


@pytest.mark.parametrize("name", ["github", "dsm"])
@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_json_in_the_place_of_any_field(name: str, data: st.DataObject) -> None:
    thing: dict[str, Any] = json.loads(json.dumps(_ISSUE if name == "github" else _TASK))
    place = thing
    field = data.draw(st.sampled_from([*thing, "surprise"]))
    if isinstance(place.get(field), dict) and data.draw(st.booleans()):
        place = place[field]
        field = data.draw(st.sampled_from([*place, "surprise"]))
    place[field] = data.draw(_values)
    entries = [thing] if name == "github" else [{"export": {"version": 1}}, {"task": thing}]
    tally = _read(name, json.dumps(entries).encode())
    assert tally is not None
    assert tally.rows == 1


@pytest.mark.parametrize("name", ["jira", "dsm"])
@given(st.lists(st.integers(0, 6).flatmap(lambda a: st.tuples(st.just(a), st.integers(0, 6))), max_size=7))
@settings(max_examples=100, deadline=None)
def test_no_circle_of_parents_passes(name: str, pairs: list[tuple[int, int]]) -> None:
    data = _with_parents[name](pairs)
    source = source_of(_file(data), _OPTIONS[name][0])
    drafts = [draft for batch in source.batches(Tally()) for draft in batch]
    edges = {draft.key: (draft.reference.parent_key or "",) for draft in drafts}
    assert not circular(edges)


def _jira_parents(pairs: list[tuple[int, int]]) -> bytes:
    return ("key,summary,parent\n" + "".join(f"X-{a},T,X-{b}\n" for a, b in pairs)).encode()


def _dsm_parents(pairs: list[tuple[int, int]]) -> bytes:
    tasks = [{"task": {"task_id": f"A-TASK00{a}", "title": "T", "parent_task_id": f"A-TASK00{b}"}} for a, b in pairs]
    return json.dumps([{"export": {"version": 1}}, *tasks]).encode()


_with_parents: dict[str, Callable[[list[tuple[int, int]]], bytes]] = {"jira": _jira_parents, "dsm": _dsm_parents}


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.lists(st.sampled_from("abcdefgh"), max_size=3).map(tuple)))
def test_what_is_circular_can_reach_itself(edges: dict[str, tuple[str, ...]]) -> None:
    reached = {start: set(edges[start]) for start in edges}
    for _ in edges:
        for found in reached.values():
            found |= {further for node in found for further in edges.get(node, ())}
    assert circular(edges) == {start for start, found in reached.items() if start in found}


def test_a_long_chain_is_no_circle() -> None:
    edges = {str(number): (str(number + 1),) for number in range(50_000)}
    assert not circular(edges)
    assert len(circular(edges | {"50000": ("0",)})) == 50_001


@given(st.lists(_values.filter(lambda value: value == value), max_size=6), st.sampled_from([None, 1]))
@settings(max_examples=100, deadline=None)
def test_entries_are_what_json_says(values: list[Any], indent: int | None) -> None:
    try:
        text = json.dumps(values, indent=indent, allow_nan=False)
        expected = json.loads(text)
    except ValueError:
        return
    assert [value for _, value in read_entries(io.StringIO(text))] == expected


@pytest.mark.parametrize("size", [65_530, 65_536, 131_072, 200_000])
def test_entries_across_pieces(size: int) -> None:
    values = ["a" * size, 12345, {"b": "ä" * size}, 1.5e3]
    text = json.dumps(values, indent=0)
    found = list(read_entries(io.StringIO(text)))
    assert [value for _, value in found] == values
    assert [line for line, _ in found] == [2, 3, 4, 7]


def test_an_entry_without_end_is_not_read_to_the_end() -> None:
    class Endless(io.StringIO):
        given = 0

        def read(self, size: int | None = -1) -> str:
            self.given += size or 0
            return super().read(size)

    text = Endless('[\n"' + "x" * (MAX_ENTRY * 4))
    with pytest.raises(NoJson) as failed:
        list(read_entries(text))
    assert failed.value.line == 2
    assert text.given <= MAX_ENTRY * 3
