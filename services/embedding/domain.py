"""What a vector is, and what can go wrong with making one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.kit.errors import InvalidArgument, Unavailable

DIMENSIONS = 1024


class BackendKind(StrEnum):
    """What makes the vectors."""

    LOCAL = "local"
    OLLAMA = "ollama"


class EmbeddingBackendUnavailable(Unavailable):
    """The backend does not answer, or answers with what is no vector."""

    reason = "EMBEDDING_BACKEND_UNAVAILABLE"

    def __init__(self, backend: BackendKind, breaker: str) -> None:
        super().__init__(
            f"The embedding backend {backend} does not answer (breaker {breaker}); try again.",
            backend=backend,
            breaker=breaker,
        )


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors of some texts, each of DIMENSIONS numbers and unit length; `native` of them are the model's own."""

    values: list[list[float]]
    native: int


def check_text(text: str, field: str) -> None:
    """Raise InvalidArgument for a text that has nothing to embed, Unicode's own blanks included."""
    if not text.strip():
        raise InvalidArgument(field, "must not be blank")


def unit(native: Sequence[float]) -> list[float]:
    """A model's vector as DSM keeps it: of unit length, padded with zeros, which leave every cosine as it is.

    Raises ValueError for what has no direction (zeros, not a number) or more than DIMENSIONS numbers.
    """
    length = math.sqrt(sum(value * value for value in native))
    if not 0 < length < math.inf or len(native) > DIMENSIONS:
        raise ValueError("The model gave no usable vector.")
    return [value / length for value in native] + [0.0] * (DIMENSIONS - len(native))


def percentile(values: Sequence[float], share: float) -> float | None:
    """The value that `share` (0 to 1) of the values do not exceed, by nearest rank; None for no values.

    Nearest rank: the smallest value with at least that share of all values at or below it.
    """
    if not values:
        return None
    rank = max(1, math.ceil(share * len(values)))
    return sorted(values)[rank - 1]
