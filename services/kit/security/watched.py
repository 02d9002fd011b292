"""Files that are read again when they change: secrets, keys and tokens are replaced under running processes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import structlog

log = structlog.get_logger()

T = TypeVar("T")
LOOK_SECONDS = 1.0


class FileUnusable(Exception):
    """A file named by a setting cannot be read, or does not hold what it should; one sentence without its content."""


class WatchedFile(Generic[T]):
    """What a file holds, by `parse`, which raises ValueError with words that quote nothing of it.

    FileUnusable at first; later, what was there stays. The file is looked at once a second at most, and only when it is
    asked for; `version` grows when it has changed.
    """

    def __init__(self, setting: str, path: str, parse: Callable[[bytes], T]) -> None:
        self.version = 0
        self._name = f"{setting} names {path}"
        self._path = Path(path)
        self._parse = parse
        self._looked = time.monotonic()
        self._seen = self._stamp()
        self._value = self._read()

    def get(self) -> T:
        """What the file holds now, or held when it was last good."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._look()
        return self._value

    def _look(self) -> None:
        try:
            if (stamp := self._stamp()) == self._seen:
                return
            # Before reading: what makes no sense is told of once for each change.
            self._seen = stamp
            self._value = self._read()
        except FileUnusable as error:
            log.warning("file.unusable", why=str(error))
        else:
            self.version += 1
            log.info("file.read_again", path=str(self._path))

    def _stamp(self) -> tuple[int, int, int]:
        try:
            stat = self._path.stat()
        except OSError as error:
            raise FileUnusable(f"{self._name}, which cannot be read ({error.strerror}): correct it.") from None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino

    def _read(self) -> T:
        try:
            return self._parse(self._path.read_bytes())
        except OSError as error:
            raise FileUnusable(f"{self._name}, which cannot be read ({error.strerror}): correct it.") from None
        except ValueError as error:
            raise FileUnusable(f"{self._name}, which cannot be used, because {error}: correct it.") from None
