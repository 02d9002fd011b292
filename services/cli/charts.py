"""Figures drawn with characters: bars, burndown, velocity."""

from collections.abc import Sequence
from typing import Any

from dsm.chronicle.v1.analytics_pb2 import SprintVelocity
from dsm.sprint.v1.sprint_pb2 import BurndownDay
from rich.text import Text

_WIDTH = 76
_HEIGHT = 16
_MOST_LABELS = 7
_STEPS = 4


def bar(value: float, full: float, *, mark: float | None = None, width: int = 24) -> Text:
    """A bar of `width` cells that is full at `full`; `mark` is shown as a line at its place."""
    filled = _cells(value, full, width)
    text = Text.assemble(("█" * filled, "cyan"), ("·" * (width - filled), "dim"))
    if mark is not None:
        at = min(width - 1, _cells(mark, full, width))
        text = text[:at] + Text("│", style="bold yellow") + text[at + 1 :]
    return text


def burndown(days: Sequence[BurndownDay], start_points: float, start_tasks: int) -> Text:
    """What is left at the end of each working day against the ideal line: in points or, without points, in tasks."""
    in_points = start_points > 0
    worked = [day for day in days if day.working_day]
    ideal = [day.ideal_points if in_points else day.ideal_tasks for day in worked]
    past = [day for day in worked if day.HasField("remaining_tasks")]
    left = [day.remaining_points if in_points else float(day.remaining_tasks) for day in past]
    # Everybody starts from the whole on the morning of the first day.
    start = start_points if in_points else float(start_tasks)
    figure = _figure(f"{'Points' if in_points else 'Tasks'} left at the end of each working day (• at an even pace)")
    _draw(figure, [start, *ideal], "dot")
    _draw(figure, [start, *left], "hd")
    _scale(figure, max(start, *left, 1.0))
    _label(figure, ["start", *(day.date[5:] for day in worked)])
    return _text(figure)


def velocity(sprints: Sequence[SprintVelocity]) -> list[tuple[str, Text, str]]:
    """For each sprint its name, a bar of what was completed with a mark at what was planned, and the figures."""
    in_points = any(sprint.completed_points for sprint in sprints)
    unit = "points" if in_points else "tasks"
    figures = [
        (
            sprint.sprint_id,
            sprint.completed_points if in_points else float(sprint.completed_tasks),
            sprint.planned_points if in_points else float(sprint.planned_tasks),
        )
        for sprint in sprints
    ]
    full = max((max(done, planned) for _, done, planned in figures), default=0.0)
    return [
        (name, bar(done, full, mark=planned, width=40), f"{done:g} of {planned:g} {unit}")
        for name, done, planned in figures
    ]


def _cells(value: float, full: float, width: int) -> int:
    return round(width * min(value, full) / full) if full > 0 else 0


def _figure(title: str) -> Any:
    import plotext

    figure = plotext.figure
    figure.clear()
    figure.theme("simple")
    figure.plot_size(_WIDTH, _HEIGHT)
    figure.title(title)
    return figure


def _draw(figure: Any, values: Sequence[float], marker: str) -> None:
    signal = figure.signal(list(range(len(values))), list(values), marker=marker)
    signal.lines()
    figure.draw(signal)


def _scale(figure: Any, top: float) -> None:
    figure.ruler("y").lim(0, top)
    ticks = [top * part / _STEPS for part in range(_STEPS + 1)]
    figure.ruler("y").ticks(ticks, [f"{tick:.0f}" for tick in ticks])


def _label(figure: Any, names: Sequence[str]) -> None:
    step = max(1, -(-len(names) // _MOST_LABELS))
    shown = range(0, len(names), step)
    figure.ruler("x").ticks(list(shown), [names[at] for at in shown])


def _text(figure: Any) -> Text:
    # Rich takes the colours away again where the output is no terminal.
    return Text.from_ansi(figure.build().string())
