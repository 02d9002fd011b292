"""Every call on real sockets: good requests, each rule broken, unknown ids, repeats, deadlines, pages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from tests.contract import cel, changes, rules
from tests.contract.calls import Caller, Outcome
from tests.contract.extremes import Extreme, extremes
from tests.contract.filling import copy_of
from tests.contract.methods import METHODS, is_read, short
from tests.contract.samples import sample
from tests.contract.samples.scene import Scene

MUTATIONS = [method for method in METHODS if "request_id" in method.input_type.fields_by_name]
LISTS = [method for method in METHODS if "page_token" in method.input_type.fields_by_name]

# Changes that can be made again to what they were made to.
_REPEATABLE = ("Create", "Record", "Update", "Batch", "Set", "Generate", "Assign", "Raise")

# Requests whose ids are the caller's word: new things, and what the chronicle is told.
CHOSEN_BY_THE_CALLER = {
    "ProjectService.CreateProject project.project_id",
    "ProjectService.CreateEmployee employee.employee_id",
    "BacklogService.ReserveTasks sprint_id",
    *(f"ChronicleService.{name}" for name in ("RecordSprintPlanning", "RecordDailyScrum", "RecordRetrospective")),
    *(f"ChronicleService.{name}" for name in ("RecordDecision", "RecordNote")),
}
# Fields of new resources that the service sets itself and ignores when given; one that a rule ties to another field.
IGNORED = {
    "ProjectService.AddPto pto.pto_id",
    "BacklogService.CreateStory story.story_id",
    *(f"BacklogService.CreateTask task.{name}" for name in ("task_id", "sprint_id", "story_ids")),
    *(f"BacklogService.BatchCreateTasks tasks[0].{name}" for name in ("task_id", "sprint_id", "story_ids")),
    "BacklogService.BatchCreateTasks tasks[0].project_id",
}
# An id that nothing has, and the answer is OK all the same, as the contract says.
UNKNOWN_IS_OK = {
    # Who reports, owns or leads is not looked up; events carry ids, and a person may have left.
    "BacklogService.CreateTask task.assignee_id",
    "BacklogService.BatchCreateTasks tasks[0].assignee_id",
    "BacklogService.AssignTask assignee_id",
    "SprintService.UpdateTaskProgress employee_id",
    "SprintService.CloseSprint facilitator_id",
    "SprintService.RaiseImpediment raised_by",
    "SprintService.RaiseImpediment owner_id",
    "ChronicleService.UpdateActionItem owner_id",
    # Releasing what was never reserved keeps a late reservation from taking hold; so does unlinking what is not linked.
    "BacklogService.ReleaseTasks sprint_id",
    "BacklogService.UnlinkTasks task_ids",
    # Filters: of a project that was never forecast there is nothing to tell, nor to learn from one never decided on.
    "OrchestratorService.GetForecastCalibration project_id",
    "OrchestratorService.EvolveStrategies project_id",
    # Only looks there, and finds nothing.
    "ChronicleService.GetImpediments sprint_id",
    "OrchestratorService.SearchEpisodes project_id",
}


pytestmark = pytest.mark.usefixtures("nothing_fails_inside")


@pytest_asyncio.fixture(scope="module")
async def goods(scene: Scene) -> dict[str, list[Message]]:
    """One good request of each call, for tests that never let it reach what it changes."""
    made = await asyncio.gather(*(sample(scene, method) for method in METHODS))
    return {method.full_name: requests for method, requests in zip(METHODS, made, strict=True)}


def _params(pairs: Iterable[tuple[MethodDescriptor, object]]) -> list[Any]:
    return [pytest.param(method, thing, id=f"{short(method)}-{thing}") for method, thing in pairs]


each = pytest.mark.parametrize("method", METHODS, ids=short)
each_mutation = pytest.mark.parametrize("method", MUTATIONS, ids=short)
each_list = pytest.mark.parametrize("method", LISTS, ids=short)


def _is(outcome: Outcome, code: str, reason: str) -> bool:
    return (outcome.code, outcome.reason) == (code, reason)


@each
async def test_a_good_request(scene: Scene, caller: Caller, method: MethodDescriptor) -> None:
    requests = await sample(scene, method)
    outcome = await caller.call(method, *requests)
    assert outcome.ok, outcome


@pytest.mark.parametrize(
    ("method", "broken"), _params((method, rule) for method in METHODS for rule in rules.breaks(method.input_type))
)
async def test_each_rule(
    goods: dict[str, list[Message]], caller: Caller, method: MethodDescriptor, broken: rules.Break
) -> None:
    requests = _broken(goods[method.full_name], broken)
    _names_field(await caller.call(method, *requests), broken.path)


@pytest.mark.parametrize(
    ("method", "broken"), _params((method, rule) for method in METHODS for rule in rules.cels(method.input_type))
)
async def test_each_rule_over_several_fields(
    goods: dict[str, list[Message]], caller: Caller, method: MethodDescriptor, broken: rules.Cel
) -> None:
    case = cel.CASES.get(broken.rule_id)
    assert case, f"{broken.rule_id} has no case: add one in tests/contract/cel.py"
    [good] = goods[method.full_name]
    request = copy_of(good)
    case.way(broken.place.of(request))
    _names_field(await caller.call(method, request), broken.place.path(case.field))


def _broken(good: list[Message], broken: rules.Break) -> list[Message]:
    """A client stream is broken in the message that has the field."""
    number = next((n for n, message in enumerate(good[1:], 1) if broken.place.is_in(message, broken.name)), 0)
    return [*good[:number], broken.request(good[number])]


def _names_field(outcome: Outcome, path: str) -> None:
    assert _is(outcome, "INVALID_ARGUMENT", "VALIDATION_FAILED"), outcome
    assert outcome.metadata["field"] == path, outcome
    assert outcome.metadata["rule"], outcome
    assert path in outcome.violations, outcome


@each
async def test_bytes_that_are_no_message(caller: Caller, method: MethodDescriptor) -> None:
    outcome = await caller.call(method, b"\xff\xff\xff")
    assert _is(outcome, "INVALID_ARGUMENT", "VALIDATION_FAILED"), outcome


@each
async def test_ids_that_nothing_has(scene: Scene, caller: Caller, method: MethodDescriptor) -> None:
    good = await sample(scene, method)
    wrong = []
    for place, field in changes.id_places(good[0]):
        name = f"{short(method)} {place.path(field.name)}"
        if CHOSEN_BY_THE_CALLER & {short(method), name} or name in IGNORED:
            continue
        good = good if is_read(method) else await sample(scene, method)
        outcome = await caller.call(method, changes.with_unknown(good[0], place, field), *good[1:])
        # A list may take it for a filter that nothing passes, or for what must be there.
        as_said = outcome.ok == (name in UNKNOWN_IS_OK) or method.name.startswith("List")
        if not as_said or not (outcome.ok or _is_unknown(outcome)):
            wrong.append(f"{name}: {outcome}")
    assert not wrong, "\n".join(wrong)


def _is_unknown(outcome: Outcome) -> bool:
    """Refused for what it names, or because the field cannot be set by an update."""
    return outcome.code in ("NOT_FOUND", "FAILED_PRECONDITION") or outcome.metadata.get("field") == "update_mask"


@each
async def test_extremes_that_the_rules_allow(scene: Scene, caller: Caller, method: MethodDescriptor) -> None:
    good = await sample(scene, method)
    waiting = [extreme for extreme in extremes(method.input_type) if _extreme(good, extreme)]
    # What only reads or adds can be tried all at once; what is changed again and again, in turn.
    width = 16 if is_read(method) or method.name.startswith(("Create", "Record")) else 1
    wrong: list[str] = []
    while waiting:
        batch, waiting = waiting[:width], waiting[width:]
        tried = [caller.call(method, *_extreme(good, extreme)) for extreme in batch]
        outcomes = await asyncio.gather(*tried, return_exceptions=True)
        wrong += [f"{e}: {o}" for e, o in zip(batch, outcomes, strict=True) if not isinstance(o, Outcome)]
        changed = any(isinstance(outcome, Outcome) and outcome.ok for outcome in outcomes)
        if changed and not (is_read(method) or method.name.startswith(_REPEATABLE)):
            good = await sample(scene, method)
    assert not wrong, "\n".join(wrong)


def _extreme(good: list[Message], extreme: Extreme) -> list[Message]:
    """The good messages with the one changed that has the field; none if a rule forbids it."""
    here = extreme.place.is_in
    number = next((n for n, message in enumerate(good[1:], 1) if here(message, extreme.field.name)), 0)
    changed = extreme.request(good[number])
    return [*good[:number], changed, *good[number + 1 :]] if changed else []


@each_mutation
async def test_the_same_request_id_again(scene: Scene, caller: Caller, method: MethodDescriptor) -> None:
    [request] = await sample(scene, method)
    request.request_id = str(uuid4())  # type: ignore[attr-defined]  # every mutation has one
    first = await caller.call(method, request)
    again = await caller.call(method, request)
    assert first.ok, first
    assert again.ok, again
    assert again.body == first.body
    other = await caller.call(method, changes.with_another_body(request))
    assert _is(other, "INVALID_ARGUMENT", "REQUEST_ID_REUSED"), other
    assert other.metadata == {"request_id": request.request_id}  # type: ignore[attr-defined]


@each
async def test_a_deadline_that_passes(scene: Scene, caller: Caller, method: MethodDescriptor) -> None:
    for seconds in (0, 0.001, 0.01):
        requests = await sample(scene, method)
        outcome = await caller.call(method, *requests, seconds=seconds)
        assert outcome.ok or _is(outcome, "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"), f"{seconds} s: {outcome}"


@each_list
async def test_a_page_token_of_another_query(scene: Scene, caller: Caller, method: MethodDescriptor) -> None:
    assert scene.page_token
    for token in (scene.page_token, "x", "!", "é"):
        [request] = await sample(scene, method)
        request.page_token = token  # type: ignore[attr-defined]  # every list has one
        outcome = await caller.call(method, request)
        assert _is(outcome, "INVALID_ARGUMENT", "PAGE_TOKEN_INVALID"), outcome
        assert outcome.metadata == {"page_token": token}


@each_list
async def test_page_sizes(scene: Scene, caller: Caller, method: MethodDescriptor) -> None:
    [request] = await sample(scene, method)
    for size in (1, 251, 2_000_000_000):
        request.page_size = size  # type: ignore[attr-defined]  # every list has one
        outcome = await caller.call(method, request)
        assert outcome.ok, outcome
    request.page_size = -1  # type: ignore[attr-defined]  # every list has one
    _names_field(await caller.call(method, request), "page_size")
