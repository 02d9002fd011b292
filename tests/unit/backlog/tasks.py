"""Tasks to try the rules on."""

from __future__ import annotations

from datetime import UTC, datetime

from services.backlog.domain.task import RANK_STEP, Content, Course, Task, new_task

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


def make_task(number: int = 1, *, course: Course | None = None, **content: object) -> Task:
    given_content = Content(title="T", **content)  # type: ignore[arg-type]
    return new_task("P", number, number * RANK_STEP, given_content, NOW, course)
