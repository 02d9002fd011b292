"""What clients asked and were told, kept in memory and, line by line, in a file."""

from __future__ import annotations

import itertools
import json
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

from google.protobuf.message import Message

# unknown = it may have happened or not: nobody said.
Outcome = Literal["ok", "failed", "unknown"]
# What says nothing about whether the call had its effect.
_UNKNOWN = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"}
# What a client is never to see, whatever happens.
FAULTS_OF_OURS = {"INTERNAL", "UNKNOWN", "DATA_LOSS"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One call: what was asked of whom, when (seconds since the history began), and what the client was told."""

    number: int
    client: str
    service: str
    method: str
    request_id: str
    request: str
    asked: float
    told: float
    code: str
    reason: str
    body: bytes = field(repr=False)
    details: str = ""

    @property
    def outcome(self) -> Outcome:
        """What the client may conclude."""
        return "ok" if self.code == "OK" else "unknown" if self.code in _UNKNOWN else "failed"


class History:
    """All calls of a run, in the order in which they were told."""

    def __init__(self, folder: Path, name: str, seed: object) -> None:
        self.path = folder / f"{name}.jsonl"
        self.seed = seed
        self.entries: list[Entry] = []
        self._began = time.monotonic()
        self._numbers = itertools.count(1)
        folder.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = self.path.open("w")
        self._write({"history": name, "seed": str(seed), "time": time.time()})

    @property
    def now(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def note(self, what: str, **facts: object) -> None:
        """Keep what else happened: a fault, a healing."""
        self._write({"at": round(self.now, 3), "what": what, **facts})

    def add(
        self,
        client: str,
        service: str,
        method: str,
        request: Message,
        asked: float,
        code: str,
        *,
        reason: str = "",
        body: bytes = b"",
        details: str = "",
    ) -> Entry:
        """Keep a call that is over."""
        entry = Entry(
            number=next(self._numbers),
            client=client,
            service=service,
            method=method,
            request_id=getattr(request, "request_id", ""),
            request=" ".join(str(request).split()),
            asked=asked,
            told=self.now,
            code=code,
            reason=reason,
            body=body,
            details=details,
        )
        self.entries.append(entry)
        line = {name: getattr(entry, name) for name in Entry.__slots__ if name != "body"}
        line |= {"outcome": entry.outcome, "asked": round(asked, 4), "told": round(entry.told, 4)}
        self._write(line | {"body": body.hex()})
        return entry

    def by_request(self) -> dict[str, list[Entry]]:
        """The calls of each request_id."""
        found: dict[str, list[Entry]] = defaultdict(list)
        for entry in self.entries:
            if entry.request_id:
                found[entry.request_id].append(entry)
        return found

    def count(self, outcome: Outcome) -> int:
        """How many calls were told so."""
        return sum(entry.outcome == outcome for entry in self.entries)

    def throughput(self) -> float:
        """Acknowledged calls per second, from the first asked to the last told."""
        if not self.entries:
            return 0.0
        return self.rate(min(entry.asked for entry in self.entries), max(entry.told for entry in self.entries))

    def rate(self, since: float, until: float) -> float:
        """Calls acknowledged per second between two moments of the history."""
        acknowledged = sum(entry.outcome == "ok" and since <= entry.told <= until for entry in self.entries)
        return acknowledged / (until - since) if until > since else 0.0

    def about(self, *words: str, limit: int = 40) -> list[str]:
        """The last calls that name one of these words, to tell how it came to something."""
        return [line for line in map(_line, self.entries) if any(word in line for word in words)][-limit:]

    def _write(self, line: dict[str, object]) -> None:
        self._file.write(json.dumps(line, default=str) + "\n")
        self._file.flush()


def final(entries: Iterable[Entry]) -> Outcome:
    """What a client may conclude from all calls with one request_id."""
    outcomes = {entry.outcome for entry in entries}
    return "ok" if "ok" in outcomes else "unknown" if "unknown" in outcomes else "failed"


def _line(entry: Entry) -> str:
    said = f"{entry.code} {entry.reason}".strip()
    return f"{entry.asked:.2f}-{entry.told:.2f} {entry.client} {entry.method}({entry.request}) -> {said}"
