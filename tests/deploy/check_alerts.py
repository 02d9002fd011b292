"""Alerts fire when they should and only then, as promtool evaluates them, and speak of metrics that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from tests.deploy.promql import assert_known, promtool
from tests.deploy.rendering import CHART, ROOT, parse, read

PATH = CHART / "files" / "alerts.yaml"
RUNBOOKS = ROOT / "docs" / "runbooks"
RULES: list[dict[str, Any]] = [rule for group in read(PATH)["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
CASES: dict[str, list[dict[str, Any]]] = read(Path(__file__).parent / "alerts.yaml")
SEVERITIES = {"critical", "warning", "info"}
_COMMAND = re.compile(r"^(?:- )?(dsm .*)|`(dsm .*?)`", re.MULTILINE)


def test_the_rules_are_rules() -> None:
    promtool("check", "rules", str(PATH))


def test_every_alert_is_tried_both_ways() -> None:
    assert CASES.keys() == ALERTS.keys()
    for alert, cases in CASES.items():
        assert {"fires" in case for case in cases} == {True, False}, alert


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_when_it_should_and_only_then(alert: str, tmp_path: Path) -> None:
    tests = [_test(alert, case) for case in CASES[alert]]
    path = tmp_path / "tests.yaml"
    path.write_text(yaml.safe_dump({"rule_files": [str(PATH)], "evaluation_interval": "30s", "tests": tests}))
    promtool("test", "rules", str(path))


def _test(alert: str, case: dict[str, Any]) -> dict[str, Any]:
    """A unit test of promtool. It is by the series of alerts, so that texts can be mended without mending tests."""
    firing = {"alertname": alert, "alertstate": "firing"}
    wanted = firing | {"severity": ALERTS[alert]["labels"]["severity"]} | case.get("fires", {})
    samples = [{"labels": f"ALERTS{_matchers(wanted)}", "value": 1}] if "fires" in case else []
    expression = {
        "expr": f"ALERTS{_matchers(firing)}",
        "eval_time": case.get("after", "15m"),
        "exp_samples": samples,
    }
    return {
        "name": case.get("because", alert),
        "interval": "30s",
        "input_series": [{"series": series, "values": values} for series, values in case["series"].items()],
        "promql_expr_test": [expression],
    }


def _matchers(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_bad_it_is_what_it_means_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{alert}.md"
    page = (RUNBOOKS / f"{alert}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {alert}\n")
    assert re.findall("^## (.*)", page, re.MULTILINE) == ["Meaning", "Look here", "Do this"]


@pytest.mark.parametrize("alert", ALERTS)
def test_the_commands_of_a_page_are_commands(alert: str) -> None:
    page = (RUNBOOKS / f"{alert}.md").read_text(encoding="utf-8")
    for found in _COMMAND.findall(page):
        words = shlex.split("".join(found), comments=True)
        parse(words[1:])


def test_there_is_no_page_without_its_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"} == ALERTS.keys()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_speaks_of_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    assert_known(rule["expr"], recorded={other["record"] for other in RULES if "record" in other})
