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


def circular(edges: Edges) -> set[str]:
    """Everything that can reach itself: the strongly connected components of two and more, and what points to itself.

    Tarjan's algorithm (SIAM J. Comput. 1(2), 1972), with a stack of its own in the place of recursion.
    """
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    waiting: list[str] = []
    on_stack: set[str] = set()
    found: set[str] = set()
    for root in edges:
        path = [] if root in order else [(root, iter(edges[root]))]
        while path:
            node, targets = path[-1]
            if node not in order:
                order[node] = low[node] = len(order)
                waiting.append(node)
                on_stack.add(node)
            for target in targets:
                if target in on_stack:
                    low[node] = min(low[node], order[target])
                elif target not in order and target in edges:
                    path.append((target, iter(edges[target])))
                    break
            else:
                path.pop()
                if path:
                    above = path[-1][0]
                    low[above] = min(low[above], low[node])
                if low[node] == order[node]:
                    found |= _component(node, waiting, on_stack, edges)
    return found


def _component(node: str, waiting: list[str], on_stack: set[str], edges: Edges) -> set[str]:
    """The component that ends at a node, if there is a circle in it."""
    members = set[str]()
    while node not in members:
        members.add(waiting.pop())
    on_stack -= members
    return members if len(members) > 1 or node in edges[node] else set()


def reaches_itself(edges: Edges, start: str) -> bool:
    """True if the way from something leads back to it."""
    seen: set[str] = set()
    return any(_reaches(edges, target, start, seen) for target in edges.get(start, ()))
