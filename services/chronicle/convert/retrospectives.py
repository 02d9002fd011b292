"""Retrospectives, action items and statistics."""

from collections.abc import Callable
from datetime import datetime

from dsm.chronicle.v1 import chronicle_service_pb2
from dsm.chronicle.v1 import note_pb2 as pb

from services.chronicle.convert import canonical_id, time_of
from services.chronicle.domain.notes import (
    ActionItem,
    ActionItemChange,
    ActionItemState,
    Retrospective,
    RetrospectiveTask,
    Statistics,
    completion_rate,
    statistics_of,
)
from services.kit.convert import from_date, from_time, to_date

_STATE = "ACTION_ITEM_STATE_"


def decode(message: pb.Retrospective, new_id: Callable[[], str], now: datetime) -> Retrospective:
    """The retrospective, with ids and a time for what has none, and the figures that its tasks tell if it has none."""
    tasks = tuple(_decode_task(task) for task in message.tasks_summary)
    given = message.HasField("statistics")
    return Retrospective(
        retrospective_id=canonical_id(message.retrospective_id or new_id()),
        sprint_id=message.sprint_id,
        project_id=message.project_id,
        sprint_name=message.sprint_name,
        start_date=to_date(message.start_date, "retrospective.start_date"),
        end_date=to_date(message.end_date, "retrospective.end_date"),
        duration_weeks=message.duration_weeks,
        what_went_well=tuple(message.what_went_well),
        what_could_be_improved=tuple(message.what_could_be_improved),
        action_items=tuple(_decode_item(item, new_id, now) for item in message.action_items),
        facilitator_id=message.facilitator_id,
        attendee_ids=tuple(message.attendee_ids),
        tasks_summary=tasks,
        statistics=_decode_statistics(message.statistics) if given else statistics_of(tasks),
        create_time=time_of(message, "create_time") or now,
    )


def encode(note: Retrospective) -> pb.Retrospective:
    """The retrospective as sent."""
    return pb.Retrospective(
        retrospective_id=note.retrospective_id,
        sprint_id=note.sprint_id,
        project_id=note.project_id,
        sprint_name=note.sprint_name,
        start_date=from_date(note.start_date),
        end_date=from_date(note.end_date),
        duration_weeks=note.duration_weeks,
        what_went_well=note.what_went_well,
        what_could_be_improved=note.what_could_be_improved,
        action_items=[encode_item(item) for item in note.action_items],
        facilitator_id=note.facilitator_id,
        attendee_ids=note.attendee_ids,
        tasks_summary=[_encode_task(task) for task in note.tasks_summary],
        statistics=_encode_statistics(note.statistics) if note.statistics else None,
        create_time=from_time(note.create_time),
    )


def encode_item(item: ActionItem) -> pb.ActionItem:
    """The action item as sent."""
    return pb.ActionItem(
        action_item_id=item.action_item_id,
        description=item.description,
        state=pb.ActionItemState.Value(_STATE + item.state),
        owner_id=item.owner_id,
        impediment_id=item.impediment_id,
        update_time=from_time(item.update_time),
    )


def decode_change(request: chronicle_service_pb2.UpdateActionItemRequest) -> ActionItemChange:
    """What the request changes."""
    return ActionItemChange(
        state=_state(request.state) if request.state else None,
        owner_id=request.owner_id if request.HasField("owner_id") else None,
        description=request.description if request.HasField("description") else None,
    )


def _state(value: pb.ActionItemState.ValueType) -> ActionItemState:
    return ActionItemState(pb.ActionItemState.Name(value).removeprefix(_STATE))


def _decode_item(message: pb.ActionItem, new_id: Callable[[], str], now: datetime) -> ActionItem:
    return ActionItem(
        action_item_id=canonical_id(message.action_item_id or new_id()),
        description=message.description,
        state=_state(message.state) if message.state else ActionItemState.OPEN,
        owner_id=message.owner_id,
        impediment_id=message.impediment_id,
        update_time=now,
    )


def _decode_task(message: pb.RetrospectiveTask) -> RetrospectiveTask:
    return RetrospectiveTask(
        task_id=message.task_id,
        description=message.description,
        status=message.status,
        employee_id=message.employee_id,
        progress_percent=message.progress_percent,
        points=message.points if message.HasField("points") else None,
    )


def _encode_task(task: RetrospectiveTask) -> pb.RetrospectiveTask:
    return pb.RetrospectiveTask(
        task_id=task.task_id,
        description=task.description,
        status=task.status,
        employee_id=task.employee_id,
        progress_percent=task.progress_percent,
        points=task.points,
    )


def _decode_statistics(message: pb.SprintStatistics) -> Statistics:
    rate = completion_rate(message.completed_tasks, message.released_tasks)
    per_day = message.points_per_person_day
    return Statistics(
        planned_tasks=message.planned_tasks,
        planned_points=message.planned_points,
        completed_tasks=message.completed_tasks,
        completed_points=message.completed_points,
        released_tasks=message.released_tasks,
        released_points=message.released_points,
        added_tasks=message.added_tasks,
        removed_tasks=message.removed_tasks,
        capacity_person_days=message.capacity_person_days,
        completion_rate=message.completion_rate if message.HasField("completion_rate") else rate,
        points_per_person_day=per_day if message.HasField("points_per_person_day") else None,
        impediments_raised=message.impediments_raised,
        impediments_resolved=message.impediments_resolved,
        team_size=message.team_size,
        working_days=message.working_days,
    )


def _encode_statistics(statistics: Statistics) -> pb.SprintStatistics:
    return pb.SprintStatistics(
        planned_tasks=statistics.planned_tasks or 0,
        planned_points=statistics.planned_points or 0,
        completed_tasks=statistics.completed_tasks,
        completed_points=statistics.completed_points,
        released_tasks=statistics.released_tasks,
        released_points=statistics.released_points,
        added_tasks=statistics.added_tasks,
        removed_tasks=statistics.removed_tasks,
        capacity_person_days=statistics.capacity_person_days,
        completion_rate=statistics.completion_rate,
        points_per_person_day=statistics.points_per_person_day,
        impediments_raised=statistics.impediments_raised,
        impediments_resolved=statistics.impediments_resolved,
        team_size=statistics.team_size,
        working_days=statistics.working_days,
    )
