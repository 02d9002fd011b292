"""What can go wrong with a backlog, one class per business error."""

from services.kit.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound


class ProjectNotFound(NotFound):
    """The project service knows no such project."""

    reason = "PROJECT_NOT_FOUND"

    def __init__(self, project_id: str) -> None:
        super().__init__(f"There is no project {project_id}.", project_id=project_id)


class ProjectArchived(FailedPrecondition):
    """The project is read-only."""

    reason = "PROJECT_ARCHIVED"

    def __init__(self, project_id: str) -> None:
        super().__init__(f"Project {project_id} is archived and read-only.", project_id=project_id)


class TaskNotFound(NotFound):
    """No such task, or it is deleted."""

    reason = "TASK_NOT_FOUND"

    def __init__(self, task_id: str) -> None:
        super().__init__(f"There is no task {task_id}.", task_id=task_id)


class StoryNotFound(NotFound):
    """No such story."""

    reason = "STORY_NOT_FOUND"

    def __init__(self, story_id: str) -> None:
        super().__init__(f"There is no story {story_id}.", story_id=story_id)


class InvalidTaskTransition(FailedPrecondition):
    """The task's state cannot change that way."""

    reason = "INVALID_TASK_TRANSITION"

    def __init__(self, task_id: str, present: str, wanted: str) -> None:
        super().__init__(
            f"Task {task_id} cannot go from {present} to {wanted}.",
            task_id=task_id,
            **{"from": present, "to": wanted},
        )


class TaskOwnedBySprint(FailedPrecondition):
    """An open sprint owns the task's state, progress and assignee."""

    reason = "TASK_OWNED_BY_SPRINT"

    def __init__(self, task_id: str, sprint_id: str, use: str) -> None:
        super().__init__(
            f"Task {task_id} is in sprint {sprint_id}: use {use}.", task_id=task_id, sprint_id=sprint_id, use=use
        )


class OriginKeyAlreadyExists(AlreadyExists):
    """Another task or story of the project has this key in its origin."""

    reason = "ORIGIN_KEY_ALREADY_EXISTS"

    def __init__(self, project_id: str, origin_key: str, task_id: str | None = None) -> None:
        super().__init__(
            f"Project {project_id} already has {origin_key} of that origin.",
            project_id=project_id,
            origin_key=origin_key,
            task_id=task_id,
        )


class DependencyCycle(FailedPrecondition):
    """A task would have to wait for itself."""

    reason = "DEPENDENCY_CYCLE"

    def __init__(self, task_id: str, depends_on: str) -> None:
        super().__init__(
            f"Task {task_id} cannot depend on {depends_on}, which waits for it.", task_id=task_id, depends_on=depends_on
        )


class RecurrenceRuleInvalid(InvalidArgument):
    """Not an RRULE of RFC 5545."""

    reason = "RECURRENCE_RULE_INVALID"

    def __init__(self, field: str, value: str) -> None:
        super().__init__(field, "must be an RFC 5545 RRULE, as FREQ=WEEKLY;BYDAY=MO", value)


class NoUnassignedTasks(FailedPrecondition):
    """Nothing is free to be planned."""

    reason = "NO_UNASSIGNED_TASKS"

    def __init__(self, project_id: str) -> None:
        super().__init__(f"No task of project {project_id} is free to be planned.", project_id=project_id)


class TaskNotAvailable(FailedPrecondition):
    """A task asked for by id is not free to be planned; `depends_on` names what it still waits for."""

    reason = "TASK_NOT_AVAILABLE"

    def __init__(self, task_id: str, state: str, depends_on: str | None = None) -> None:
        why = f"waits for {depends_on}" if depends_on else f"is {state}"
        super().__init__(
            f"Task {task_id} cannot be planned: it {why}.", task_id=task_id, state=state, depends_on=depends_on
        )


class ReservationReleased(FailedPrecondition):
    """The sprint's reservation is over and cannot be used again."""

    reason = "RESERVATION_RELEASED"

    def __init__(self, sprint_id: str) -> None:
        super().__init__(f"The reservation of sprint {sprint_id} was released.", sprint_id=sprint_id)


class ProjectMismatch(FailedPrecondition):
    """Task and story, parent or dependency are of different projects."""

    reason = "PROJECT_MISMATCH"

    def __init__(self, task_id: str, project_id: str) -> None:
        super().__init__(f"Task {task_id} is not of project {project_id}.", task_id=task_id, project_id=project_id)
