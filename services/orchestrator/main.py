"""Wiring of the orchestrator."""

from datetime import timedelta

from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.orchestrator.v1 import orchestrator_service_pb2_grpc as grpc_pb
from pydantic import Field

from services.kit.clock import utc_now
from services.kit.service import StatefulService
from services.kit.settings import StatefulSettings
from services.orchestrator import events
from services.orchestrator.act import Actor
from services.orchestrator.domain.decision import ModeConfig
from services.orchestrator.domain.schedule import Keeping, MissedRuns, Policy, Runner
from services.orchestrator.handlers import OrchestratorHandlers
from services.orchestrator.keeper import Keeper
from services.orchestrator.learning import Learner
from services.orchestrator.memory import Memory
from services.orchestrator.observe import Observer
from services.orchestrator.pipeline import Pipeline

NAME = "orchestrator"


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
    )
    keeping = Keeping(settings.schedule_runner)
    keeper = Keeper(
        service.database,
        sprint,
        pipeline,
        utc_now,
        policy=Policy(settings.missed_runs, timedelta(seconds=settings.starting_deadline_seconds)),
        poll_seconds=settings.schedule_poll_seconds,
    )
    learner = Learner(service.database, utc_now, every_seconds=60 * settings.evolve_every_minutes)
    handlers = OrchestratorHandlers(  # type: ignore[abstract]
        service.database, observer, memory, pipeline, learner, utc_now, keeping
    )
    service.serve(
        pb.DESCRIPTOR.services_by_name["OrchestratorService"],
        grpc_pb.add_OrchestratorServiceServicer_to_server,
        handlers,
    )
    service.consume("DSM_SPRINT", events.SPRINT_SUBJECTS, events.apply)
    service.run(memory.keep_embedded)
    service.run(pipeline.carry_on)
    service.run(learner.keep_learning)
    service.run(keeper.keep_jobs)
    service.run(keeper.keep_orchestrations)
    if settings.schedule_runner is Runner.SERVICE:
        service.run(keeper.keep_scrums)
    return service
