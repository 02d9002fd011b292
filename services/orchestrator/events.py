"""Events: what the orchestrator says, and what the sprint service tells it."""

from collections.abc import Sequence

from dsm.events.v1 import event_pb2, orchestrator_events_pb2

from services.kit.database import WriteHandle
from services.orchestrator.convert import answers, neighbours
from services.orchestrator.domain.decision import ModeConfig
from services.orchestrator.domain.episode import Episode
from services.orchestrator.store import episodes


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


async def apply(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    """Give the decisions whose sprints have closed their outcomes; a sprint closes once, so the first one stays."""
    outcomes = [neighbours.to_outcome(event.sprint_closed) for event in events]
    for episode in await episodes.record_outcomes(tx, outcomes):
        episode_recorded(tx, episode)
