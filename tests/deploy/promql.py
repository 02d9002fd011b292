"""PromQL: evaluated by promtool, and compared with what DSM declares."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Collection

from scripts.metrics import declared
from scripts.tools import find

_SERIES = {series: metric for metric in declared() for series in metric.series}
# The name of a series, and the matchers after it; strings may have braces in them.
_SELECTOR = re.compile(r'\b(dsm_\w+)(?:\{((?:[^}"]|"[^"]*")*)\})?')
_RECORDED = re.compile(r"\b\w+:\w+:\w+\b")
# What whoever scrapes adds.
_SCRAPED = {"job", "instance", "namespace", "pod"}


def promtool(*arguments: str) -> None:
    """Run promtool; it must have nothing to say against it."""
    done = subprocess.run([str(find("promtool")), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def assert_known(expression: str, *, recorded: Collection[str]) -> None:
    """Every series that an expression asks for is declared, or recorded, with the labels that it asks for."""
    assert set(_RECORDED.findall(expression)) <= set(recorded)
    asked = _SELECTOR.findall(_RECORDED.sub("", expression))
    assert asked or _RECORDED.search(expression), "It asks for nothing of DSM's."
    for name, matchers in asked:
        assert name in _SERIES, name
        labels = {*_SERIES[name].labels, *_SCRAPED} | ({"le"} if name.endswith("_bucket") else set())
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', '""', matchers))) <= labels, name
