"""Questions that come at the same time share one statement: lookups by key, and small writes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from services.kit.errors import DsmError

Q = TypeVar("Q")
A = TypeVar("A")

LIMIT = 100
# Turns of the event loop before a batch: enough for a request that has arrived to be read, pass the gate and ask. They
# take a tenth of a millisecond if there is nothing else to do.
_TURNS = 20


class Together(Generic[Q, A]):
    """Answers many questions at once: `work` gives the answers to a batch, in its order.

    One batch is under way at a time; who asks meanwhile is in the next one, which begins after they asked. So nobody
    gets an answer older than the question, nobody waits for others to come but for those who are at the door, and the
    more there are, the less each costs. `work` runs on behalf of many calls: none of them is the one at hand there.
    """

    def __init__(self, work: Callable[[Sequence[Q]], Awaitable[Sequence[A]]], limit: int = LIMIT) -> None:
        self._work = work
        self._limit = limit
        self._waiting: list[tuple[Q, asyncio.Future[A]]] = []
        self._running: asyncio.Task[None] | None = None

    async def ask(self, question: Q) -> A:
        """The answer; raises what `work` raises for this question, or for any batch if nothing can be answered."""
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._running is None:
            self._running = asyncio.create_task(self._run(), context=Context())
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                await _let_in()
                batch, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
                # Whoever was cancelled meanwhile wants nothing any more.
                await self._answer([(question, answer) for question, answer in batch if not answer.done()])
        finally:
            self._running = None

    async def _answer(self, batch: Sequence[tuple[Q, asyncio.Future[A]]]) -> None:
        if not batch:
            return
        try:
            found = await self._work([question for question, _ in batch])
        except Exception as error:
            if len(batch) > 1 and not isinstance(error, DsmError):
                # One of them is at fault, and the others shall not suffer for it.
                for one in batch:
                    await self._answer([one])
                return
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
        else:
            for (_, answer), given in zip(batch, found, strict=True):
                if not answer.done():
                    answer.set_result(given)


async def _let_in() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)
