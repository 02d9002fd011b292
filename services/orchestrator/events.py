"""Events: what the orchestrator says, and what the sprint service tells it."""

from collections.abc import Sequence

from dsm.events.v1 import event_pb2, orchestrator_events_pb2

from services.kit.clock import utc_now
from services.kit.data.database import WriteHandle
from services.orchestrator.convert import answers, forecasts, neighbours, schedules
from services.orchestrator.convert.strategies import from_strategy
from services.orchestrator.domain.decision import ModeConfig
from services.orchestrator.domain.episode import Episode, reassess
from services.orchestrator.domain.evolution import Change, credit
from services.orchestrator.domain.schedule import Wish
from services.orchestrator.domain.timetable import Timetable
from services.orchestrator.store import episodes, strategies, timetables
from services.orchestrator.store import forecasts as forecast_store
from services.orchestrator.store import schedules as schedule_store


def decision_made(tx: WriteHandle, episode: Episode) -> None:
    """Say that a decision was made, or that its actions went on, with the episode that remembers it."""
    record = episode.record
    tx.emit(
        orchestrator_events_pb2.DecisionMade(decision=answers.from_record(episode)),
        aggregate=("decision", str(record.decision_id)),
        version=episode.version,
        project_id=record.project_id,
    )
    episode_recorded(tx, episode)


def episode_recorded(tx: WriteHandle, episode: Episode) -> None:
    """Say that memory has an episode, or that the episode has its outcome."""
    tx.emit(
        orchestrator_events_pb2.EpisodeRecorded(episode=answers.from_episode(episode)),
        aggregate=("episode", str(episode.episode_id)),
        version=episode.version,
        project_id=episode.record.project_id,
    )


def mode_changed(tx: WriteHandle, project_id: str, config: ModeConfig, version: int) -> None:
    """Say that a project decides in another mode."""
    tx.emit(
        orchestrator_events_pb2.DecisionModeChanged(config=answers.from_mode(config), project_id=project_id),
        aggregate=("decision_mode", project_id),
        version=version,
        project_id=project_id,
    )


def strategy_evolved(tx: WriteHandle, change: Change) -> None:
    """Say that a strategy was learned, changed or retired, and why."""
    strategy = change.strategy
    tx.emit(
        orchestrator_events_pb2.StrategyEvolved(strategy=from_strategy(strategy), reason=change.reason),
        aggregate=("strategy", str(strategy.strategy_id)),
        version=strategy.version,
        project_id=strategy.project_id,
    )


def wish_changed(tx: WriteHandle, wish: Wish) -> None:
    """Say that a project wants its daily scrums by themselves, at another time, or no more."""
    tx.emit(
        orchestrator_events_pb2.DailyScrumScheduleChanged(schedule=schedules.from_wish(wish)),
        aggregate=("daily_scrum_schedule", wish.project_id),
        version=wish.version,
        project_id=wish.project_id,
    )


def timetable_changed(tx: WriteHandle, timetable: Timetable) -> None:
    """Say that a project is orchestrated by itself, at another time, or no more."""
    tx.emit(
        orchestrator_events_pb2.OrchestrationScheduleChanged(schedule=schedules.from_timetable(timetable)),
        aggregate=("orchestration_schedule", timetable.project_id),
        version=timetable.version,
        project_id=timetable.project_id,
    )


# What `apply_projects` takes of the project service's stream, and `apply` of the sprint service's.
PROJECT_SUBJECTS = ("dsm.project.v1.project.updated",)
SPRINT_SUBJECTS = (
    "dsm.sprint.v1.sprint.started",
    "dsm.sprint.v1.sprint.closed",
    "dsm.sprint.v1.sprint.abandoned",
)


async def apply(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    """Follow the sprints: those that open or end get or lose their cron jobs, those that close have an outcome.

    What they came to also says how forecasts did.
    """
    told = [schedules.to_told(event) for event in events]
    await schedule_store.track(tx, told)
    await schedule_store.sync(tx, sorted({sprint.project_id for sprint in told}), utc_now())
    closed = [event for event in events if event.HasField("sprint_closed")]
    await forecast_store.learn(tx, [forecasts.to_closing(event.sprint_closed) for event in closed])
    await _learn(tx, closed)


async def apply_projects(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    """Follow the projects' time zones, by which they are orchestrated."""
    newest = sorted(events, key=lambda event: event.aggregate_version)
    zones = {event.project_id: event.project_updated.project.time_zone or "UTC" for event in newest}
    now = utc_now()
    for timetable in await timetables.locked(tx, list(zones)):
        zone = zones[timetable.project_id]
        if zone != timetable.timer.time_zone:
            timetable_changed(tx, await timetables.put(tx, timetable.moved(zone, now)))


async def _learn(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    """Give the decisions whose sprints have closed their outcomes; a sprint closes once, so the first one stays."""
    outcomes = [neighbours.to_outcome(event.sprint_closed) for event in events]
    learned = [reassess(episode) for episode in await episodes.record_outcomes(tx, outcomes)]
    await episodes.reassess(tx, learned)
    for episode in learned:
        episode_recorded(tx, episode)
    await _credit(tx, learned)


async def _credit(tx: WriteHandle, learned: Sequence[Episode]) -> None:
    """Credit or blame the strategies of decisions whose outcome is known; an empty sprint says nothing of them."""
    judging = [episode for episode in learned if episode.outcome and episode.outcome.completion_rate is not None]
    applied = {strategy_id for episode in judging for strategy_id in episode.record.strategy_ids}
    if not applied:
        return
    known = await strategies.locked(tx, applied)
    for episode in judging:
        for strategy_id in episode.record.strategy_ids:
            success = bool(episode.outcome and episode.outcome.success)
            change = credit(known[strategy_id], episode.episode_id, success, utc_now())
            known[strategy_id] = change.strategy
            await strategies.put(tx, [change])
            strategy_evolved(tx, change)
