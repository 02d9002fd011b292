"""A survey of a project: what history and its neighbours say of it, without any decision in view."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.orchestrator.domain.situation import Backlog, OpenSprint, SimilarProject, Velocity


@dataclass(frozen=True)
class Chronicled:
    """What the chronicle has written down of a project; `newest` is when it last did, None = never."""

    reports: int = 0
    retrospectives: int = 0
    newest: datetime | None = None


@dataclass(frozen=True)
class Comparison:
    """The projects that resemble one most, of so many compared; the model compared the texts, empty = nobody did."""

    projects: tuple[SimilarProject, ...] = ()
    compared: int = 0
    model: str = ""


@dataclass(frozen=True)
class Survey:
    """None = could not be had, and `degraded` says what."""

    velocity: Velocity | None
    chronicled: Chronicled | None
    comparison: Comparison | None
    impediments: Sequence[str] | None
    backlog: Backlog | None
    # One or none.
    sprints: Sequence[OpenSprint] | None
    degraded: tuple[str, ...] = ()

    @property
    def sprint(self) -> OpenSprint | None:
        """The open sprint, if there is one and it is known."""
        return self.sprints[0] if self.sprints else None
