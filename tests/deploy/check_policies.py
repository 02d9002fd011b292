"""What must hold for everything that the chart makes, in every one of its tables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from services.cli.names import SERVICES, STATEFUL
from services.cli.registry import assemble, entries
from services.cli.serve import _STOP_SECONDS
from services.kit.server import LIVENESS
from services.kit.serving.probes import LIVE_PATH, READY_PATH
from services.orchestrator.convert.manifests import Template, manifest, read_pod
from services.orchestrator.domain.schedule import Policy
from tests.deploy.rendering import CHART, NAMESPACE, TABLES, Object, Pod, environ, objects, of_kind, parse, pods, read
from tests.unit.orchestrator.cron_jobs import JOB

# What libraries read and DSM's settings do not know: libpq's, and what a table adds itself.
LIBRARIES = {"PGPASSWORD", "PGSSLMODE", "PGSSLROOTCERT", "POSTGRES_PASSWORD", "HTTPS_PROXY"}
JOBS = ("seed", "planning", "backfill", "daily-scrum", "test")


@pytest.fixture(params=TABLES)
def table(request: pytest.FixtureRequest) -> str:
    """Each table in turn."""
    return str(request.param)


def values_of(table: str) -> Object:
    """What the table says itself."""
    found: Object = read(CHART / "ci" / f"{table}.yaml")
    return found


def speaks_tls(table: str) -> bool:
    """Whether the services' own port is to be over TLS."""
    return bool(values_of(table).get("tls", {}).get("serverSecret", {}).get("name"))


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
            assert volume.keys() - {"name"} <= {"emptyDir", "projected", "configMap"}
            # Keys and tokens are for the group of the pod, and nobody may change them.
            assert volume.get("projected", {}).get("defaultMode", 0o440) == 0o440
        for container in pod.containers:
            for mount in container["volumeMounts"]:
                assert mount.get("readOnly") or mount["name"] in ("tmp", "data", "run")


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
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            ready = probe == "readinessProbe"
            grpc = {"port": 7600} if ready else {"port": 7600, "service": LIVENESS}
            # Kubernetes' gRPC probes do not speak TLS.
            http = {"port": "metrics", "path": READY_PATH if ready else LIVE_PATH}
            asked = {"httpGet": http} if speaks_tls(table) else {"grpc": grpc}
            assert asked.items() <= container[probe].items()
            assert container[probe]["timeoutSeconds"] > 1
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


def test_every_file_that_is_named_is_mounted(table: str) -> None:
    found = objects(table)
    for pod in pods(found):
        named = {
            value
            for container in pod.containers
            for value in environ(container, found).values()
            if value.startswith("/etc/dsm/") and not value.endswith("/pod.json")
        }
        assert named == {file for file in pod.files if file.startswith("/etc/dsm/")}


def test_where_there_is_tls_everybody_speaks_it_and_shows_what_is_asked_for(table: str) -> None:
    found, tls = objects(table), values_of(table).get("tls", {})
    mutual = bool(tls.get("clientCaSecret"))
    for pod in pods(found):
        for container in pod.containers if pod.component in JOBS else []:
            held = environ(container, found)
            assert ("DSM_TLS_CA" in held) is speaks_tls(table)
            assert ("DSM_TLS_CERT" in held) is ("DSM_TLS_KEY" in held) is mutual
    # Commands in the container of a service find the same files by the names that the service has for them.
    for _, _, pod in services(table):
        [container] = pod.spec["containers"]
        held = environ(container, found)
        for name in ("DSM_TLS_CERT_FILE", "DSM_TLS_KEY_FILE", "DSM_CLIENT_CA_FILE"):
            assert (name in held) is speaks_tls(table)
        for name in ("DSM_TLS_CLIENT_CA_FILE", "DSM_CLIENT_CERT_FILE", "DSM_CLIENT_KEY_FILE"):
            assert (name in held) is mutual


def test_where_callers_are_identified_everybody_has_a_token_of_its_own(table: str) -> None:
    found, identity = objects(table), values_of(table).get("identity", {})
    on = bool(identity.get("jwtSecret", {}).get("name") or identity.get("jwks", {}).get("url"))
    tokens: list[tuple[str, str]] = []
    for pod in pods(found):
        own = [it for kind, it in pod.sources if kind == "secret" and it["items"][0]["path"] == "token"]
        if pod.component in JOBS:
            assert len(own) == (1 if on else 0)
            assert all("DSM_TOKEN_FILE" in environ(it, found) for it in pod.containers) is on
            tokens += [(it["name"], it["items"][0]["key"]) for it in own]
        elif pod.component in SERVICES:
            # Else a service makes its tokens itself.
            held = environ(pod.spec["containers"][0], found)
            assert bool(own) is ("DSM_SERVICE_TOKEN_FILE" in held)
            assert (on and "DSM_JWT_SECRET_FILE" not in held) <= bool(own)
    # Plannings are one job, the others are each one.
    assert len(set(tokens)) == len({pod.component for pod in pods(found) if pod.component in JOBS} if on else set())


def test_every_command_is_one_of_dsm(table: str) -> None:
    for pod in pods(objects(table)):
        for container in pod.containers if pod.ours else []:
            assert "command" not in container
            parse(container["args"])


def test_replicas_budgets_and_autoscalers_agree(table: str) -> None:
    found = objects(table)
    budgets, scalers = of_kind(found, "PodDisruptionBudget"), of_kind(found, "HorizontalPodAutoscaler")
    values = values_of(table)
    for service, deployment, _ in services(table):
        name, spec = f"dsm-{service}", deployment["spec"]
        scaler = scalers.pop(name, None)
        assert ("replicas" in spec) is (scaler is None)
        if scaler:
            assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
            assert scaler["spec"]["minReplicas"] <= scaler["spec"]["maxReplicas"]
        most = scaler["spec"]["maxReplicas"] if scaler else spec["replicas"]
        own = (values.get("services", {}).get(service) or {}).get("podDisruptionBudget", {})
        budget = budgets.pop(name, None)
        assert (budget is not None) is (most > 1 and own.get("enabled", True))
        if budget:
            assert budget["spec"]["selector"] == spec["selector"]
            # A least number would keep the node of a single replica from being drained for ever.
            assert "minAvailable" not in budget["spec"]
            assert budget["spec"]["maxUnavailable"] in (1, "50%")
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
    values = values_of(table).get("networkPolicy", {})
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
    calls = {
        "seed": ("project", "backlog"),
        "planning": ("sprint",),
        "backfill": ("orchestrator",),
        "daily-scrum": ("sprint",),
    }
    for job in {pod.component for pod in pods(objects(table))} & calls.keys():
        for called in calls[job]:
            callers[called].add(job)
    return callers


def test_nothing_has_rights_but_the_keeper_of_cron_jobs(table: str) -> None:
    """The CronJobs' service account may be looked at, so that they can belong to it; nothing else is read."""
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
        account = {
            "apiGroups": [""],
            "resources": ["serviceaccounts"],
            "resourceNames": ["dsm-daily-scrum"],
            "verbs": ["get"],
        }
        assert role["rules"] == [{"apiGroups": ["batch"], "resources": ["cronjobs"], "verbs": verbs}, account]
    for binding in bindings.values():
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "dsm-orchestrator", "namespace": NAMESPACE}]


def test_hooks_use_nothing_of_the_release(table: str) -> None:
    found = objects(table)
    before = [it for it in found if "pre-install" in it["metadata"].get("annotations", {}).get("helm.sh/hook", "")]
    own = {it["metadata"]["name"] for it in found if it["kind"] in ("ConfigMap", "Secret", "ServiceAccount")}
    assert len(before) == (0 if table in ("evaluation", "no-cronjobs") else 1)
    for pod in pods(before):
        assert not own & {pod.spec.get("serviceAccountName"), *_references(pod)}
        assert [container["name"] for container in pod.containers] == list(STATEFUL)


def test_secrets_are_by_reference(table: str) -> None:
    found = objects(table)
    own = set(of_kind(found, "Secret"))
    assert own == ({"dsm-postgresql"} if table == "evaluation" else set())
    here = own | of_kind(found, "ConfigMap").keys()
    named = set(_named(values_of(table)))
    for pod in pods(found):
        for name in _references(pod):
            assert (name in here) is (name not in named), name


def _named(values: Any) -> Iterator[str]:
    """Names of the secrets and maps that values speak of."""
    for key, value in values.items() if isinstance(values, dict) else ():
        if key in ("name", "configMap") and isinstance(value, str):
            yield from (value.replace("{service}", name).replace("{job}", name) for name in (*SERVICES, *JOBS))
        yield from _named(value)


def _references(pod: Pod) -> Iterator[str]:
    """Names of the secrets and maps that a pod cannot start without."""
    for container in pod.containers:
        for source in container.get("envFrom", []):
            yield source["configMapRef"]["name"]
        for variable in container.get("env", []):
            if "valueFrom" in variable:
                yield variable["valueFrom"]["secretKeyRef"]["name"]
    for kind, source in pod.sources:
        yield source["secretName" if "secretName" in source else "name"]
        assert kind == "configMap" or "secretName" not in source


def test_cron_jobs_of_the_orchestrator_fit_the_chart(tmp_path: Path) -> None:
    """They are made from the settings that the chart gives, and their pods are what its policies let in."""
    found = objects("production")
    [pod] = [pod for service, _, pod in services("production") if service == "orchestrator"]
    [container] = pod.containers
    held = {name: value for name, value in environ(container, found).items() if name.startswith("DSM_")}
    [(_, settings)] = assemble(("orchestrator",), held).parts
    given: Any = settings
    [place] = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "cron-job"]
    assert given.cron_job_pod_file == f"{place}/pod.json"
    file = tmp_path / "pod.json"
    file.write_text(of_kind(found, "ConfigMap")["dsm-daily-scrum"]["data"]["pod.json"])
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
        pod=read_pod(str(file)),
    )
    made = manifest(JOB, template, JOB.create_time)
    for version in ("1.30", "1.37"):
        kubernetes_validate.validate(made, version, strict=True)
    [run] = pods([made])
    assert run.spec["serviceAccountName"] == template.service_account
    assert run.spec["serviceAccountName"] in of_kind(found, "ServiceAccount")
    assert run.spec["containers"][0]["image"] == container["image"]
    parse(run.spec["containers"][0]["args"])
    entrances = of_kind(found, "NetworkPolicy")["dsm-sprint"]["spec"]["ingress"][0]["from"]
    assert any(it["podSelector"]["matchLabels"].items() <= run.labels.items() for it in entrances)


def test_a_change_of_what_daily_scrums_run_reaches_the_orchestrator() -> None:
    def checksum(*settings: str) -> str:
        pod = of_kind(objects("production", *settings), "Deployment")["dsm-orchestrator"]["spec"]["template"]
        return str(pod["metadata"]["annotations"]["checksum/config"])

    assert checksum() != checksum("schedules.cpu=50m")
