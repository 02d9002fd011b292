"""Backends: what turns texts into a model's own vectors."""

from collections.abc import Sequence
from typing import Protocol

from services.embedding.domain import BackendKind


class Backend(Protocol):
    """A source of vectors."""

    @property
    def kind(self) -> BackendKind:
        """What it is."""

    @property
    def model(self) -> str:
        """Name of the model, to be stored with every vector."""

    @property
    def breaker_state(self) -> str:
        """closed, open or half-open; empty if there is no breaker because nothing is called."""

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """The model's own vectors, in the order of the texts; EmbeddingBackendUnavailable if it does not answer."""

    async def answers(self) -> bool:
        """True if the backend can be used just now; asks it."""

    async def close(self) -> None:
        """Let go of threads and connections."""
