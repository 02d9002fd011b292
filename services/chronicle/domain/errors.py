"""The chronicle's own errors."""

from services.kit.errors import AlreadyExists, NotFound


class NoteAlreadyExists(AlreadyExists):
    """The sprint has its planning note or retrospective, or its report of that day."""

    reason = "NOTE_ALREADY_EXISTS"

    def __init__(self, what: str, sprint_id: str, note_id: str) -> None:
        super().__init__(f"Sprint {sprint_id} has {what} already: {note_id}.", sprint_id=sprint_id, note_id=note_id)


class ActionItemNotFound(NotFound):
    """No action item has this id."""

    reason = "ACTION_ITEM_NOT_FOUND"

    def __init__(self, action_item_id: str) -> None:
        super().__init__(f"There is no action item {action_item_id}.", action_item_id=action_item_id)


class ProjectNotFound(NotFound):
    """History knows nothing of the project."""

    reason = "PROJECT_NOT_FOUND"

    def __init__(self, project_id: str) -> None:
        super().__init__(f"The chronicle has nothing about project {project_id}.", project_id=project_id)
