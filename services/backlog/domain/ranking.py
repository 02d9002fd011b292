"""Ranks: a place between two others, and new ranks for neighbours where there is none left."""

from services.backlog.domain.task import RANK_STEP

# Windows of neighbours to spread anew, smallest first, each with the least room that must be between two afterwards.
# Plenty of room in a small one lasts long; only a crowd of tasks ranked into one place needs a large one.
_WINDOWS = ((16, RANK_STEP >> 10), (128, RANK_STEP >> 12), (1024, RANK_STEP >> 14))
_LEAST_GAP = 2


def rank_between(lower: int | None, upper: int | None) -> int | None:
    """A rank between two neighbours' ranks (None = nobody is there); None if there is none left."""
    if lower is None:
        return RANK_STEP if upper is None else upper - RANK_STEP
    if upper is None:
        return lower + RANK_STEP
    return (lower + upper) // 2 if upper - lower >= _LEAST_GAP else None


def window_of(attempt: int) -> tuple[int, int]:
    """How many neighbours on each side to spread anew at an attempt (0, 1, …), and the least room between two.

    The windows grow without end, since only the whole list is sure to have room.
    """
    size, gap = _WINDOWS[min(attempt, len(_WINDOWS) - 1)]
    further = attempt - len(_WINDOWS) + 1
    return (size * 8**further // 2, _LEAST_GAP) if further > 0 else (size // 2, gap)


def spread(count: int, lower: int | None, upper: int | None, least_gap: int) -> list[int] | None:
    """`count` ranks evenly between two exclusive bounds, of which one or both may be None; None if too tight."""
    if lower is None:
        last = RANK_STEP * count if upper is None else upper - RANK_STEP
        return [last - RANK_STEP * (count - 1 - index) for index in range(count)]
    gap = RANK_STEP if upper is None else (upper - lower) // (count + 1)
    return [lower + gap * (index + 1) for index in range(count)] if gap >= least_gap else None
