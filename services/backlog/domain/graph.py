"""Who waits for whom: dependencies and parents must not go in a circle."""

from collections.abc import Iterable, Mapping

from services.backlog.domain.errors import DependencyCycle

Edges = Mapping[str, tuple[str, ...]]


def check_acyclic(edges: Edges, changed: Iterable[str]) -> None:
    """DependencyCycle, naming a changed task and the edge that closes the circle, if one can reach itself.

    `edges` hold every task that can be reached from the changed ones. Depth first, without recursion: chains may be
    longer than Python's stack.
    """
    harmless: set[str] = set()
    for start in changed:
        # What cannot reach `start` by one of its edges cannot by another, nor can what is in no circle itself.
        seen = set(harmless)
        for target in edges.get(start, ()):
            if _reaches(edges, target, start, seen):
                raise DependencyCycle(start, target)
        harmless.add(start)


def _reaches(edges: Edges, source: str, target: str, seen: set[str]) -> bool:
    waiting = [source]
    while waiting:
        task_id = waiting.pop()
        if task_id == target:
            return True
        if task_id not in seen:
            seen.add(task_id)
            waiting.extend(edges.get(task_id, ()))
    return False
