"""The CronJob of Kubernetes that holds the daily scrums of one sprint."""

import copy
import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from services.kit.settings import SettingsError
from services.orchestrator.domain.schedule import CronJob, Policy, kubernetes_schedule

# What marks a CronJob as the orchestrator's: nothing else is ever changed or deleted.
MANAGED_BY = "dsm-orchestrator"
DIGEST = "dsm/digest"
_BACKOFF_LIMIT = 3
_ACTIVE_SECONDS = 300
_KEPT_SUCCEEDED, _KEPT_FAILED = 1, 3
# Of deploy/Dockerfile.
_USER = 10001


@dataclass(frozen=True)
class Template:
    """What all CronJobs of an installation have in common. `pod` is a pod's spec that holds the rest, or empty."""

    namespace: str
    instance: str
    image: str
    pull_policy: str
    sprint_address: str
    service_account: str
    cpu: str
    memory: str
    policy: Policy
    pod: dict[str, Any]

    @property
    def labels(self) -> dict[str, str]:
        """By which this installation's CronJobs are found again."""
        return {
            "app.kubernetes.io/name": "dsm",
            "app.kubernetes.io/component": "daily-scrum",
            "app.kubernetes.io/instance": self.instance,
            "app.kubernetes.io/managed-by": MANAGED_BY,
        }

    @property
    def selector(self) -> str:
        """The labels as a selector."""
        return ",".join(f"{name}={value}" for name, value in self.labels.items())


@dataclass(frozen=True)
class Owner:
    """The service account of the runs. Kubernetes deletes the CronJobs when it is gone, as after an uninstall."""

    name: str
    uid: str

    @property
    def reference(self) -> dict[str, str]:
        """As an object names who owns it."""
        return {"apiVersion": "v1", "kind": "ServiceAccount", "name": self.name, "uid": self.uid}


def read_pod(path: str) -> dict[str, Any]:
    """The spec of a pod from a JSON file; SettingsError if it is none, or if it has no container."""
    try:
        pod = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"DSM_CRON_JOB_POD_FILE {path} cannot be read as JSON: {error}.") from error
    if not isinstance(pod, dict) or not pod.get("containers"):
        raise SettingsError(f"DSM_CRON_JOB_POD_FILE {path} is no spec of a pod: it has no containers.")
    return pod


def manifest(job: CronJob, template: Template, now: datetime, owner: Owner | None = None) -> dict[str, Any]:
    """The CronJob: one run at a time, nothing but the call, as little right as there is.

    After the last day of the sprint, which waits to be closed, it is suspended. Its digest tells whether it is as it
    should be without comparing what Kubernetes has filled in.
    """
    labels = template.labels | {"dsm/project": job.project_id, "dsm/sprint": job.sprint_id}
    spec = {
        "schedule": kubernetes_schedule(job.timer.schedule),
        "timeZone": job.timer.time_zone,
        "suspend": job.timer.next_after(now) is None,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": int(template.policy.patience.total_seconds()),
        "successfulJobsHistoryLimit": _KEPT_SUCCEEDED,
        "failedJobsHistoryLimit": _KEPT_FAILED,
        "jobTemplate": {
            "metadata": {"labels": labels},
            "spec": {
                "backoffLimit": _BACKOFF_LIMIT,
                "activeDeadlineSeconds": _ACTIVE_SECONDS,
                "template": {"metadata": {"labels": labels}, "spec": _pod(job, template)},
            },
        },
    }
    owned = {"ownerReferences": [owner.reference]} if owner else {}
    digest = hashlib.sha256(json.dumps([labels, owned, spec], sort_keys=True).encode()).hexdigest()
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": job.name,
            "namespace": template.namespace,
            "labels": labels,
            "annotations": {DIGEST: digest},
            **owned,
        },
        "spec": spec,
    }


def _pod(job: CronJob, template: Template) -> dict[str, Any]:
    pod = copy.deepcopy(template.pod) or _plain_pod(template)
    pod["containers"][0]["args"] = ["scrum", job.sprint_id, "--scheduled", "--json"]
    return pod


def _plain_pod(template: Template) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        # It calls the sprint service, not Kubernetes.
        "automountServiceAccountToken": False,
        # Else a Service of the namespace could be taken for a setting: one named dsm makes DSM_PORT.
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "daily-scrum",
                "image": template.image,
                "imagePullPolicy": template.pull_policy,
                "command": ["dsm"],
                "env": [{"name": "DSM_SPRINT_ADDRESS", "value": template.sprint_address}],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "resources": {
                    "requests": {"cpu": template.cpu, "memory": template.memory},
                    "limits": {"memory": template.memory},
                },
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    return pod | ({"serviceAccountName": template.service_account} if template.service_account else {})
