"""Asks a local LLM, by Ollama's chat API, for a plain-language review of decisions: afterwards, and in nobody's way."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import httpx
import ollama
import structlog

from services.kit.clock import Clock
from services.kit.data.database import Database
from services.kit.errors import DsmError
from services.orchestrator import figures
from services.orchestrator.domain.advice import (
    INSTRUCTIONS,
    SCHEMA,
    BadReview,
    question,
    read_review,
)
from services.orchestrator.domain.advisory import Advisory, AdvisoryState
from services.orchestrator.store import advisories
from services.orchestrator.store.advisories import Waiting

log = structlog.get_logger()

POLL_SECONDS = 1.0
CHECK_SECONDS = 1.0
# After so long a review is asked for again; what is beyond the wait for an answer keeps another process from asking.
RETRY_SECONDS = 10.0
CLAIM_MARGIN_SECONDS = 30.0
GIVE_UP_EVERY_SECONDS = 5.0
# Longest answer that a model may write.
_MOST_TOKENS = 700
_FAULTS = (ConnectionError, httpx.HTTPError, ollama.ResponseError, ValueError, TimeoutError, BadReview)


class Advisor:
    """One Ollama server, asked for a few reviews at a time."""

    def __init__(self, database: Database, clock: Clock, *, url: str, model: str, timeout: float, at_once: int) -> None:
        self._database = database
        self._clock = clock
        self._model = model
        self._timeout = timeout
        self._at_once = at_once
        self._client = ollama.AsyncClient(host=url, timeout=timeout)

    async def keep_advised(self) -> None:
        """Ask for the reviews that decisions wait for, for ever."""
        while True:
            with suppress(DsmError):
                while await self._advise_some():
                    pass
            await asyncio.sleep(POLL_SECONDS)

    async def answers(self) -> bool:
        """Whether the server answers at all."""
        with suppress(*_FAULTS):
            async with asyncio.timeout(CHECK_SECONDS):
                await self._client.list()
                return True
        return False

    async def _advise_some(self) -> int:
        async with self._database.write(keyed=False) as tx:
            seconds = self._timeout + CLAIM_MARGIN_SECONDS
            waiting = await advisories.claim(tx, self._clock(), seconds, self._at_once)
        await asyncio.gather(*map(self._advise, waiting))
        return len(waiting)

    async def _advise(self, waiting: Waiting) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                with figures.ADVISORY_SECONDS.time():
                    text = read_review(await self._ask(question(waiting.record)))
        except _FAULTS as error:
            figures.ADVISORIES.labels("failed").inc()
            log.info("advisory.failed", decision_id=str(waiting.decision_id), error=type(error).__name__)
            retry = self._clock() + timedelta(seconds=RETRY_SECONDS)
            async with self._database.write(keyed=False) as tx:
                await advisories.postpone(tx, waiting.decision_id, retry)
            return
        advisory = Advisory(AdvisoryState.AVAILABLE, self._model, text, self._clock())
        async with self._database.write(keyed=False) as tx:
            await advisories.settle(tx, waiting.decision_id, advisory)
        figures.ADVISORIES.labels("available").inc()

    async def _ask(self, asked: str) -> str:
        answer = await self._client.chat(
            model=self._model,
            messages=[{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": asked}],
            format=SCHEMA,
            options={"temperature": 0, "num_predict": _MOST_TOKENS},
        )
        return answer.message.content or ""


async def keep_limit(database: Database, clock: Clock, seconds: float) -> None:
    """Let reviews that did not come within so many seconds of the decision stay out, for ever.

    It does not need the advisor, which may have been switched off since.
    """
    while True:
        with suppress(DsmError):
            async with database.write(keyed=False) as tx:
                given_up = await advisories.give_up(tx, clock() - timedelta(seconds=seconds))
            figures.ADVISORIES.labels("given_up").inc(given_up)
        await asyncio.sleep(min(GIVE_UP_EVERY_SECONDS, seconds / 4))
