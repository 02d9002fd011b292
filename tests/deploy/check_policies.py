"""What must hold for everything that the chart makes, in every one of its tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import kubernetes_validate
import pytest
from prometheus_client.metrics import MetricWrapperBase

from services.cli.names import SERVICES, STATEFUL
from services.cli.registry import assemble, entries
from services.cli.serve import _STOP_SECONDS
from services.kit import metrics
from services.kit.server import LIVENESS
from services.orchestrator.convert.manifests import Template, manifest
from services.orchestrator.domain.schedule import CronJob, CronJobState, Policy, Timer
from tests.deploy.rendering import CHART, NAMESPACE, TABLES, Object, Pod, environ, objects, of_kind, parse, pods, read

# What libraries read and DSM's settings do not know: libpq's, and OpenSSL's.
LIBRARIES = {"PGPASSWORD", "PGSSLMODE", "PGSSLROOTCERT", "SSL_CERT_FILE", "POSTGRES_PASSWORD"}


@pytest.fixture(params=TABLES)
def table(request: pytest.FixtureRequest) -> str:
    """Each table in turn."""
    return str(request.param)


def services(table: str) -> Iterator[tuple[str, Object, Pod]]:
    """Each service with its Deployment and its pod."""
    found = objects(table)
    deployments = of_kind(found, "Deployment")
    assert set(deployments) == {f"dsm-{name}" for name in SERVICES}
    for pod in pods(found):
        if pod.kind == "Deployment":
            yield pod.name.removeprefix("dsm-"), deployments[pod.name], pod


def test_pods_are_restricted(table: str) -> None:
    for pod in pods(objects(table)):
        context = pod.spec["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] > 0
        assert context["runAsGroup"] > 0
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod.spec.keys() & {"hostNetwork", "hostPID", "hostIPC", "hostUsers"}
        assert pod.spec["enableServiceLinks"] is False
        for container in pod.containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert not any("hostPort" in port for port in container.get("ports", []))
        for volume in pod.spec["volumes"]:
            assert volume.keys() - {"name"} <= {"emptyDir", "secret", "configMap"}


def test_what_pods_take_is_bounded(table: str) -> None:
    for pod in pods(objects(table)):
        for container in pod.containers:
            resources = container["resources"]
            assert {"cpu", "memory"} <= resources["requests"].keys()
            assert "memory" in resources["limits"]


def test_images_are_pinned(table: str) -> None:
    for pod in pods(objects(table)):
        for container in pod.containers:
            assert re.search(r"(:\d[\w.-]+|@sha256:[0-9a-f]{64})$", container["image"]), container["image"]


def test_services_are_probed_and_stop_in_time(table: str) -> None:
    for _, _, pod in services(table):
        [container] = pod.spec["containers"]
        for probe in ("startupProbe", "livenessProbe"):
            assert container[probe]["grpc"] == {"port": 7600, "service": LIVENESS}
        assert container["readinessProbe"]["grpc"] == {"port": 7600}
        sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        grace = float(environ(container, objects(table))["DSM_GRACE_SECONDS"])
        assert pod.spec["terminationGracePeriodSeconds"] > sleep + grace + _STOP_SECONDS
        assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"grpc": 7600, "metrics": 7690}


def test_every_variable_is_a_setting_that_the_service_takes(table: str) -> None:
    found = objects(table)
    for service, _, pod in services(table):
        [container] = pod.spec["containers"]
        assert container["args"] == ["serve", service]
        held = environ(container, found)
        assert {name for name in held if not name.startswith("DSM_")} <= LIBRARIES
        # The code that a container runs: it raises for what is missing, malformed or unknown.
        assembly = assemble((service,), {name: value for name, value in held.items() if name.startswith("DSM_")})
        assert (assembly.process.host, assembly.process.port) == ("0.0.0.0", 7600)
    for pod in pods(found):
        for container in pod.containers:
            assert {name for name in environ(container, found) if not name.startswith("DSM_")} <= LIBRARIES


def test_every_command_is_one_of_dsm(table: str) -> None:
    for pod in pods(objects(table)):
        for container in pod.containers if pod.ours else []:
            assert "command" not in container
            parse(container["args"])


def test_replicas_budgets_and_autoscalers_agree(table: str) -> None:
    found = objects(table)
    budgets, scalers = of_kind(found, "PodDisruptionBudget"), of_kind(found, "HorizontalPodAutoscaler")
    values = read(CHART / "ci" / f"{table}.yaml")
    for service, deployment, _ in services(table):
        name, spec = f"dsm-{service}", deployment["spec"]
        scaler = scalers.pop(name, None)
        assert ("replicas" in spec) is (scaler is None)
        if scaler:
            assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
            assert scaler["spec"]["minReplicas"] <= scaler["spec"]["maxReplicas"]
        least = scaler["spec"]["minReplicas"] if scaler else spec["replicas"]
        own = (values.get("services", {}).get(service) or {}).get("podDisruptionBudget", {})
        # One for a single replica would keep its node from being drained for ever.
        budget = budgets.pop(name, None)
        assert (budget is not None) is (least > 1 and own.get("enabled", True))
        if budget:
            assert budget["spec"]["selector"] == spec["selector"]
    assert not budgets
    assert not scalers


def test_names_lead_to_pods(table: str) -> None:
    found = objects(table)
    reachable = of_kind(found, "Service")
    for service in reachable.values():
        [chosen] = [pod for pod in pods(found) if service["spec"]["selector"].items() <= pod.labels.items()]
        named = {port["name"] for container in chosen.containers for port in container.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named
    for pod in pods(found):
        for container in pod.containers if pod.ours else []:
            for name, value in environ(container, found).items():
                if name.endswith("_ADDRESS"):
                    assert value.removesuffix(":7600") in reachable


def test_only_those_that_must_are_let_in(table: str) -> None:
    found = objects(table)
    policies = of_kind(found, "NetworkPolicy")
    if table == "no-cronjobs":
        assert not policies
        return
    values = read(CHART / "ci" / f"{table}.yaml").get("networkPolicy", {})
    callers = _callers(table)
    for service, deployment, _ in services(table):
        spec = policies.pop(f"dsm-{service}")["spec"]
        assert spec["podSelector"] == deployment["spec"]["selector"]
        assert spec["policyTypes"] == ["Ingress"]
        calls, *scrapes = spec["ingress"]
        assert calls["ports"] == [{"port": 7600, "protocol": "TCP"}]
        ours = [it for it in calls["from"] if it not in values.get("clients", [])]
        named = [it["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for it in ours]
        assert sorted(named) == sorted(callers[service])
        wanted = values.get("monitoring", [])
        ports = [{"port": 7690, "protocol": "TCP"}]
        assert scrapes == ([{"ports": ports, "from": wanted}] if wanted else [])
    # What is left guards the servers of the evaluation.
    for policy in policies.values():
        [rule] = policy["spec"]["ingress"]
        named = [it["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for it in rule["from"]]
        assert sorted(named) == sorted(STATEFUL)


def _callers(table: str) -> dict[str, set[str]]:
    """Who calls whom, by the settings of the services; and the jobs of the chart, where there are any."""
    callers = {name: {"test"} for name in SERVICES}
    for entry in entries(SERVICES):
        for field in entry.settings.model_fields:
            if (called := field.removesuffix("_address")) in callers:
                callers[called].add(entry.name)
    if table == "production":
        callers["sprint"] |= {"daily-scrum", "planning"}
        callers["project"].add("seed")
        callers["backlog"].add("seed")
    return callers


def test_nothing_has_rights_but_the_keeper_of_cron_jobs(table: str) -> None:
    found = objects(table)
    assert not of_kind(found, "ClusterRole")
    assert not of_kind(found, "ClusterRoleBinding")
    keeps = table == "production"
    with_token = [pod.name for pod in pods(found) if pod.spec["automountServiceAccountToken"] is not False]
    assert with_token == (["dsm-orchestrator"] if keeps else [])
    assert set(of_kind(found, "ServiceAccount")) == ({"dsm-orchestrator", "dsm-daily-scrum"} if keeps else set())
    roles, bindings = of_kind(found, "Role"), of_kind(found, "RoleBinding")
    assert (len(roles), len(bindings)) == ((1, 1) if keeps else (0, 0))
    for role in roles.values():
        # What services/orchestrator/cluster.py does, and no more.
        verbs = ["get", "list", "create", "update", "delete"]
        assert role["rules"] == [{"apiGroups": ["batch"], "resources": ["cronjobs"], "verbs": verbs}]
    for binding in bindings.values():
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "dsm-orchestrator", "namespace": NAMESPACE}]


def test_hooks_use_nothing_of_the_release(table: str) -> None:
    found = objects(table)
    before = [it for it in found if "pre-install" in it["metadata"].get("annotations", {}).get("helm.sh/hook", "")]
    own = {it["metadata"]["name"] for it in found if it["kind"] in ("ConfigMap", "Secret", "ServiceAccount")}
    assert len(before) == (0 if table in ("evaluation", "no-cronjobs") else 1)
    for pod in pods(before):
        assert "serviceAccountName" not in pod.spec
        assert not own & set(_references(pod))
        assert [container["name"] for container in pod.containers] == list(STATEFUL)


def test_secrets_are_by_reference(table: str) -> None:
    found = objects(table)
    own = set(of_kind(found, "Secret"))
    assert own == ({"dsm-postgresql"} if table == "evaluation" else set())
    config = of_kind(found, "ConfigMap")
    for pod in pods(found):
        for name in _references(pod):
            assert (name in own | config.keys()) is name.startswith("dsm-") or name in ("dsm-databases", "dsm-nats")


def _references(pod: Pod) -> Iterator[str]:
    """Names of the secrets and maps that a pod cannot start without."""
    for container in pod.containers:
        for source in container.get("envFrom", []):
            yield source["configMapRef"]["name"]
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                yield variable["valueFrom"]["secretKeyRef"]["name"]
    for volume in pod.spec["volumes"]:
        if "secret" in volume:
            yield volume["secret"]["secretName"]
        if "configMap" in volume:
            yield volume["configMap"]["name"]


_JOB = CronJob(
    sprint_id="SHOP-S01",
    project_id="SHOP",
    name="run-dailyscrum-shop-s01",
    timer=Timer("0 14 * * 1-5", "Europe/Berlin"),
    create_time=datetime(2026, 1, 5, tzinfo=UTC),
    state=CronJobState.PENDING,
)


def test_cron_jobs_of_the_orchestrator_fit_the_chart() -> None:
    """They are made from the settings that the chart gives, and their pods are what its policies let in."""
    found = objects("production")
    [container] = next(pod for service, _, pod in services("production") if service == "orchestrator").containers
    held = {name: value for name, value in environ(container, found).items() if name.startswith("DSM_")}
    [(_, settings)] = assemble(("orchestrator",), held).parts
    given: Any = settings
    template = Template(
        namespace=given.kubernetes_namespace,
        instance=given.cron_job_instance,
        image=given.cron_job_image,
        pull_policy=given.cron_job_pull_policy,
        sprint_address=given.cron_job_sprint_address or given.sprint_address,
        service_account=given.cron_job_service_account,
        cpu=given.cron_job_cpu,
        memory=given.cron_job_memory,
        policy=Policy(),
    )
    made = manifest(_JOB, template, _JOB.create_time)
    kubernetes_validate.validate(made, "1.37", strict=True)
    [pod] = pods([made])
    assert pod.spec["serviceAccountName"] in of_kind(found, "ServiceAccount")
    assert pod.spec["containers"][0]["image"] == container["image"]
    entrances = of_kind(found, "NetworkPolicy")["dsm-sprint"]["spec"]["ingress"][0]["from"]
    assert any(it["podSelector"]["matchLabels"].items() <= pod.labels.items() for it in entrances)


def test_alerts_speak_of_metrics_that_exist() -> None:
    rules = read(CHART / "files" / "alerts.yaml")
    kept = [metric for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
    known = {family.name for metric in kept for family in metric.describe()}
    for group in rules["groups"]:
        for rule in group["rules"]:
            used = set(re.findall(r"\bdsm_\w+", rule["expr"]))
            assert used
            assert {re.sub(r"_(total|bucket|count|sum)$", "", name) for name in used} <= known, rule["alert"]
