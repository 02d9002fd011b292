"""Alerts fire when they should and only then, as promtool evaluates them; each speaks of metrics that exist."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from scripts.metrics import declared
from scripts.tools import find
from tests.deploy.rendering import CHART, ROOT, read

RULES = CHART / "files" / "alerts.yaml"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in read(RULES)["groups"] for rule in group["rules"] if "alert" in rule
}
RECORDED = {rule["record"] for group in read(RULES)["groups"] for rule in group["rules"] if "record" in rule}
# Those that can be on the left of a binary operator, in the label matchers that are looked at here.
_SELECTOR = re.compile(r"\b(dsm_\w+)(?:\{([^}]*)\})?")
_SEVERITIES = {"critical", "warning", "info"}
_CALLS = 'dsm_calls_total{method="/dsm.sprint.v1.SprintService/GetSprint",code="%s"}'
_BUCKET = 'dsm_call_seconds_bucket{method="/dsm.sprint.v1.SprintService/%s",le="%s"}'
_SPRINT = '{service="sprint"}'
_CONSUMER = '{service="backlog",consumer="backlog-dsm_sprint"}'
_CALLEE = '{service="backlog",callee="project"%s}'
_BUCKETS = ("1", "5", "10", "+Inf")


@dataclass(frozen=True)
class Case:
    """Series (promtool's notation, a sample every 30 s) after which an alert fires for some labels, or for none."""

    alert: str
    series: dict[str, str]
    fires: dict[str, str] | None
    after: str = "15m"
    comment: str = ""
    labels: dict[str, str] = field(default_factory=dict)


def _latency(method: str, *per_bucket: int) -> dict[str, str]:
    """Calls of a method, so many more in each bucket every 30 s."""
    return {_BUCKET % (method, le): f"0+{count}x400" for le, count in zip(_BUCKETS, per_bucket, strict=True)}


CASES = [
    Case("DsmServiceDown", {f"dsm_ready{_SPRINT}": "0x60"}, {"service": "sprint"}),
    Case(
        "DsmServiceDown",
        {'dsm_ready{service="sprint",pod="a"}': "0x60", 'dsm_ready{service="sprint",pod="b"}': "1x60"},
        None,
    ),
    Case("DsmErrorRate", {_CALLS % "OK": "0+90x60", _CALLS % "UNAVAILABLE": "0+10x60"}, {"service": "sprint"}),
    Case("DsmErrorRate", {_CALLS % "OK": "0+90x60", _CALLS % "NOT_FOUND": "0+60x60"}, None),
    Case("DsmErrorRate", {_CALLS % "OK": "0x60", _CALLS % "INTERNAL": "0x20 1x40"}, None, comment="a single call"),
    Case(
        "DsmLatency",
        _latency("GetSprint", 90, 100, 100, 100),
        {"method": "/dsm.sprint.v1.SprintService/GetSprint"},
        "25m",
    ),
    Case("DsmLatency", _latency("GetSprint", 100, 100, 100, 100), None, "25m"),
    Case("DsmLatency", _latency("WatchSprint", 0, 0, 0, 100), None, "25m", "streams last"),
    Case(
        "DsmFlowLatency",
        _latency("StartSprint", 0, 50, 100, 100),
        {"method": "/dsm.sprint.v1.SprintService/StartSprint"},
        "40m",
    ),
    Case("DsmFlowLatency", _latency("StartSprint", 0, 100, 100, 100), None, "40m"),
    Case(
        "DsmBreakerOpen",
        {
            f"dsm_breaker_open{_CALLEE % ''}": "1 0.5 1 1 0.5x60",
            f"dsm_callee_calls_total{_CALLEE % ',code="BREAKER_OPEN"'}": "0+5x60",
        },
        {"service": "backlog", "callee": "project"},
    ),
    Case(
        "DsmBreakerOpen",
        {
            f"dsm_breaker_open{_CALLEE % ''}": "0.5x60",
            f"dsm_callee_calls_total{_CALLEE % ',code="BREAKER_OPEN"'}": "7x60",
        },
        None,
        comment="nobody has called since",
    ),
    Case(
        "DsmPoolExhausted",
        {f"dsm_pool_waiting{_SPRINT}": "3x60", f"dsm_pool_size{_SPRINT}": "8x60"},
        {"service": "sprint"},
    ),
    Case(
        "DsmPoolExhausted",
        {f"dsm_pool_in_use{_SPRINT}": "8x60", f"dsm_pool_size{_SPRINT}": "8x60"},
        {"service": "sprint"},
    ),
    Case("DsmPoolExhausted", {f"dsm_pool_in_use{_SPRINT}": "8 8 7 8 8 7x60", f"dsm_pool_size{_SPRINT}": "8x60"}, None),
    Case("DsmStreamAway", {f"dsm_stream_connected{_SPRINT}": "0x60"}, {"service": "sprint"}),
    Case("DsmStreamAway", {f"dsm_stream_connected{_SPRINT}": "0 1x60"}, None),
    Case("DsmOutboxStuck", {f"dsm_outbox_lag_seconds{_SPRINT}": "0+30x60"}, {"service": "sprint"}),
    Case("DsmOutboxStuck", {f"dsm_outbox_lag_seconds{_SPRINT}": "3x60"}, None),
    Case(
        "DsmConsumerBehind",
        {f"dsm_consumer_pending{_CONSUMER}": "900x60", f"dsm_consumer_unacknowledged{_CONSUMER}": "200x60"},
        {"service": "backlog", "consumer": "backlog-dsm_sprint"},
        comment="by messages",
    ),
    Case(
        "DsmConsumerBehind",
        {f"dsm_consumer_lag_seconds{_CONSUMER}": "0+30x60"},
        {"service": "backlog", "consumer": "backlog-dsm_sprint"},
        comment="by age",
    ),
    Case(
        "DsmConsumerBehind",
        {
            f"dsm_consumer_pending{_CONSUMER}": "900x60",
            f"dsm_consumer_unacknowledged{_CONSUMER}": "0x60",
            f"dsm_consumer_lag_seconds{_CONSUMER}": "299x60",
        },
        None,
    ),
    Case(
        "DsmDeadLetters",
        {f"dsm_dead_letters_waiting{_CONSUMER}": "2x60"},
        {"service": "backlog", "consumer": "backlog-dsm_sprint"},
    ),
    Case("DsmDeadLetters", {f"dsm_dead_letters_waiting{_CONSUMER}": "2x10 0x60"}, None, comment="replayed"),
    Case(
        "DsmSagaStuck",
        {'dsm_saga_oldest_seconds{service="sprint",kind="start-sprint"}': "0+30x60"},
        {"service": "sprint", "kind": "start-sprint"},
    ),
    Case("DsmSagaStuck", {'dsm_saga_oldest_seconds{service="sprint",kind="start-sprint"}': "0 40 60 0 50x60"}, None),
    Case(
        "DsmJobFailed",
        {'dsm_schedule_runs_total{kind="daily_scrum",outcome="refused"}': "0x10 1x60"},
        {"kind": "daily_scrum"},
    ),
    Case("DsmJobFailed", {'dsm_cron_jobs{service="orchestrator",state="FAILED"}': "1x60"}, {"kind": "cron_job"}),
    Case(
        "DsmJobFailed",
        {
            'dsm_schedule_runs_total{kind="daily_scrum",outcome="held"}': "0+1x60",
            'dsm_cron_jobs{service="orchestrator",state="FAILED"}': "0x60",
        },
        None,
    ),
    Case(
        "DsmScheduleMissed",
        {'dsm_schedule_runs_total{kind="daily_scrum",outcome="missed"}': "0x10 1x60"},
        {"kind": "daily_scrum"},
    ),
    Case(
        "DsmScheduleMissed",
        {'dsm_schedule_late_seconds{service="orchestrator",kind="orchestration"}': "0+30x60"},
        {"kind": "orchestration"},
    ),
    Case(
        "DsmScheduleMissed", {'dsm_schedule_late_seconds{service="orchestrator",kind="orchestration"}': "200x60"}, None
    ),
    Case("DsmBackfillFailed", {'dsm_episodes_waiting{service="orchestrator"}': "50x200"}, {"kind": "episode"}, "40m"),
    Case(
        "DsmBackfillFailed",
        {
            'dsm_calls_total{method="/dsm.orchestrator.v1.OrchestratorService/EmbedEpisodes",code="UNAVAILABLE"}': "0x10 1x60"
        },
        {"kind": "episode"},
    ),
    Case(
        "DsmBackfillFailed", {'dsm_texts_waiting{service="chronicle",kind="title"}': "9x900"}, {"kind": "title"}, "7h"
    ),
    Case(
        "DsmBackfillFailed",
        {'dsm_episodes_waiting{service="orchestrator"}': "50x20 0 50x200"},
        None,
        "30m",
        "it gets on",
    ),
    Case(
        "DsmEmbeddingFailing",
        {'dsm_embedding_backend_errors_total{backend="ollama",model="m"}': "0+1x60"},
        {"backend": "ollama"},
    ),
    Case("DsmEmbeddingFailing", {'dsm_embedding_backend_errors_total{backend="ollama",model="m"}': "7x60"}, None),
    Case("DsmMigrationBehind", {f"dsm_migrations_behind{_SPRINT}": "1x60"}, {"service": "sprint"}),
    Case("DsmMigrationBehind", {f"dsm_migrations_behind{_SPRINT}": "0x60"}, None),
    Case(
        "DsmCertificateExpiring",
        {'dsm_tls_certificate_expiry_seconds{file="/tls/tls.crt"}': "1000000x60"},
        {"file": "/tls/tls.crt"},
    ),
    Case("DsmCertificateExpiring", {'dsm_tls_certificate_expiry_seconds{file="/tls/tls.crt"}': "2000000x60"}, None),
    Case(
        "DsmCertificateExpired",
        {'dsm_tls_certificate_expiry_seconds{file="/tls/tls.crt"}': "60000x60"},
        {"file": "/tls/tls.crt"},
    ),
    Case("DsmCertificateExpired", {'dsm_tls_certificate_expiry_seconds{file="/tls/tls.crt"}': "1000000x60"}, None),
    Case("DsmCertificateUnusable", {"dsm_tls_reload_failures_total": "0x20 1x60"}, {}),
    Case("DsmCertificateUnusable", {"dsm_tls_reload_failures_total": "1x60"}, None),
    Case("DsmTracesLost", {'dsm_spans_total{outcome="lost"}': "0+9x100"}, {}, "30m"),
    Case(
        "DsmTracesLost",
        {'dsm_spans_total{outcome="sent"}': "0+9x100", 'dsm_spans_total{outcome="lost"}': "5x100"},
        None,
        "30m",
    ),
]


def _promtool(*arguments: str) -> None:
    done = subprocess.run([str(find("promtool")), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_rules() -> None:
    _promtool("check", "rules", str(RULES))


def test_every_alert_is_tried_both_ways() -> None:
    assert {case.alert for case in CASES if case.fires is not None} == ALERTS.keys()
    assert {case.alert for case in CASES if case.fires is None} == ALERTS.keys()


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_when_it_should_and_only_then(alert: str, tmp_path: Path) -> None:
    tests = [_test(case) for case in CASES if case.alert == alert]
    document = {"rule_files": [str(RULES)], "evaluation_interval": "30s", "tests": tests}
    path = tmp_path / "tests.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    _promtool("test", "rules", str(path))


def _test(case: Case) -> dict[str, Any]:
    labels = {"alertname": case.alert, "alertstate": "firing", "severity": ALERTS[case.alert]["labels"]["severity"]}
    wanted = [] if case.fires is None else [{"labels": _name("ALERTS", labels | case.fires), "value": 1}]
    firing = f'ALERTS{{alertname="{case.alert}",alertstate="firing"}}'
    return {
        "name": f"{case.alert} {case.comment}",
        "interval": "30s",
        "input_series": [{"series": series, "values": values} for series, values in case.series.items()],
        "promql_expr_test": [{"expr": firing, "eval_time": case.after, "exp_samples": wanted}],
    }


def _name(metric: str, labels: dict[str, str]) -> str:
    return metric + "{" + ",".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_bad_it_is_what_it_means_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in _SEVERITIES
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{alert}.md"
    page = (ROOT / "docs" / "runbooks" / f"{alert}.md").read_text(encoding="utf-8")
    assert page.startswith(f"# {alert}\n")
    assert re.findall("^## (.*)", page, re.MULTILINE) == ["What it means", "Look here", "Do this"]


def test_there_is_no_page_without_its_alert() -> None:
    assert {path.stem for path in (ROOT / "docs" / "runbooks").glob("Dsm*.md")} == ALERTS.keys()


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_speaks_of_metrics_and_labels_that_exist(alert: str) -> None:
    expression = ALERTS[alert]["expr"]
    assert_known(expression)
    assert set(re.findall(r"\bservice:\w+:\w+", expression)) <= RECORDED


def test_what_is_recorded_comes_of_metrics_that_exist() -> None:
    for group in read(RULES)["groups"]:
        for rule in group["rules"]:
            assert_known(rule["expr"])


def assert_known(expression: str) -> None:
    """Every metric in a PromQL expression is declared somewhere in DSM, with the labels that are asked for."""
    known = {series: metric for metric in declared() for series in metric.series}
    for name, matchers in _SELECTOR.findall(re.sub(r"service:\w+:\w+", "", expression)):
        assert name in known, name
        labels = {*known[name].labels, "le"}
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)) <= labels, f"{name}{{{matchers}}}"
