"""The Ollama backend: a server elsewhere, behind a timeout and a circuit breaker."""

from collections.abc import Sequence

import httpx
import ollama
import pybreaker

from services.embedding.domain import BackendKind, EmbeddingBackendUnavailable
from services.kit.calling.breaker import make_breaker

# Texts of one request to the server, so that the timeout means the same for small and large calls.
BATCH = 16
_CHECK_SECONDS = 2.0
_FAULTS = (ConnectionError, httpx.HTTPError, ollama.ResponseError, ValueError)


class OllamaBackend:
    """A model that an Ollama server runs."""

    kind = BackendKind.OLLAMA

    def __init__(
        self, url: str, model: str, *, timeout: float, failures: int, reset_seconds: float, successes: int
    ) -> None:
        self.model = _tagged(model)
        self._client = ollama.AsyncClient(host=url, timeout=timeout)
        self._checker = ollama.AsyncClient(host=url, timeout=min(timeout, _CHECK_SECONDS))
        # A caller that stops waiting counts as a failure too: the server was too slow for it.
        self._breaker = make_breaker(
            "embedding", "ollama", failures=failures, reset_seconds=reset_seconds, successes=successes
        )

    @property
    def breaker_state(self) -> str:
        """closed, open or half-open."""
        return str(self._breaker.current_state)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Ask the server, a batch at a time."""
        vectors: list[list[float]] = []
        try:
            for start in range(0, len(texts), BATCH):
                with self._breaker.calling():
                    vectors += await self._embed(texts[start : start + BATCH])
        except (pybreaker.CircuitBreakerError, *_FAULTS):
            raise EmbeddingBackendUnavailable(self.kind, self.breaker_state) from None
        return vectors

    async def answers(self) -> bool:
        """Ask for the list of models, past the breaker: the look itself must not depend on it."""
        try:
            await self._checker.list()
        except _FAULTS:
            return False
        return True

    async def close(self) -> None:
        """Close the connections."""
        for client in (self._client, self._checker):
            await client.close()  # type: ignore[no-untyped-call]

    async def _embed(self, batch: Sequence[str]) -> list[list[float]]:
        answer = await self._client.embed(model=self.model, input=list(batch), truncate=True)
        vectors = [list(vector) for vector in answer.embeddings]
        if len(vectors) != len(batch) or not all(map(any, vectors)):
            raise ValueError("Ollama gave no usable vectors.")
        return vectors


def _tagged(model: str) -> str:
    """The model's full name: Ollama takes one without a tag as its latest, and both must count as one model."""
    return model if ":" in model.rpartition("/")[2] else f"{model}:latest"
