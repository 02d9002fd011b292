"""How everything does that enhances decisions."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ComponentStatus(StrEnum):
    """How a part does; decisions go on without one that is UNAVAILABLE."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    UNAVAILABLE = "UNAVAILABLE"
    DISABLED = "DISABLED"


@dataclass(frozen=True)
class CacheState:
    """The cache of embeddings: entries, share of the look-ups that it answered (None = none yet), seconds it keeps."""

    entries: int
    hit_rate: float | None
    seconds: float


@dataclass(frozen=True)
class Health:
    """What is known of every part; None = not known, or never."""

    cache: CacheState
    chronicle_answers: bool
    embedding_answers: bool
    # None = the orchestrator has no advisor.
    advisor_answers: bool | None
    # None = the database does not answer.
    stored: tuple[int, int] | None
    active_strategies: int
    strategies_changed: datetime | None
    newest_note: datetime | None
    embedding_model: str

    @property
    def chronicle(self) -> ComponentStatus:
        """The source of history."""
        return _up(self.chronicle_answers)

    @property
    def embedding(self) -> ComponentStatus:
        """What texts are compared by."""
        return _up(self.embedding_answers)

    @property
    def advisor(self) -> ComponentStatus:
        """The local LLM that reviews decisions."""
        return ComponentStatus.DISABLED if self.advisor_answers is None else _up(self.advisor_answers)

    @property
    def episode_store(self) -> ComponentStatus:
        """The memory: degraded while episodes wait whose embedding nobody makes."""
        if self.stored is None:
            return ComponentStatus.UNAVAILABLE
        return ComponentStatus.DEGRADED if self.episodes_waiting and not self.embedding_answers else _up(True)

    @property
    def episodes(self) -> int:
        """Episodes stored."""
        return self.stored[0] if self.stored else 0

    @property
    def episodes_waiting(self) -> int:
        """Of these, waiting for their embedding."""
        return self.stored[1] if self.stored else 0

    @property
    def whole(self) -> ComponentStatus:
        """HEALTHY if every part that is not disabled is; else DEGRADED, because decisions are made all the same."""
        parts = {self.chronicle, self.embedding, self.advisor, self.episode_store} - {ComponentStatus.DISABLED}
        return ComponentStatus.HEALTHY if parts == {ComponentStatus.HEALTHY} else ComponentStatus.DEGRADED

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is not HEALTHY, one sentence for each part."""
        return tuple(self._reasons())

    def _reasons(self) -> Iterator[str]:
        if not self.chronicle_answers:
            yield "The chronicle does not answer: decisions rest on rules and episodes, not on history."
        if not self.embedding_answers:
            yield "The embedding service does not answer: nothing is compared by meaning."
        if self.advisor_answers is False:
            yield "The advisor does not answer: decisions are not reviewed."
        if self.stored is None:
            yield "The database of the orchestrator does not answer."
        elif self.episode_store is ComponentStatus.DEGRADED:
            yield f"{self.episodes_waiting} episodes wait for their embedding."


def _up(answers: bool) -> ComponentStatus:
    return ComponentStatus.HEALTHY if answers else ComponentStatus.UNAVAILABLE
