"""What is logged never stands in the way of what it is about."""

from typing import TextIO, cast

import pytest
import structlog

from services.kit.telemetry import log


class _FullDisk:
    """A log file on a disk that is full."""

    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_a_log_that_cannot_be_written_costs_nothing_but_the_line() -> None:
    with pytest.raises(OSError, match="No space"):
        structlog.PrintLogger(cast(TextIO, _FullDisk())).msg("said")
    structlog.PrintLogger(cast(TextIO, log.Patient(cast(TextIO, _FullDisk())))).msg("said")
