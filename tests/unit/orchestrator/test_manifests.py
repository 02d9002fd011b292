"""CronJobs of Kubernetes as manifests, and the pods that a file gives them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import kubernetes_validate
import pytest

from services.kit.settings import SettingsError, load
from services.orchestrator.convert.manifests import Template, manifest, read_pod
from services.orchestrator.domain.schedule import Policy
from services.orchestrator.main import SETTINGS
from tests.unit.orchestrator.cron_jobs import JOB

CALLEES = ("project", "backlog", "sprint", "chronicle", "embedding")
_TEMPLATE = Template(
    namespace="team",
    instance="dsm",
    image="registry.example/dsm:1.0.0",
    pull_policy="Always",
    sprint_address="sprint:7600",
    service_account="",
    cpu="100m",
    memory="256Mi",
    policy=Policy(),
    pod={},
)


def test_a_pod_of_a_file_is_taken_but_for_its_arguments(tmp_path: Path) -> None:
    given = {
        "restartPolicy": "Never",
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "containers": [{"name": "daily-scrum", "image": "registry.example/dsm:2.0.0", "args": ["--help"]}],
    }
    file = tmp_path / "pod.json"
    file.write_text(json.dumps(given))
    pod = read_pod(str(file))
    for sprint_id in ("SHOP-S01", "SHOP-S02"):
        made = manifest(replace(JOB, sprint_id=sprint_id), replace(_TEMPLATE, pod=pod), JOB.create_time)
        kubernetes_validate.validate(made, "1.37", strict=True)
        spec = made["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert spec["containers"][0].pop("args") == ["scrum", sprint_id, "--scheduled", "--json"]
        assert spec | {"containers": given["containers"]} == given
    assert pod == given


@pytest.mark.parametrize("text", ["", "[1]", "{}", '{"containers": []}', "\x00"])
def test_a_file_that_is_no_pod_stops_the_start(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pod.json"
    with pytest.raises(SettingsError, match="DSM_CRON_JOB_POD_FILE"):
        read_pod(str(file))
    file.write_text(text)
    with pytest.raises(SettingsError, match="DSM_CRON_JOB_POD_FILE"):
        read_pod(str(file))


def test_without_an_image_the_service_does_not_start() -> None:
    environ = {f"DSM_{name.upper()}_ADDRESS": "localhost:1" for name in CALLEES}
    environ |= {"DSM_DATABASE_URL": "postgresql://x", "DSM_NATS_URL": "nats://x", "DSM_SCHEDULE_RUNNER": "KUBERNETES"}
    with pytest.raises(SettingsError, match="CRON_JOB_IMAGE"):
        load(SETTINGS, environ, "orchestrator")
    load(SETTINGS, environ | {"DSM_CRON_JOB_POD_FILE": "/etc/dsm/pod.json"}, "orchestrator")
