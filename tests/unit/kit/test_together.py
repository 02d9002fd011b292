"""Questions that come together: one batch, its order, and whose fault an error is."""

import asyncio
from collections.abc import Sequence

import pytest

from services.kit.data.together import Together
from services.kit.errors import DatabaseUnavailable


class Work:
    """Gives ten times the number; has no answer to 13, and none at all while `away`."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.away = False
        self.go = asyncio.Event()

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.batches.append(list(numbers))
        await self.go.wait()
        if self.away:
            raise DatabaseUnavailable("test")
        if 13 in numbers:
            raise ValueError(13)
        return [10 * number for number in numbers]


async def _turns(number: int = 50) -> None:
    """So many turns of the loop; by default enough for a batch to begin."""
    for _ in range(number):
        await asyncio.sleep(0)


async def test_who_asks_while_a_batch_is_under_way_is_in_the_next() -> None:
    work = Work()
    together = Together[int, int](work)
    asked = [asyncio.create_task(together.ask(1)), asyncio.create_task(together.ask(2))]
    await _turns()
    asked += [asyncio.create_task(together.ask(number)) for number in (3, 3, 4)]
    await _turns()
    work.go.set()
    assert await asyncio.gather(*asked) == [10, 20, 30, 30, 40]
    assert work.batches == [[1, 2], [3, 3, 4]]
    assert await together.ask(5) == 50


async def test_who_is_at_the_door_is_in_the_batch() -> None:
    work = Work()
    work.go.set()
    together = Together[int, int](work)
    first = asyncio.create_task(together.ask(1))
    await _turns(5)
    assert [*await asyncio.gather(first, together.ask(2))] == [10, 20]
    assert work.batches == [[1, 2]]


async def test_a_batch_has_a_limit() -> None:
    work = Work()
    work.go.set()
    together = Together[int, int](work, limit=2)
    assert await asyncio.gather(*(together.ask(number) for number in range(5))) == [0, 10, 20, 30, 40]
    assert [len(batch) for batch in work.batches] == [2, 2, 1]


async def test_one_at_fault_leaves_the_others_their_answers() -> None:
    work = Work()
    work.go.set()
    together = Together[int, int](work)
    found = await asyncio.gather(*(together.ask(number) for number in (1, 13, 2)), return_exceptions=True)
    assert found[0] == 10
    assert isinstance(found[1], ValueError)
    assert found[2] == 20


async def test_what_stops_everybody_is_not_tried_for_each() -> None:
    work = Work()
    work.away = True
    work.go.set()
    together = Together[int, int](work)
    found = await asyncio.gather(*(together.ask(number) for number in (1, 2)), return_exceptions=True)
    assert all(isinstance(error, DatabaseUnavailable) for error in found)
    assert len(work.batches) == 1
    work.away = False
    assert await together.ask(1) == 10


async def test_who_left_is_not_worked_for() -> None:
    work = Work()
    together = Together[int, int](work)
    first, left = asyncio.create_task(together.ask(1)), asyncio.create_task(together.ask(2))
    await _turns()
    gone = asyncio.create_task(together.ask(3))
    await _turns()
    gone.cancel()
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    work.go.set()
    assert await first == 10
    await _turns()
    assert work.batches == [[1, 2]]
