"""Admission: how many calls a server works on at once; the others are turned away before they cost anything."""

from prometheus_client import Gauge

from services.kit.errors import Overloaded, Unavailable


class Draining(Unavailable):
    """The server is about to stop."""

    reason = "DRAINING"

    def __init__(self) -> None:
        super().__init__("The server is shutting down; another one takes the call.")


class Admission:
    """The calls of one kind: `with` it while one is at work. Raises Draining, or Overloaded at the limit."""

    def __init__(self, what: str, limit: int, at_work: Gauge) -> None:
        self.draining = False
        self._what = what
        self._limit = limit
        self.at_work = 0
        at_work.set_function(lambda: self.at_work)

    def __enter__(self) -> None:
        if self.draining:
            raise Draining
        if self.at_work >= self._limit:
            raise Overloaded(self._what, self._limit)
        self.at_work += 1

    def __exit__(self, *_: object) -> None:
        self.at_work -= 1
