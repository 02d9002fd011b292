"""The Grafana dashboards load, their panels do not lie on each other, and they ask for what DSM measures."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from scripts import dashboards, grafana
from tests.deploy.promql import assert_known, promtool

FILES = {path.stem: path for path in sorted(dashboards.FOLDER.glob("*.json"))}
KINDS = {"row", "timeseries", "stat"}
# What Grafana fills in, and something that stands for it.
FILLED = {"$__rate_interval": "5m", "$service": "sprint|backlog"}
# Units that Grafana knows; what it does not know it shows as text after the figure.
UNITS = {"short", "s", "reqps", "ops", "percentunit", "bytes"}

Panel = dict[str, Any]


def test_the_files_are_what_the_script_makes() -> None:
    assert dashboards.main(["--check"]) == 0
    assert FILES.keys() == {dashboard.uid for dashboard in dashboards.DASHBOARDS}


@pytest.fixture(params=FILES)
def dashboard(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILES[request.param].read_text(encoding="utf-8"))
    assert found["uid"] == request.param
    return found


def test_a_dashboard_can_be_imported_anywhere(dashboard: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", dashboard["uid"])
    assert "id" not in dashboard, "Grafana gives its own, and refuses one that it does not know"
    assert dashboard["title"]
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert_known(
        re.sub(r"label_values\((\w+), (\w+)\)", r"sum by (\2) (\1)", variables["service"]["query"]["query"]),
        recorded=(),
    )
    # No word of a Grafana of somebody's: every source is the one chosen above.
    sources = set(re.findall(r'"uid": "([^"]*)"', json.dumps(dashboard["panels"])))
    assert sources == {"${datasource}"}


def test_panels_have_ids_of_their_own_and_lie_side_by_side(dashboard: dict[str, Any]) -> None:
    panels = dashboard["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= grafana.COLUMNS
        assert min(place["w"], place["h"]) > 0
    for one, other in itertools.combinations(panels, 2):
        assert not _overlap(one["gridPos"], other["gridPos"]), f"{one['title']} and {other['title']}"


def test_panels_are_what_grafana_draws(dashboard: dict[str, Any]) -> None:
    for panel in dashboard["panels"]:
        assert panel["type"] in KINDS
        assert panel["title"]
        if panel["type"] == "row":
            continue
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        references = [target["refId"] for target in panel["targets"]]
        assert references == sorted(set(references))
        for target in panel["targets"]:
            assert target["instant"] is not target["range"]


def test_every_query_is_promql_over_what_dsm_measures(dashboard: dict[str, Any], tmp_path: Path) -> None:
    queries = [query for panel in dashboard["panels"] for query in _queries(panel)]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
    promtool("check", "rules", str(path))
    for query in queries:
        if "dsm_" in query:
            assert_known(query, recorded=())
        else:
            # What every process has, by the client library.
            assert re.search(r"\bprocess_(cpu_seconds_total|resident_memory_bytes|start_time_seconds)\b", query)


def test_legends_name_labels_that_the_query_keeps(dashboard: dict[str, Any]) -> None:
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target["expr"]))))
            wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"])) - {"instance"}
            assert wanted <= kept, f"{panel['title']}: {target['legendFormat']}"


def _queries(panel: Panel) -> list[str]:
    queries = [target["expr"] for target in panel.get("targets", [])]
    for name, value in FILLED.items():
        queries = [query.replace(name, value) for query in queries]
    return queries


def _overlap(one: dict[str, int], other: dict[str, int]) -> bool:
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )
