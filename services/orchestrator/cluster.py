"""CronJobs of Kubernetes for the daily scrums, kept level with the cron jobs that there are to be.

Imported in a cluster only: the client's models take seconds to load.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import aiohttp
import structlog
from dsm.common.v1 import status_service_pb2
from kubernetes.aio.client import ApiClient, ApiException, BatchV1Api, Configuration, CoreV1Api, V1CronJob
from kubernetes.aio.config import ConfigException, load_incluster_config

from services.kit.clock import Clock
from services.kit.data.database import Database
from services.kit.errors import DsmError
from services.orchestrator.convert.manifests import DIGEST, Owner, Template, manifest
from services.orchestrator.domain.schedule import CronJob, CronJobState
from services.orchestrator.store import schedules

log = structlog.get_logger()

# One process at a time keeps the CronJobs; a round is over before its turn is.
TURN = "kubernetes-cron-jobs"
TURN_SECONDS = 60.0
ROUND_SECONDS = 45.0
_PAGE = 250
_FORBIDDEN, _NOT_FOUND, _CONFLICT, _TOO_MANY, _SERVER_FAULT = 403, 404, 409, 429, 500
_AWAY = "The Kubernetes API cannot be reached; tried again."
_FOREIGN = "A CronJob of this name belongs to somebody else."


class ClusterAway(Exception):
    """The Kubernetes API does not answer, or not with an answer."""


@dataclass(frozen=True)
class Found:
    """A CronJob as it is in the cluster, in what matters."""

    name: str
    labels: dict[str, str]
    digest: str
    schedule: str
    time_zone: str
    suspended: bool
    last_run_time: datetime | None

    def is_as(self, body: dict[str, Any]) -> bool:
        """Made from the same manifest, and not changed by hand since."""
        spec, digest = body["spec"], body["metadata"]["annotations"][DIGEST]
        wanted = (digest, spec["schedule"], spec["timeZone"], spec["suspend"])
        return (self.digest, self.schedule, self.time_zone, self.suspended) == wanted


class Cluster:
    """One namespace of a cluster, as far as it is the orchestrator's."""

    def __init__(
        self, database: Database, template: Template, clock: Clock, *, api_url: str, sync_seconds: float
    ) -> None:
        self._database = database
        self._template = template
        self._clock = clock
        self._api_url = api_url
        self._sync_seconds = sync_seconds
        self._holder = uuid4()
        self._degraded = ""

    async def keep_cron_jobs(self) -> None:
        """Let the CronJobs be what they should, for ever: made, changed, healed, deleted."""
        try:
            while True:
                with suppress(DsmError):
                    if await self._has_turn():
                        await self._level()
                await asyncio.sleep(self._sync_seconds)
        finally:
            await asyncio.shield(self._end_turn())

    async def describe(self, status: status_service_pb2.ServiceStatus) -> None:
        """Say what does not work, as far as this process has tried."""
        if self._degraded:
            status.degraded_reasons.append(self._degraded)

    async def _has_turn(self) -> bool:
        async with self._database.write(keyed=False) as tx:
            return await schedules.take_turn(tx, TURN, self._holder, TURN_SECONDS)

    async def _end_turn(self) -> None:
        with suppress(DsmError):
            async with self._database.write(keyed=False) as tx:
                await schedules.end_turn(tx, TURN, self._holder)

    async def _level(self) -> None:
        wanted, now = await schedules.all_jobs(self._database.read), self._clock()
        try:
            async with asyncio.timeout(ROUND_SECONDS), self._connect() as connection:
                owner = await self._owner(CoreV1Api(connection))
                found = await self._reconcile(BatchV1Api(connection), wanted, owner, now)
            self._degraded = ""
        except (ClusterAway, TimeoutError) as error:
            reason = str(error) or _AWAY
            # What is in place stays so, as far as anybody knows; and the cluster goes on with it.
            found = [_waiting(job, reason) for job in wanted]
            if not self._degraded:
                log.warning("kubernetes.away", reason=reason)
            self._degraded = reason
        async with self._database.write(keyed=False) as tx:
            await schedules.settle(tx, found)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[ApiClient]:
        """A client with the credentials as they are now: tokens and certificates are replaced while a pod runs."""
        try:
            configuration = Configuration(host=self._api_url or None)
            if not self._api_url:
                load_incluster_config(configuration)  # type: ignore[no-untyped-call]
            async with ApiClient(configuration) as connection:
                yield connection
        except ConfigException as error:
            raise ClusterAway(f"There are no credentials for the Kubernetes API: {error}") from error
        except ApiException as error:
            raise ClusterAway(f"The Kubernetes API answers {error.status} {error.reason}; tried again.") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ClusterAway(_AWAY) from error

    async def _owner(self, api: CoreV1Api) -> Owner | None:
        """The service account of the runs; None if there is none, or none that may be looked at."""
        name = self._template.service_account
        if not name:
            return None
        try:
            account = await api.read_namespaced_service_account(name, self._template.namespace)
        except ApiException as error:
            if error.status in (_FORBIDDEN, _NOT_FOUND):
                return None
            raise
        return Owner(name, account.metadata.uid) if account.metadata and account.metadata.uid else None

    async def _reconcile(
        self, api: BatchV1Api, wanted: Sequence[CronJob], owner: Owner | None, now: datetime
    ) -> list[CronJob]:
        """Make what is there what is wanted; the cron jobs as they are now."""
        existing = {found.name: found for found in await self._existing(api)}
        for name in existing.keys() - {job.name for job in wanted}:
            await self._delete(api, name)
        return [
            await self._put(api, job, manifest(job, self._template, now, owner), existing.get(job.name), now)
            for job in wanted
        ]

    async def _existing(self, api: BatchV1Api) -> list[Found]:
        """Every CronJob of this installation."""
        found: list[Found] = []
        token: str | None = None
        while True:
            page = await api.list_namespaced_cron_job(
                self._template.namespace, label_selector=self._template.selector, limit=_PAGE, _continue=token
            )
            found += map(_found, page.items)
            token = page.metadata.var_continue if page.metadata else None
            if not token:
                return found

    async def _delete(self, api: BatchV1Api, name: str) -> None:
        try:
            await api.delete_namespaced_cron_job(name, self._template.namespace, propagation_policy="Background")
        except ApiException as error:
            if error.status != _NOT_FOUND:
                raise
        log.info("kubernetes.cron_job_deleted", name=name)

    async def _put(
        self, api: BatchV1Api, job: CronJob, body: dict[str, Any], existing: Found | None, now: datetime
    ) -> CronJob:
        job = replace(job, next_run_time=job.timer.next_after(now))
        try:
            existing = await self._change(api, existing, body) if existing else await self._create(api, body)
        except ApiException as error:
            if error.status is None or error.status == _TOO_MANY or error.status >= _SERVER_FAULT:
                raise
            reason = f"Kubernetes refuses it: {error.status} {error.reason}."
            return replace(job, state=CronJobState.FAILED, state_reason=reason)
        if any(existing.labels.get(label) != value for label, value in self._template.labels.items()):
            return replace(job, state=CronJobState.FAILED, state_reason=_FOREIGN)
        return replace(job, state=CronJobState.ACTIVE, state_reason="", last_run_time=existing.last_run_time)

    async def _change(self, api: BatchV1Api, existing: Found, body: dict[str, Any]) -> Found:
        if existing.is_as(body):
            return existing
        try:
            changed = await api.replace_namespaced_cron_job(existing.name, self._template.namespace, _message(body))
        except ApiException as error:
            if error.status != _NOT_FOUND:
                raise
            # Deleted since the list was made.
            return await self._create(api, body)
        log.info("kubernetes.cron_job_changed", name=existing.name)
        return _found(changed)

    async def _create(self, api: BatchV1Api, body: dict[str, Any]) -> Found:
        """The CronJob of this name: made now, or by somebody meanwhile or before."""
        name, namespace = body["metadata"]["name"], self._template.namespace
        try:
            made = await api.create_namespaced_cron_job(namespace, _message(body))
        except ApiException as error:
            if error.status != _CONFLICT:
                raise
            return _found(await api.read_namespaced_cron_job(name, namespace))
        log.info("kubernetes.cron_job_made", name=name)
        return _found(made)


def _message(body: dict[str, Any]) -> V1CronJob:
    made = V1CronJob.from_dict(body)
    assert made is not None
    return made


def _found(item: V1CronJob) -> Found:
    metadata, spec = item.metadata, item.spec
    assert metadata is not None, "the API gives whole objects"
    assert spec is not None, "the API gives whole objects"
    return Found(
        name=metadata.name or "",
        labels=metadata.labels or {},
        digest=(metadata.annotations or {}).get(DIGEST, ""),
        schedule=spec.schedule,
        time_zone=spec.time_zone or "",
        suspended=bool(spec.suspend),
        last_run_time=item.status.last_schedule_time if item.status else None,
    )


def _waiting(job: CronJob, reason: str) -> CronJob:
    """A cron job while the cluster does not answer."""
    return job if job.state is CronJobState.ACTIVE else replace(job, state=CronJobState.PENDING, state_reason=reason)
