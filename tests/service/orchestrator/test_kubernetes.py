"""CronJobs of Kubernetes, against a small API server that speaks its protocol: made, changed, healed, deleted."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import pytest_asyncio
from dsm.common.v1 import status_service_pb2, status_service_pb2_grpc
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.orchestrator.v1 import schedule_pb2
from dsm.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from dsm.sprint.v1 import sprint_service_pb2

from services.local.stack import Stack
from services.orchestrator import cluster as kubernetes_cluster
from tests.harness import World, eventually, make_world
from tests.processes import clean_environ
from tests.service.orchestrator.kubernetes_api import FakeKubernetes
from tests.service.orchestrator.orchestrations import NEIGHBOURS, TODAY, Dsm, dsm_of

ACTIVE, PENDING, FAILED = (
    schedule_pb2.CRON_JOB_STATE_ACTIVE,
    schedule_pb2.CRON_JOB_STATE_PENDING,
    schedule_pb2.CRON_JOB_STATE_FAILED,
)
NAMESPACE = "team"


@dataclass
class Cluster:
    """An orchestrator of its own with a cluster of its own."""

    dsm: Dsm
    api: FakeKubernetes

    def name(self, project_id: str, number: int = 1) -> str:
        return f"run-dailyscrum-{project_id.lower()}-s{number:02}"

    def manifest(self, project_id: str) -> dict[str, Any]:
        return self.api.objects[(NAMESPACE, self.name(project_id))]

    async def job(self, project_id: str) -> schedule_pb2.CronJob:
        answer = await self.dsm.orchestrator.ListCronJobs(pb.ListCronJobsRequest(project_id=project_id))
        [job] = answer.cron_jobs
        found: schedule_pb2.CronJob = job
        return found

    async def is_(self, project_id: str, state: int) -> schedule_pb2.CronJob:
        """Wait until a project's cron job is in a state."""

        async def reached() -> Any:
            job = await self.job(project_id)
            return job if job.state == state else None

        job: schedule_pb2.CronJob = await eventually(reached)
        return job

    async def rounds(self, count: int = 2) -> None:
        """Let it look at the cluster a few times more."""
        seen = self.api.calls.count("LIST")
        await eventually(lambda: self.api.calls.count("LIST") >= seen + count)


@pytest_asyncio.fixture(scope="module")
async def cluster(world: World, stack: Stack) -> AsyncIterator[Cluster]:
    dsm = await dsm_of(world)
    # Nobody else keeps the schedules of this database meanwhile.
    await world.stop("orchestrator")
    api = FakeKubernetes()
    await api.start()
    async with AsyncExitStack() as exits:
        own = await make_world(
            stack,
            exits,
            **{f"DSM_{name.upper()}_ADDRESS": world.address(name) for name in NEIGHBOURS},
            DSM_ORCHESTRATOR_SCHEDULE_RUNNER="KUBERNETES",
            DSM_ORCHESTRATOR_KUBERNETES_API_URL=api.url,
            DSM_ORCHESTRATOR_KUBERNETES_NAMESPACE=NAMESPACE,
            DSM_ORCHESTRATOR_KUBERNETES_SYNC_SECONDS="0.1",
            DSM_ORCHESTRATOR_CRON_JOB_IMAGE="registry.example/dsm:1.0.0",
            DSM_ORCHESTRATOR_CRON_JOB_SPRINT_ADDRESS="sprint.team.svc:7600",
            DSM_ORCHESTRATOR_CRON_JOB_SERVICE_ACCOUNT="dsm-jobs",
            DSM_ORCHESTRATOR_STARTING_DEADLINE_SECONDS="3600",
        )
        orchestrator = OrchestratorServiceStub(await own.channel("orchestrator"))
        yield Cluster(Dsm(own, dsm.projects, dsm.backlogs, dsm.sprints, orchestrator), api)
    await api.stop()
    await world.start("orchestrator")


# --- the manifest -----------------------------------------------------------------------------


async def test_a_cron_job_is_made_and_valid(cluster: Cluster) -> None:
    await cluster.dsm.project("K8S-MADE")
    await cluster.dsm.orchestrate("K8S-MADE", schedule="30 9 * * 5-7")
    job = await cluster.is_("K8S-MADE", ACTIVE)
    assert (job.runner, job.namespace) == (schedule_pb2.CRON_JOB_RUNNER_KUBERNETES, NAMESPACE)
    assert job.next_run_time.ToDatetime(tzinfo=UTC) > datetime.now(UTC)
    made = cluster.manifest("K8S-MADE")
    assert made["metadata"]["name"] == job.name == cluster.name("K8S-MADE")
    kubernetes_validate.validate(
        {key: made[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": _sent(made)}, "1.37", strict=True
    )
    spec = made["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["suspend"]) == ("30 9 * * 0,5,6", "UTC", False)
    assert (spec["concurrencyPolicy"], spec["startingDeadlineSeconds"]) == ("Forbid", 3600)
    assert spec["jobTemplate"]["spec"]["backoffLimit"] > 0
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    assert (pod["restartPolicy"], pod["serviceAccountName"]) == ("Never", "dsm-jobs")
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    [container] = pod["containers"]
    assert container["image"] == "registry.example/dsm:1.0.0"
    assert container["command"] == ["dsm"]
    assert container["args"] == ["scrum", "K8S-MADE-S01", "--scheduled", "--json"]
    assert container["env"] == [{"name": "DSM_SPRINT_ADDRESS", "value": "sprint.team.svc:7600"}]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"]["memory"]


def _sent(made: dict[str, Any]) -> dict[str, Any]:
    """Metadata without what the server adds."""
    return {key: made["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}


async def test_what_the_cron_job_runs_holds_the_scrum(cluster: Cluster) -> None:
    await cluster.dsm.project("K8S-RUNS")
    await cluster.dsm.orchestrate("K8S-RUNS", start_date=(TODAY - timedelta(days=3)).isoformat())
    await cluster.is_("K8S-RUNS", ACTIVE)
    pod = cluster.manifest("K8S-RUNS")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    command = [Path(sys.executable).with_name(container["command"][0]), *container["command"][1:], *container["args"]]
    # The sprint service alone, as its address in the cluster; today may be a day off.
    environ = clean_environ()
    environ |= {it["name"]: cluster.dsm.world.environ("orchestrator")[it["name"]] for it in container["env"]}
    ran = await asyncio.to_thread(subprocess.run, command, env=environ, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    await cluster.dsm.sprints.CloseSprint(sprint_service_pb2.CloseSprintRequest(sprint_id="K8S-RUNS-S01"))
    late = await asyncio.to_thread(subprocess.run, command, env=environ, capture_output=True, text=True, timeout=60)
    assert late.returncode == 0, late.stderr


# --- level by level ---------------------------------------------------------------------------


async def test_it_is_gone_when_the_sprint_closes(cluster: Cluster) -> None:
    await cluster.dsm.project("K8S-CLOSE")
    await cluster.dsm.orchestrate("K8S-CLOSE")
    await cluster.is_("K8S-CLOSE", ACTIVE)
    await cluster.dsm.sprints.CloseSprint(sprint_service_pb2.CloseSprintRequest(sprint_id="K8S-CLOSE-S01"))
    await eventually(lambda: cluster.name("K8S-CLOSE") not in cluster.api.names())


async def test_deleted_by_hand_it_is_healed(cluster: Cluster) -> None:
    await cluster.dsm.project("K8S-HEAL")
    await cluster.dsm.orchestrate("K8S-HEAL")
    await cluster.is_("K8S-HEAL", ACTIVE)
    made = cluster.api.objects.pop((NAMESPACE, cluster.name("K8S-HEAL")))
    await eventually(lambda: cluster.name("K8S-HEAL") in cluster.api.names())
    assert cluster.manifest("K8S-HEAL")["spec"] == made["spec"]
    # Changed by hand it is as it should be again, and nothing is written when all is well.
    cluster.manifest("K8S-HEAL")["spec"]["suspend"] = True
    await eventually(lambda: cluster.manifest("K8S-HEAL")["spec"]["suspend"] is False)
    await cluster.rounds()
    cluster.api.calls.clear()
    await cluster.rounds()
    assert set(cluster.api.calls) == {"LIST", "ACCOUNT"}


async def test_they_belong_to_the_service_account_of_the_runs(cluster: Cluster) -> None:
    await cluster.dsm.project("K8S-OWNER")
    await cluster.dsm.orchestrate("K8S-OWNER")
    await cluster.is_("K8S-OWNER", ACTIVE)
    assert "ownerReferences" not in cluster.manifest("K8S-OWNER")["metadata"]

    def owners() -> Any:
        return cluster.manifest("K8S-OWNER")["metadata"].get("ownerReferences")

    cluster.api.accounts["dsm-jobs"] = "uid-1"
    owner = {"apiVersion": "v1", "kind": "ServiceAccount", "name": "dsm-jobs", "uid": "uid-1"}
    await eventually(lambda: owners() == [owner])
    # Made anew, it is another one: Kubernetes would delete what the first one owns.
    cluster.api.accounts["dsm-jobs"] = "uid-2"
    await eventually(lambda: owners() == [owner | {"uid": "uid-2"}])
    # It need not be allowed to look.
    cluster.api.refuse = {"ACCOUNT": 403}
    await eventually(lambda: owners() is None)
    await cluster.is_("K8S-OWNER", ACTIVE)
    cluster.api.refuse = {}
    cluster.api.accounts.clear()


async def test_deleted_while_it_is_changed_it_is_made(cluster: Cluster) -> None:
    await cluster.dsm.project("K8S-FLEET")
    await cluster.dsm.orchestrate("K8S-FLEET")
    await cluster.is_("K8S-FLEET", ACTIVE)
    cluster.api.fleeting.add(cluster.name("K8S-FLEET"))
    cluster.manifest("K8S-FLEET")["spec"]["suspend"] = True
    await eventually(lambda: not cluster.api.fleeting)
    await eventually(lambda: cluster.name("K8S-FLEET") in cluster.api.names())
    assert cluster.manifest("K8S-FLEET")["spec"]["suspend"] is False
    assert (await cluster.job("K8S-FLEET")).state == ACTIVE


async def test_another_schedule_changes_it(cluster: Cluster) -> None:
    await cluster.dsm.project("K8S-CHANGE")
    await cluster.dsm.orchestrate("K8S-CHANGE")
    await cluster.is_("K8S-CHANGE", ACTIVE)
    await cluster.dsm.orchestrate("K8S-CHANGE", schedule="0 8 * * *")
    await eventually(lambda: cluster.manifest("K8S-CHANGE")["spec"]["schedule"] == "0 8 * * *")
    await cluster.is_("K8S-CHANGE", ACTIVE)


async def test_deleting_the_cron_job_deletes_it_there(cluster: Cluster) -> None:
    await cluster.dsm.project("K8S-DELETE")
    await cluster.dsm.orchestrate("K8S-DELETE")
    await cluster.is_("K8S-DELETE", ACTIVE)
    request = pb.DeleteCronJobRequest(project_id="K8S-DELETE", cron_job_name=cluster.name("K8S-DELETE"))
    await cluster.dsm.orchestrator.DeleteCronJob(request)
    await eventually(lambda: cluster.name("K8S-DELETE") not in cluster.api.names())
    await cluster.rounds()
    assert cluster.name("K8S-DELETE") not in cluster.api.names()


async def test_one_that_is_somebody_else_s_is_left_alone(cluster: Cluster) -> None:
    await cluster.dsm.project("K8S-FOREIGN")
    foreign = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": cluster.name("K8S-FOREIGN"), "namespace": NAMESPACE, "labels": {"app": "other"}},
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": {"containers": []}}}}},
        "status": {},
    }
    cluster.api.objects[(NAMESPACE, cluster.name("K8S-FOREIGN"))] = foreign
    await cluster.dsm.orchestrate("K8S-FOREIGN")
    job = await cluster.is_("K8S-FOREIGN", FAILED)
    assert job.state_reason
    assert cluster.manifest("K8S-FOREIGN") is foreign
    # Nobody's any more, it can be made.
    del cluster.api.objects[(NAMESPACE, cluster.name("K8S-FOREIGN"))]
    await cluster.is_("K8S-FOREIGN", ACTIVE)


async def test_one_that_another_process_made_meanwhile_is_ours(cluster: Cluster) -> None:
    await cluster.dsm.project("K8S-RACE")
    await cluster.dsm.orchestrate("K8S-RACE")
    await cluster.is_("K8S-RACE", ACTIVE)
    # It is not seen in the list, as if it was made just after; so it is tried to be made, and found.
    made = cluster.manifest("K8S-RACE")
    cluster.api.hidden.add(made["metadata"]["name"])
    posts = cluster.api.calls.count("POST")
    await eventually(lambda: cluster.api.calls.count("POST") > posts)
    await cluster.rounds()
    assert (await cluster.job("K8S-RACE")).state == ACTIVE
    cluster.api.hidden.clear()


async def test_too_many_requests_are_no_refusal(cluster: Cluster) -> None:
    await cluster.dsm.project("K8S-BUSY")
    cluster.api.refuse = {"POST": 429}
    await cluster.dsm.orchestrate("K8S-BUSY")
    await cluster.rounds()
    assert (await cluster.job("K8S-BUSY")).state == PENDING
    cluster.api.refuse = {}
    await cluster.is_("K8S-BUSY", ACTIVE)


async def test_what_kubernetes_refuses_says_why(cluster: Cluster) -> None:
    await cluster.dsm.project("K8S-REFUSED")
    cluster.api.refuse = {"POST": 422}
    await cluster.dsm.orchestrate("K8S-REFUSED")
    job = await cluster.is_("K8S-REFUSED", FAILED)
    assert "422" in job.state_reason
    cluster.api.refuse = {}
    job = await cluster.is_("K8S-REFUSED", ACTIVE)
    assert job.state_reason == ""


# --- the API away -----------------------------------------------------------------------------


async def _degraded(cluster: Cluster) -> list[str]:
    stub = status_service_pb2_grpc.StatusServiceStub(await cluster.dsm.world.channel("orchestrator"))
    answer = await stub.GetStatus(status_service_pb2.GetStatusRequest(service="orchestrator"))
    assert answer.services[0].ready
    return [reason for reason in answer.services[0].degraded_reasons if "Kubernetes" in reason]


def _with(cluster: Cluster, how: str) -> tuple[Callable[[], Awaitable[None]], Callable[[], Awaitable[None]]]:
    """How the API goes away, and how it comes back; 0 is an API that never answers."""

    async def refuse() -> None:
        cluster.api.refuse = {"LIST": int(how)}

    async def allow() -> None:
        cluster.api.refuse = {}

    return (cluster.api.stop, cluster.api.start) if how == "down" else (refuse, allow)


@pytest.mark.parametrize("how", ["down", "500", "429", "403", "0"])
async def test_the_api_may_be_away(cluster: Cluster, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "0":
        monkeypatch.setattr(kubernetes_cluster, "ROUND_SECONDS", 3.0)
    leave, come_back = _with(cluster, how)
    before, after = f"K8S-B{how.upper()}", f"K8S-A{how.upper()}"
    await cluster.dsm.project(before)
    await cluster.dsm.project(after)
    await cluster.dsm.orchestrate(before)
    await cluster.is_(before, ACTIVE)
    await leave()

    async def noticed() -> bool:
        return bool(await _degraded(cluster))

    await eventually(noticed)
    # Calls are answered as ever; what is wished for waits, what is ended stays until it can be deleted.
    await cluster.dsm.orchestrate(after)
    job = await cluster.is_(after, PENDING)
    assert job.sprint_id == f"{after}-S01"

    async def told() -> bool:
        return bool((await cluster.job(after)).state_reason)

    await eventually(told)
    assert (await cluster.job(before)).state == ACTIVE
    request = pb.DeleteCronJobRequest(project_id=before, cron_job_name=cluster.name(before))
    await cluster.dsm.orchestrator.DeleteCronJob(request)
    assert cluster.name(before) in cluster.api.names()
    await come_back()
    await cluster.is_(after, ACTIVE)
    await eventually(lambda: cluster.name(before) not in cluster.api.names())

    async def well() -> bool:
        return not await _degraded(cluster)

    await eventually(well)
