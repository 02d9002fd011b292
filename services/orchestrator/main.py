"""Wiring of the orchestrator."""

from datetime import timedelta
from pathlib import Path

from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.orchestrator.v1 import orchestrator_service_pb2_grpc as grpc_pb
from pydantic import Field, ValidationInfo, field_validator

from services.kit.clock import utc_now
from services.kit.service import StatefulService
from services.kit.settings import StatefulSettings
from services.orchestrator import events, figures
from services.orchestrator.act import Actor
from services.orchestrator.advisor import Advisor, keep_limit
from services.orchestrator.convert.manifests import Template, read_pod
from services.orchestrator.domain.decision import ModeConfig
from services.orchestrator.domain.schedule import Keeping, MissedRuns, Policy, Runner
from services.orchestrator.forecasting import Forecaster
from services.orchestrator.handlers import OrchestratorHandlers
from services.orchestrator.keeper import Keeper
from services.orchestrator.learning import Learner
from services.orchestrator.memory import Memory
from services.orchestrator.observe import Observer
from services.orchestrator.pipeline import Pipeline

NAME = "orchestrator"
# Where Kubernetes tells a pod its namespace.
_POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class OrchestratorSettings(StatefulSettings):
    """Settings of the orchestrator."""

    project_address: str = Field(description="Address of the project service, for example project:7600.")
    backlog_address: str = Field(description="Address of the backlog service.")
    sprint_address: str = Field(description="Address of the sprint service.")
    chronicle_address: str = Field(description="Address of the chronicle service.")
    embedding_address: str = Field(description="Address of the embedding service.")
    confidence_threshold: float = Field(
        default=0.75, ge=0, le=1, description="Least confidence that passes the gate, unless a project sets its own."
    )
    embed_timeout_seconds: float = Field(
        default=5, gt=0, description="Longest wait for the embedding of a situation; then memory is left out."
    )
    retrieval_timeout_ms: float = Field(
        default=300, gt=0, description="Longest search for similar episodes; then memory is left out."
    )
    evolve_every_minutes: float = Field(
        default=60, gt=0, description="How often strategies are learned from the episodes, by one process at a time."
    )

    schedule_runner: Runner = Field(
        default=Runner.SERVICE,
        description="What runs daily scrums by their schedule: SERVICE (the orchestrator) or KUBERNETES (CronJobs).",
    )
    missed_runs: MissedRuns = Field(
        default=MissedRuns.RUN_ONCE,
        description="What becomes of runs that were missed: RUN_ONCE makes up for the last one, SKIP for none.",
    )
    starting_deadline_seconds: float = Field(
        default=86_400, ge=0, description="How late a missed run may still begin, with RUN_ONCE."
    )
    schedule_poll_seconds: float = Field(default=1, gt=0, description="How often is looked for what is due.")
    advisor_url: str = Field(
        default="", description="Ollama server that reviews decisions, as http://127.0.0.1:11434; empty = none."
    )
    advisor_model: str = Field(default="llama3.2", min_length=1, description="Model that reviews decisions.")
    advisor_timeout_seconds: float = Field(default=60, gt=0, description="Longest wait for one review.")
    advisor_at_once: int = Field(default=1, ge=1, le=16, description="Most reviews asked for at the same time.")
    advisor_limit_seconds: float = Field(
        default=600, gt=0, description="How long after a decision its review may come; then it is unavailable."
    )
    # With schedule_runner = KUBERNETES:
    kubernetes_api_url: str = Field(
        default="",
        description="Address of the Kubernetes API without TLS, as of `kubectl proxy`; empty = the pod's own.",
    )
    kubernetes_namespace: str = Field(default="", description="Namespace of the CronJobs; empty = the pod's own.")
    kubernetes_sync_seconds: float = Field(
        default=10, gt=0, description="How often the CronJobs are compared with what they should be."
    )
    cron_job_instance: str = Field(
        default="dsm",
        pattern="^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$",
        description="Tells the CronJobs of installations apart.",
    )
    cron_job_pod_file: str = Field(
        default="",
        description="JSON file with the spec of the runs' pod, for what the other settings cannot say (tokens, "
        "certificates, nodes): only the arguments of its first container are replaced; empty = made of the others.",
    )
    cron_job_image: str = Field(
        default="", validate_default=True, description="Image that the CronJobs run: the one with the dsm command."
    )
    cron_job_pull_policy: str = Field(
        default="IfNotPresent", pattern="^(Always|IfNotPresent|Never)$", description="When nodes pull the image."
    )
    cron_job_service_account: str = Field(
        default="",
        description="Service account of the CronJobs, which needs no rights; empty = the namespace's default.",
    )
    cron_job_sprint_address: str = Field(
        default="", description="Where the CronJobs call the sprint service; empty = sprint_address."
    )
    cron_job_cpu: str = Field(default="100m", description="CPU that a run requests.")
    cron_job_memory: str = Field(default="256Mi", description="Memory that a run requests, and its limit.")

    @field_validator("cron_job_image")
    @classmethod
    def _image_is_named(cls, image: str, info: ValidationInfo) -> str:
        named = image or info.data.get("cron_job_pod_file")
        if not named and info.data.get("schedule_runner") is Runner.KUBERNETES:
            raise ValueError("must name an image for schedule_runner = KUBERNETES")
        return image


SETTINGS = OrchestratorSettings


def build(settings: OrchestratorSettings) -> StatefulService:
    """The service, ready to be served."""
    service = StatefulService(NAME, settings)
    project = service.callee("project", settings.project_address)
    backlog = service.callee("backlog", settings.backlog_address)
    sprint = service.callee("sprint", settings.sprint_address)
    chronicle = service.callee("chronicle", settings.chronicle_address)
    embedding = service.callee("embedding", settings.embedding_address)
    observer = Observer(project, backlog, sprint, chronicle, utc_now)
    memory = Memory(
        service.database,
        embedding,
        embed_seconds=settings.embed_timeout_seconds,
        retrieval_seconds=settings.retrieval_timeout_ms / 1000,
    )
    pipeline = Pipeline(
        service.database,
        observer,
        memory,
        Actor(service.database, sprint, utc_now),
        utc_now,
        default_mode=ModeConfig(settings.confidence_threshold),
        advisor_model=settings.advisor_model if settings.advisor_url else "",
    )
    policy = Policy(settings.missed_runs, timedelta(seconds=settings.starting_deadline_seconds))
    keeper = Keeper(
        service.database,
        sprint,
        pipeline,
        utc_now,
        policy=policy,
        poll_seconds=settings.schedule_poll_seconds,
    )
    keeping = Keeping(settings.schedule_runner, _namespace(settings))
    learner = Learner(service.database, utc_now, every_seconds=60 * settings.evolve_every_minutes)
    forecaster = Forecaster(service.database, observer, project, sprint, utc_now)
    advisor = _advisor(service, settings) if settings.advisor_url else None
    handlers = OrchestratorHandlers(
        service.database, observer, memory, pipeline, learner, forecaster, advisor, utc_now, keeping
    )
    service.serve(
        pb.DESCRIPTOR.services_by_name["OrchestratorService"],
        grpc_pb.add_OrchestratorServiceServicer_to_server,
        handlers,
    )
    service.consume("DSM_PROJECT", events.PROJECT_SUBJECTS, events.apply_projects)
    service.consume("DSM_SPRINT", events.SPRINT_SUBJECTS, events.apply)
    figures.measure(service.measures)
    service.run(memory.keep_embedded)
    service.run(pipeline.carry_on)
    service.run(learner.keep_learning)
    service.run(keeper.keep_jobs)
    service.run(keeper.keep_orchestrations)
    service.run(lambda: keep_limit(service.database, utc_now, settings.advisor_limit_seconds))
    if advisor:
        service.run(advisor.keep_advised)
    if settings.schedule_runner is Runner.SERVICE:
        service.run(keeper.keep_scrums)
    else:
        _keep_cluster(service, settings, policy)
    return service


def _advisor(service: StatefulService, settings: OrchestratorSettings) -> Advisor:
    """Who reviews decisions."""
    return Advisor(
        service.database,
        utc_now,
        url=settings.advisor_url,
        model=settings.advisor_model,
        timeout=settings.advisor_timeout_seconds,
        at_once=settings.advisor_at_once,
    )


def _keep_cluster(service: StatefulService, settings: OrchestratorSettings, policy: Policy) -> None:
    """Let CronJobs of Kubernetes hold the daily scrums."""
    # Its models take seconds to load, so only where they are needed.
    from services.orchestrator.cluster import Cluster

    template = Template(
        namespace=_namespace(settings),
        instance=settings.cron_job_instance,
        image=settings.cron_job_image,
        pull_policy=settings.cron_job_pull_policy,
        sprint_address=settings.cron_job_sprint_address or settings.sprint_address,
        service_account=settings.cron_job_service_account,
        cpu=settings.cron_job_cpu,
        memory=settings.cron_job_memory,
        policy=policy,
        pod=read_pod(settings.cron_job_pod_file) if settings.cron_job_pod_file else {},
    )
    cluster = Cluster(
        service.database,
        template,
        utc_now,
        api_url=settings.kubernetes_api_url,
        sync_seconds=settings.kubernetes_sync_seconds,
    )
    service.describers.append(cluster.describe)
    service.run(cluster.keep_cron_jobs)


def _namespace(settings: OrchestratorSettings) -> str:
    """Where the CronJobs are: as set, else the pod's own namespace; "" where there are none."""
    if settings.schedule_runner is Runner.SERVICE:
        return ""
    if settings.kubernetes_namespace:
        return settings.kubernetes_namespace
    return _POD_NAMESPACE.read_text().strip() if _POD_NAMESPACE.is_file() else "default"
