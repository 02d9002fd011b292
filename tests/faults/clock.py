"""The time that services are told instead of the real one."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path


class Clock:
    """What tells services what time it is, by a file that they read at every look."""

    def __init__(self, file: Path, now: datetime) -> None:
        self.file = file
        self.now = now
        self.set(now)

    def set(self, now: datetime) -> None:
        """It is now."""
        self.now = now
        # At once as a whole: it is read at any moment.
        new = self.file.with_suffix(".new")
        new.write_text(now.isoformat())
        new.rename(self.file)

    def advance(self, by: timedelta) -> None:
        """It is so much later."""
        self.set(self.now + by)
