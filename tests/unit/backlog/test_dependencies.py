"""Dependencies go in no circle."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.backlog.domain.errors import DependencyCycle
from services.backlog.domain.graph import check_acyclic

_edges = st.dictionaries(
    st.sampled_from("abcdefg"), st.lists(st.sampled_from("abcdefg"), max_size=3).map(tuple), max_size=7
)


@given(_edges)
def test_a_circle_is_found_if_and_only_if_there_is_one(edges: dict[str, tuple[str, ...]]) -> None:
    # Warshall's closure, the slow and plain way.
    reach = {(a, b) for a, targets in edges.items() for b in targets}
    for middle in "abcdefg":
        reach |= {(a, c) for a, b in reach if b == middle for d, c in reach if d == middle}
    try:
        check_acyclic(edges, edges)
        found = False
    except DependencyCycle:
        found = True
    assert found == any((name, name) in reach for name in "abcdefg")


def test_a_long_chain_is_no_circle() -> None:
    check_acyclic({str(n): (str(n + 1),) for n in range(20_000)}, ["0"])
