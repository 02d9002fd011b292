"""Many clients at once, and the same call again: one effect, one answer, nothing lost."""

from __future__ import annotations

import pytest

from tests.contract.methods import METHODS, is_read, short
from tests.faults import contention
from tests.faults.arena import FULL, Arena, count, only_full, seeded
from tests.harness import SERVICES

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(900)]

# Of each way to write: one statement, a transaction, a flow over services.
KINDS = (
    "Backlog.UpdateTask",
    "Backlog.CreateTask",
    "Sprint.UpdateTaskProgress",
    "Sprint.StartSprint",
    "Sprint.CloseSprint",
)
EVERY_KIND = tuple(
    short(method).replace("Service.", ".")
    for method in METHODS
    if "request_id" in method.input_type.fields_by_name
    and not (is_read(method) or method.client_streaming)
    and not method.containing_service.file.package.startswith("dsm.common.")
)


async def test_a_request_id_has_one_effect_and_one_answer(arena: Arena) -> None:
    rng = seeded("request-ids")
    await arena.start(*(SERVICES if FULL else ("project", "backlog", "sprint")))
    wrong, asked = await contention.asked_at_once(arena, rng, EVERY_KIND if FULL else KINDS, clients=50)
    assert wrong == []
    assert await contention.asked_again(arena, asked) == []


async def test_a_file_imported_by_many_at_once_is_there_once(arena: Arena) -> None:
    assert await contention.imported_again(arena, clients=count(20, 4), rows=count(2000, 100)) == []


async def test_clients_on_one_task_lose_no_update(arena: Arena) -> None:
    assert await contention.one_task(arena, clients=count(100, 20)) == []


async def test_clients_on_one_sprint_lose_no_update(arena: Arena) -> None:
    rng = seeded("one-sprint")
    assert await contention.one_sprint(arena, rng, clients=100, rounds=count(20, 3)) == []


async def test_one_of_many_plannings_at_once_gets_the_sprint(arena: Arena) -> None:
    assert await contention.planned_at_once(arena, clients=count(50, 20)) == []


@only_full
async def test_a_planning_cut_short_is_whole_or_absent(arena: Arena) -> None:
    for point in ("saga.start-sprint.reserve.before", "saga.start-sprint.reserve.done"):
        assert await contention.planning_cut_short(arena, point) == []
