"""The chart renders as it should: accepted by helm and by Kubernetes' schemas, and as it was seen and approved."""

from __future__ import annotations

import difflib
import json
import re
import shlex
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import kubernetes_validate
import pytest

from scripts import chart
from tests.deploy.rendering import CHART, ROOT, TABLES, helm, objects, of_kind, parse, read, text, values_file

SNAPSHOTS = Path(__file__).parent / "snapshots"
# All of this one is kept, of the others what differs from it.
BASE = "minimal"
# The oldest that the chart is for, and the newest that the schemas know.
VERSIONS = ("1.30", "1.37")


@pytest.mark.parametrize("table", TABLES)
def test_helm_has_nothing_to_say_against_it(table: str) -> None:
    done = helm("lint", "--strict", CHART, "--values", values_file(table))
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module", autouse=True)
def _schemas_are_read_once() -> Iterator[None]:
    """Not for each object, which takes longer than to validate it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents))
        yield


@pytest.mark.parametrize("table", TABLES)
def test_every_object_is_what_kubernetes_expects(table: str) -> None:
    for it in objects(table):
        # Of the Prometheus operator; their schemas are no part of Kubernetes.
        if it["apiVersion"] == "monitoring.coreos.com/v1":
            continue
        _validate(json.dumps(it))


@cache
def _validate(it: str) -> None:
    """Once for each object: most are the same in several tables."""
    for version in VERSIONS:
        kubernetes_validate.validate(json.loads(it), version, strict=True)


@pytest.mark.parametrize("table", TABLES)
def test_it_is_as_it_was_approved(table: str, update: bool) -> None:
    snapshot = SNAPSHOTS / (f"{table}.yaml" if table == BASE else f"{table}.diff")
    rendered = _shown(table) if table == BASE else _difference(_shown(BASE), _shown(table))
    if update:
        snapshot.write_text(rendered, encoding="utf-8")
    approved = snapshot.read_text(encoding="utf-8")
    assert rendered == approved, "If this is meant: make check-deploy ARGS=--update, and look at what git shows."


def _shown(table: str) -> str:
    """What is rendered, without what only repeats a file."""
    return re.sub(
        r"(# Source: dsm/templates/(?:prometheusrule|dashboards)\.yaml\n.*?\n(?:spec|data):\n).*?(?=^---$|\Z)",
        r"\1  …\n",
        text(table),
        flags=re.MULTILINE | re.DOTALL,
    )


def test_rules_and_dashboards_are_the_files() -> None:
    found = objects("production")
    [rule] = of_kind(found, "PrometheusRule").values()
    assert rule["spec"] == read(CHART / "files" / "alerts.yaml")
    files = {path.name: path.read_text(encoding="utf-8") for path in (CHART / "files" / "dashboards").glob("*.json")}
    maps = [it for it in of_kind(found, "ConfigMap").values() if "grafana_dashboard" in it["metadata"]["labels"]]
    shown = {name: held for it in maps for name, held in it["data"].items()}
    assert {name: json.loads(held) for name, held in shown.items()} == {n: json.loads(t) for n, t in files.items()}


def _difference(old: str, new: str) -> str:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=2, lineterm="")
    return "".join(f"{line.rstrip()}\n" for line in lines)


def test_there_is_no_snapshot_too_many() -> None:
    assert {path.stem for path in SNAPSHOTS.iterdir()} == set(TABLES)


REFUSED = [
    (["image.repository="], "image.repository is not set"),
    (["postgresql.url="], "No PostgreSQL is named"),
    (["nats.url="], "No NATS is named"),
    (["evaluation.enabled=true"], "evaluation.enabled brings its own"),
    (["postgresql.urlSecret.name=x"], "PostgreSQL is named twice"),
    (["nats.urlSecret.name=x"], "NATS is named twice"),
    (["defaults.autoscaling.enabled=true", "defaults.autoscaling.maxReplicas=1"], "is above maxReplicas (1)"),
    (["postgresql.url=postgresql://one/for-all"], "'/postgresql/url'"),
    (["services.sprint.replicas=two"], "'/services/sprint/replicas': got string, want integer"),
    (["services.sprint.replicas=-1"], "'/services/sprint/replicas'"),
    (["services.sprints.replicas=2"], "additional properties 'sprints' not allowed"),
    (["settings.pol_size=8"], "additional properties 'pol_size' not allowed"),
    (["settings.log_level=LOUD"], "'/settings/log_level'"),
    (["settings.pool_size=0"], "'/settings/pool_size'"),
    # The chart's own, or another service's.
    (["settings.port=1"], "additional properties 'port' not allowed"),
    (["services.project.settings.missed_runs=SKIP"], "additional properties 'missed_runs' not allowed"),
    (["schedules.runner=CRON"], "'/schedules/runner'"),
    (["image.digest=latest"], "'/image/digest'"),
    (["jobs.planning[0].project=SHOP"], "missing property 'name'"),
    (["tls.caSecret.name=ca"], "tls is set without tls.serverSecret.name"),
    (["tls.serverSecret.name=tls", "tls.clientCaSecret.name=ca"], "tls.clientCaSecret demands certificates of clients"),
    (["identity.issuer=https://login.example.com"], "identity is set without keys"),
    (["identity.jwks.url=https://login.example.com"], "name theirs in identity.serviceTokenSecret.name"),
    (["identity.jwks.url=https://login.example.com", "identity.jwks.configMap=keys"], "The JWKS is named twice"),
    (["identity.jwtSecret.name=jwt", "jobs.seed.enabled=true"], "name the tokens that they send in jobs.tokenSecret"),
    # Secrets are by reference, and what the chart sets of other values is not set twice.
    (["settings.jwt_secret=x"], "additional properties 'jwt_secret' not allowed"),
    (["settings.tls_cert_file=x"], "additional properties 'tls_cert_file' not allowed"),
    (["settings.otlp_endpoint=x"], "additional properties 'otlp_endpoint' not allowed"),
    (["tracing.sampleRatio=2"], "'/tracing/sampleRatio'"),
    (["rateLimit.perSecond=-1"], "'/rateLimit/perSecond'"),
    (["postgresql.sslMode=always"], "'/postgresql/sslMode'"),
    (["replicaCount=2"], "additional properties 'replicaCount' not allowed"),
]


@pytest.mark.parametrize(("settings", "sentence"), REFUSED, ids=[" ".join(settings) for settings, _ in REFUSED])
def test_what_is_wrong_is_refused_in_one_sentence(settings: list[str], sentence: str) -> None:
    extra = [word for setting in settings for word in ("--set", setting)]
    done = helm("template", "dsm", CHART, "--values", values_file("minimal"), *extra)
    assert done.returncode != 0
    assert done.stderr.count(sentence) == 1, done.stderr


def test_without_any_values_the_render_says_what_to_set() -> None:
    assert "is not set" in helm("template", "dsm", CHART).stderr


def test_schema_and_readme_are_up_to_date() -> None:
    assert chart.main(["--check"]) == 0


def test_every_value_is_described() -> None:
    notes = dict(chart.read_notes(chart.VALUES.read_text(encoding="utf-8")))
    values = read(chart.VALUES)
    missing = [".".join(path) for path, _ in chart.leaves(values, notes) if not notes[path].description]
    assert missing == []


def test_a_change_of_settings_restarts_those_that_it_concerns() -> None:
    def checksums(*settings: str) -> dict[str, str]:
        return {
            name: it["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
            for name, it in of_kind(objects("minimal", *settings), "Deployment").items()
        }

    before, one, all_ = (
        checksums(),
        checksums("services.sprint.settings.pool_size=9"),
        checksums("settings.pool_size=9"),
    )
    assert {name for name in before if before[name] != one[name]} == {"dsm-sprint"}
    assert {name for name in before if before[name] != all_[name]} == set(before)


@pytest.mark.parametrize("table", ["production", "evaluation"])
def test_names_fit_for_the_longest_release(table: str) -> None:
    for it in objects(table, release="a" * 50 + ".bc"):
        # Kubernetes appends to the names of what makes pods.
        assert len(it["metadata"]["name"]) <= (52 if it["kind"] == "CronJob" else 63), it["metadata"]["name"]
        assert "." not in it["metadata"]["name"]
        assert all(len(value) <= 63 for value in it["metadata"]["labels"].values())


@pytest.mark.parametrize("table", TABLES)
def test_notes_tell_what_comes_next(table: str) -> None:
    done = helm("install", "dsm", CHART, "--dry-run=client", "--values", values_file(table))
    assert done.returncode == 0, done.stderr
    _, _, notes = done.stdout.partition("NOTES:")
    assert "helm --namespace default test dsm" in notes
    assert "connections to PostgreSQL" in notes


DOCUMENTS = ("docs/installing-on-kubernetes.md", "helm/dsm/README.md")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_documented_values_and_commands_are_right(document: str, tmp_path: Path) -> None:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)
    values = [block for kind, block in blocks if kind == "yaml" and "image:" in block]
    assert values
    for number, block in enumerate(values):
        (tmp_path / f"{number}.yaml").write_text(block)
        done = helm("template", "dsm", CHART, "--values", tmp_path / f"{number}.yaml")
        assert done.returncode == 0, done.stderr
    (tmp_path / "issues.csv").touch()
    for kind, block in blocks:
        for line in block.replace("\\\n", " ").splitlines() if not kind else []:
            words = shlex.split(line.replace("/tmp/", f"{tmp_path}/"), comments=True)
            if words[:1] == ["dsm"]:
                parse(words[1:])
            for name in [words[at + 1].partition("=")[0] for at, word in enumerate(words) if word == "--set"]:
                assert _is_value(name), name


def _is_value(name: str) -> bool:
    found = read(chart.VALUES)
    for key in name.split("."):
        if key not in found:
            return False
        found = found[key]
    return True


def test_a_package_holds_what_is_linked(tmp_path: Path) -> None:
    """The dashboards are in deploy/grafana, for everybody; the chart links to them."""
    done = helm("package", CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    [package] = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        packed = set(archive.getnames())
    dashboards = {f"dsm/files/dashboards/{path.name}" for path in (ROOT / "deploy" / "grafana").glob("*.json")}
    assert dashboards
    assert dashboards < packed
    assert not any(name.startswith("dsm/ci/") for name in packed)
