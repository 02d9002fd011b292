"""Rows of a file that lead back to themselves, by their parents or by what they wait for."""

from collections.abc import Iterable
from dataclasses import dataclass

from services.backlog.domain.graph import circular


@dataclass(frozen=True, slots=True)
class Edge:
    """A row's key, its parent's, and those of the tasks that it waits for."""

    key: str
    parent_key: str = ""
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Circles:
    """The keys of rows that would be above themselves, and of those that would wait for themselves."""

    parents: frozenset[str] = frozenset()
    dependencies: frozenset[str] = frozenset()


def circles_of(edges: Iterable[Edge]) -> Circles:
    """The circles that a file's rows make among themselves."""
    parents: dict[str, tuple[str, ...]] = {}
    dependencies: dict[str, tuple[str, ...]] = {}
    for edge in edges:
        # Of several rows with one key the first is taken.
        if edge.key and edge.parent_key:
            parents.setdefault(edge.key, (edge.parent_key,))
        if edge.key and edge.depends_on:
            dependencies.setdefault(edge.key, edge.depends_on)
    return Circles(frozenset(circular(parents)), frozenset(circular(dependencies)))
