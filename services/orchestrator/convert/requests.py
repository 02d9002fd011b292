"""What callers ask for."""

from uuid import UUID

from dsm.orchestrator.v1 import decision_pb2

from services.kit.convert import to_date_or_none
from services.orchestrator.convert.presence import optional
from services.orchestrator.domain.decision import DecisionMode, DecisionSource, ModeConfig
from services.orchestrator.domain.situation import (
    Options,
    OrchestrateAction,
)


def to_action(value: int) -> OrchestrateAction:
    """What is asked for; unspecified = to analyze and act."""
    only = value == decision_pb2.ORCHESTRATE_ACTION_ANALYZE_ONLY
    return OrchestrateAction.ANALYZE_ONLY if only else OrchestrateAction.ANALYZE_AND_ORCHESTRATE


def to_options(options: decision_pb2.OrchestrateOptions) -> Options:
    """The options as given; InvalidArgument for a day that the calendar does not have."""
    return Options(
        create_sprint_if_needed=optional(options, "create_sprint_if_needed"),
        assign_tasks=optional(options, "assign_tasks"),
        create_cronjob=optional(options, "create_cronjob"),
        schedule=options.schedule,
        sprint_duration_weeks=options.sprint_duration_weeks,
        max_tasks_per_sprint=options.max_tasks_per_sprint,
        dry_run=options.dry_run,
        close_finished_sprint=optional(options, "close_finished_sprint"),
        start_date=to_date_or_none(options.start_date, "options.start_date"),
        as_of_date=to_date_or_none(options.as_of_date, "options.as_of_date"),
        roll_over_unfinished=options.roll_over_unfinished,
    )


def to_mode(config: decision_pb2.DecisionModeConfig, default_threshold: float) -> ModeConfig:
    """A configuration with its defaults filled in."""
    given = config.HasField
    return ModeConfig(
        mode=DecisionMode(decision_pb2.DecisionMode.Name(config.mode).removeprefix("DECISION_MODE_")),
        confidence_threshold=config.confidence_threshold if given("confidence_threshold") else default_threshold,
        enable_task_count_adjustment=optional(config, "enable_task_count_adjustment") is not False,
        enable_sprint_duration_adjustment=optional(config, "enable_sprint_duration_adjustment") is not False,
        enable_points_adjustment=optional(config, "enable_points_adjustment") is not False,
    )


def to_source(value: decision_pb2.DecisionSource.ValueType) -> DecisionSource | None:
    """A source; unspecified = None."""
    if value == decision_pb2.DECISION_SOURCE_UNSPECIFIED:
        return None
    return DecisionSource(decision_pb2.DecisionSource.Name(value).removeprefix("DECISION_SOURCE_"))


def to_id(text: str) -> UUID | None:
    """An id; empty = None."""
    return UUID(text) if text else None
