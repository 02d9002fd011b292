"""What must hold once a fault is over: healing, quiet, and the invariants, from databases, streams and the history.

The ids I1 to I14 are those of CONTRIBUTING.md.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import nats
import nats.errors
import psycopg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError

from services.cli.names import STATEFUL
from tests.faults.history import FAULTS_OF_OURS, Entry, History, final
from tests.faults.load import FaultStage
from tests.faults.machine import READY_SECONDS, Machine
from tests.system.play.order import check_order

# I3, I5: how soon after the end of a fault everything is settled again. I8: how soon every flow has ended.
HEAL_SECONDS = 10.0
FLOW_SECONDS = 60.0

_AWAY = (psycopg.Error, nats.errors.Error, APIError, TimeoutError, OSError)
_MARK = "SELECT coalesce(max(position), 0) AS position FROM outbox"
_BEHIND = "SELECT count(*) AS n FROM outbox WHERE publish_time IS NULL AND position <= %(position)s"
_FLOWS = "SELECT saga_id::text, kind, key, status, step FROM saga WHERE status IN ('RUNNING', 'UNDOING')"
_RECORDS = "SELECT request_id::text, response FROM request_record WHERE request_id = ANY(%(ids)s::uuid[])"
_OUTBOX = "SELECT event_id::text, subject, aggregate_id, aggregate_version, publish_time FROM outbox ORDER BY position"
_INBOX = "SELECT event_id::text FROM inbox WHERE consumer = %(consumer)s"
_DEAD = "SELECT consumer, subject, event_id, error FROM dead_letter"
_MARKED = """
    SELECT description, count(*) AS n FROM task
    WHERE project_id = ANY(%(projects)s) AND description LIKE 'Asked as %%' GROUP BY description
"""
_MADE = "SELECT task_id FROM task WHERE project_id = %(project_id)s ORDER BY task_id"
# What the sprint service and the orchestrator have said, and the chronicle must have kept: exactly that, each once.
_SAID = {
    "planning notes": (
        ("sprint", "SELECT planning_note_id::text AS id FROM sprint WHERE state NOT IN ('PLANNING', 'ABANDONED')"),
        ("chronicle", "SELECT note_id::text AS id FROM planning_note"),
    ),
    "daily scrum reports": (
        ("sprint", "SELECT report_id::text AS id FROM daily_scrum"),
        ("chronicle", "SELECT report_id::text AS id FROM scrum_report"),
    ),
    "retrospectives": (
        ("sprint", "SELECT retrospective_id::text AS id FROM sprint WHERE retrospective_id IS NOT NULL"),
        ("chronicle", "SELECT retrospective_id::text AS id FROM retrospective"),
    ),
    "impediments": (
        ("sprint", "SELECT impediment_id::text || ' ' || state AS id FROM impediment"),
        ("chronicle", "SELECT impediment_id::text || ' ' || state AS id FROM impediment"),
    ),
    "decisions": (
        ("orchestrator", "SELECT decision_id::text AS id FROM decision"),
        ("chronicle", "SELECT audit_id::text AS id FROM decision_note"),
    ),
}
# Sums that every event adds to; an event applied twice shows here.
_FIGURES = """
    SELECT project_id, sprints, reports, retrospectives, decisions,
        (SELECT count(*) FROM known_sprint AS k WHERE k.project_id = f.project_id) AS true_sprints,
        (SELECT count(*) FROM scrum_report AS r WHERE r.project_id = f.project_id) AS true_reports,
        (SELECT count(*) FROM retrospective AS r WHERE r.project_id = f.project_id) AS true_retrospectives,
        (SELECT count(*) FROM decision_note AS d WHERE d.project_id = f.project_id) AS true_decisions
    FROM project_figures AS f
"""
_CLOSED_WITH_WORK = """
    SELECT t.task_id, t.sprint_id, s.state FROM sprint_task t JOIN sprint s USING (sprint_id)
    WHERE t.outcome IS NULL AND s.state NOT IN ('PLANNING', 'IN_PROGRESS', 'CLOSING')
"""


@dataclass
class Verdict:
    """What a run came to."""

    history: History
    happened: int = 0
    lost: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)
    healings: list[Healing] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """Everything that must not be."""
        return [*self.lost, *self.duplicates, *self.disagreements]

    def table(self, name: str) -> str:
        """The counts of the run, and where its history is."""
        told = self.history
        unknown = sum(final(entries) == "unknown" for entries in told.by_request().values())
        rows = {
            "acknowledged": told.count("ok"),
            "failed": told.count("failed"),
            "unknown": f"{told.count('unknown')} calls; {unknown} commands for ever, of which {self.happened} happened",
            "lost": len(self.lost),
            "duplicate": len(self.duplicates),
            "disagreements": len(self.disagreements),
            "time to heal": self._slowest(),
            "throughput": f"{told.throughput():.1f} acknowledged/s",
        }
        lines = [f"  {label:<14} {value}" for label, value in rows.items()]
        return "\n".join([f"{name}, seed {told.seed}, history {told.path}", *lines, *self._shown()])

    def _slowest(self) -> str:
        if not self.healings:
            return "-"
        ready, settled = max(one.ready for one in self.healings), max(one.settled for one in self.healings)
        whole = max(one.ready + one.settled for one in self.healings)
        return f"{whole:.1f} s at most of {len(self.healings)} faults: ready {ready:.1f} s, settled {settled:.1f} s"

    def _shown(self) -> list[str]:
        return [f"  ! {line[:600]}" for line in self.wrong[:20]]

    def passed(self, name: str, *, least: float = 1.0, settled: float = HEAL_SECONDS) -> None:
        """Print the table; fail if anything is wrong, or if too little was acknowledged for it to mean anything."""
        table = self.table(name)
        print("\n" + table)
        assert not self.wrong, table
        assert self.history.throughput() >= least, f"void: less than {least} acknowledged calls per second\n{table}"
        slow = [one for one in self.healings if one.settled > settled or one.ready > READY_SECONDS]
        assert not slow, f"healed too slowly\n{table}"


@dataclass(frozen=True)
class Healing:
    """How long a healing took, in seconds: until every service took calls, and from then until all was settled."""

    ready: float
    settled: float

    def __str__(self) -> str:
        return f"ready after {self.ready:4.1f} s, settled {self.settled:4.1f} s later"


async def healed(machine: Machine, *, seconds: float = FLOW_SECONDS) -> Healing:
    """Wait until all that was under way when everything was ready again is done.

    That is: every service takes calls, what was committed until then is published and consumed, and every flow that
    was open then has ended. Calls may go on meanwhile.
    """
    began = time.monotonic()

    def in_time(what: object) -> None:
        assert time.monotonic() - began < seconds, f"not healed after {seconds} s: {what}; {machine.tails()}"

    mark: _Mark | None = None
    while mark is None:
        await machine.ready()
        try:
            mark = await _marked(machine)
        except _AWAY as error:
            in_time(error)
            await asyncio.sleep(0.05)
    ready = time.monotonic()
    while True:
        try:
            behind = await _behind(machine, mark)
        except _AWAY as error:
            behind = [repr(error)]
        if not behind:
            return Healing(ready - began, time.monotonic() - ready)
        in_time(behind)
        await asyncio.sleep(0.1)


@dataclass
class _Mark:
    """Where everything stood when every service took calls again."""

    positions: dict[str, int]
    flows: set[str]
    # The last message of each stream, once all that was committed is published.
    sequences: dict[str, int] = field(default_factory=dict)
    consumed: set[tuple[str, str]] = field(default_factory=set)


async def _marked(machine: Machine) -> _Mark:
    positions = {name: (await machine.query(name, _MARK))[0]["position"] for name in STATEFUL}
    return _Mark(positions, {row["saga_id"] for row in await machine.query("sprint", _FLOWS)})


async def _behind(machine: Machine, mark: _Mark) -> list[str]:
    """What was under way at the mark and still is."""
    behind = []
    for name, position in mark.positions.items():
        if count := (await machine.query(name, _BEHIND, {"position": position}))[0]["n"]:
            behind.append(f"{count} events of {name} are not published")
    if behind:
        return behind
    async with _jetstream(machine) as js:
        for stream in await js.streams_info():
            name = str(stream.config.name)
            mark.sequences.setdefault(name, stream.state.last_seq)
            for info in await js.consumers_info(name):
                done = not info.num_pending and not info.num_ack_pending
                floor = info.ack_floor.stream_seq if info.ack_floor else 0
                if done or floor >= mark.sequences[name]:
                    mark.consumed.add((name, info.name))
                if (name, info.name) not in mark.consumed:
                    behind.append(f"{info.name}: {info.num_pending} pending, {info.num_ack_pending} not acknowledged")
    open_flows = await machine.query("sprint", _FLOWS)
    return behind + [f"flow {row}" for row in open_flows if row["saga_id"] in mark.flows]


async def quiet(machine: Machine, *, seconds: float = FLOW_SECONDS) -> float:
    """Wait, while nobody asks for anything, until nothing is under way; the seconds it took."""
    began = time.monotonic()
    while True:
        await healed(machine, seconds=seconds)
        open_flows = await machine.query("sprint", _FLOWS)
        behind = await _behind(machine, await _marked(machine))
        if not open_flows and not behind:
            return time.monotonic() - began
        waited = time.monotonic() - began
        assert waited < seconds, f"not quiet after {seconds} s: {open_flows} {behind}"


async def judge(stage: FaultStage, *, healings: Iterable[Healing] = (), resolve: bool = True) -> Verdict:
    """Wait until everything is quiet, resolve half of what is unknown, and hold the history against what is there."""
    machine, history = stage.machine, stage.told
    verdict = Verdict(history, healings=list(healings))
    await quiet(machine)
    if resolve:
        await stage.resolve()
        await quiet(machine)
    verdict.disagreements += stage.wrong
    verdict.disagreements += [f"{entry.method} {entry.code}: {entry.details}" for entry in _faults_of_ours(history)]
    await _judge_requests(stage, verdict)
    await _judge_tasks(stage, verdict)
    await judge_events(machine, verdict)
    await judge_effects(machine, verdict)
    verdict.disagreements += [line async for line in _published_reports(stage)]
    verdict.disagreements += await check_order(stage)
    return verdict


def _faults_of_ours(history: History) -> list[Entry]:
    return [entry for entry in history.entries if entry.code in FAULTS_OF_OURS]


async def _judge_requests(stage: FaultStage, verdict: Verdict) -> None:
    """I1, I2: whatever was answered is kept as it was answered, in the transaction of its effect."""
    by_request = verdict.history.by_request()
    kept: dict[str, bytes | None] = {}
    for service in STATEFUL:
        for row in await stage.machine.query(service, _RECORDS, {"ids": list(by_request)}):
            if row["request_id"] in kept:
                verdict.duplicates.append(f"I1 {row['request_id']} is answered by two services")
            kept[row["request_id"]] = row["response"]
    for request_id, entries in by_request.items():
        told, found = final(entries), kept.get(request_id)
        bodies = {entry.body for entry in entries if entry.code == "OK"}
        what = f"{entries[0].method} {request_id}"
        if len(bodies) > 1:
            verdict.duplicates.append(f"I1 {what} has {len(bodies)} answers")
        if told == "ok" and (found is None or bytes(found) not in bodies):
            verdict.lost.append(f"I1 {what} was answered, but {'another answer' if found else 'nothing'} is kept")
        if told == "failed" and found is not None:
            verdict.disagreements.append(f"I2 {what} was refused, but had an effect: {entries}")
        verdict.happened += told == "unknown" and found is not None


async def _judge_tasks(stage: FaultStage, verdict: Verdict) -> None:
    """I2: of every command that makes tasks all are there or none; those that clients know are among them."""
    rows = await stage.machine.query("backlog", _MARKED, {"projects": stage.projects})
    made = {row["description"]: row["n"] for row in rows}
    kept = {
        row["request_id"]
        for row in await stage.machine.query("backlog", _RECORDS, {"ids": list(verdict.history.by_request())})
    }
    for request_id, mark, count in stage.makers():
        expected = count if request_id in kept else 0
        found = made.get(mark, 0)
        if found < expected:
            verdict.lost.append(f"I2 {request_id} made {found} of {expected} tasks")
        elif found > expected:
            verdict.duplicates.append(f"I2 {request_id} made {found} tasks instead of {expected}")
    for ground in stage.grounds:
        there = await stage.machine.query("backlog", _MADE, {"project_id": ground.project_id})
        ids = [row["task_id"] for row in there]
        verdict.lost += [
            f"I1 {task_id} was told of and is not there" for task_id in sorted(set(ground.tasks) - set(ids))
        ]
        # Others were made by commands of which nobody was told anything; from here on they are known.
        ground.tasks[:] = ids


async def judge_events(machine: Machine, verdict: Verdict) -> None:
    """I4, I5, I6: every committed event is in its stream, nothing else is, and each consumer took each one in once."""
    streams = await read_streams(machine)
    committed: dict[str, str] = {}
    for service in STATEFUL:
        for row in await machine.query(service, _OUTBOX):
            committed[row["event_id"]] = row["subject"]
            if row["publish_time"] is None:
                verdict.lost.append(f"I5 {row['subject']} {row['event_id']} of {service} is not published")
    published = {event_id: subject for messages in streams.values() for event_id, subject in messages}
    for event_id in committed.keys() - published.keys():
        verdict.lost.append(f"I5 {committed[event_id]} {event_id} is marked as published and not in its stream")
    for event_id in published.keys() - committed.keys():
        if not published[event_id].startswith("dsm.in."):
            verdict.disagreements.append(f"I5 {published[event_id]} {event_id} is published, but was never committed")
    await _judge_inboxes(machine, verdict, streams)


async def _judge_inboxes(machine: Machine, verdict: Verdict, streams: Mapping[str, list[tuple[str, str]]]) -> None:
    buried: set[tuple[str, str]] = set()
    for service in STATEFUL:
        if not (await machine.query(service, "SELECT to_regclass('dead_letter') AS there"))[0]["there"]:
            continue
        for row in await machine.query(service, _DEAD):
            buried.add((row["consumer"], row["event_id"]))
            verdict.lost.append(f"I4 {row['consumer']} gave up {row['subject']} {row['event_id']}: {row['error']}")
    async with _jetstream(machine) as js:
        for stream, messages in streams.items():
            for info in await js.consumers_info(stream):
                subjects = {*(info.config.filter_subjects or ()), info.config.filter_subject}
                wanted = {event_id for event_id, subject in messages if event_id and subject in subjects}
                service = info.name.partition("-")[0]
                rows = await machine.query(service, _INBOX, {"consumer": info.name})
                taken = {row["event_id"] for row in rows} | {event for name, event in buried if name == info.name}
                for event_id in sorted(wanted - taken):
                    verdict.lost.append(f"I4 {info.name} never took in {event_id}")


async def judge_effects(machine: Machine, verdict: Verdict) -> None:
    """I4, I8: what was said is kept once and counted once; closed sprints hold no work."""
    for what, ((teller, said), (keeper, kept)) in _SAID.items():
        told = Counter(row["id"] for row in await machine.query(teller, said))
        there = Counter(row["id"] for row in await machine.query(keeper, kept))
        verdict.lost += [f"I4 {what}: {keeper} does not have {one}" for one in sorted(told - there)]
        verdict.duplicates += [f"I4 {what}: {keeper} has {one} too much" for one in sorted(there - told)]
    for row in await machine.query("chronicle", _FIGURES):
        for name in ("sprints", "reports", "retrospectives", "decisions"):
            if row[name] != row[f"true_{name}"]:
                verdict.duplicates.append(
                    f"I4 {row['project_id']}: {row[name]} {name} counted of {row[f'true_{name}']}"
                )
    for row in await machine.query("sprint", _CLOSED_WITH_WORK):
        verdict.disagreements.append(f"I8 {row['task_id']} is open in {row['sprint_id']}, which is {row['state']}")


async def _published_reports(stage: FaultStage) -> AsyncIterator[str]:
    """A report of which NATS did not say that it has it counts only if the stream has it."""
    streams = await read_streams(stage.machine)
    known = {event_id for event_id, _ in streams.get("DSM_SPRINT_IN", [])}
    if lost := set(stage.published) - known - {""}:
        # Published from outside without a message id: the stream has them, but not under their ids.
        kept = await stage.machine.query(
            "sprint",
            "SELECT event_id::text FROM reported_progress WHERE event_id = ANY(%(ids)s::uuid[])",
            {"ids": list(lost)},
        )
        for event_id in lost - {row["event_id"] for row in kept}:
            yield f"I4 the report {event_id} from outside was not taken in"


async def read_streams(machine: Machine) -> dict[str, list[tuple[str, str]]]:
    """Id and subject of every message of every stream of DSM, from the start."""
    found: dict[str, list[tuple[str, str]]] = {}
    async with _jetstream(machine) as js:
        for stream in await js.streams_info():
            name = str(stream.config.name)
            if name.startswith("DSM_"):
                found[name] = await _read(js, name, stream.state.messages)
    return found


async def _read(js: JetStreamContext, stream: str, count: int) -> list[tuple[str, str]]:
    config = ConsumerConfig(
        ack_policy=AckPolicy.NONE, deliver_policy=DeliverPolicy.ALL, headers_only=True, inactive_threshold=30
    )
    found: list[tuple[str, str]] = []
    pull = await js.pull_subscribe("", stream=stream, config=config)
    while len(found) < count:
        messages = await pull.fetch(min(1000, count - len(found)), timeout=10)
        found += [((message.headers or {}).get("Nats-Msg-Id", ""), message.subject) for message in messages]
    await js.delete_consumer(stream, (await pull.consumer_info()).name)
    return found


@asynccontextmanager
async def _jetstream(machine: Machine) -> AsyncIterator[JetStreamContext]:
    """A connection to the machine's NATS that does not wait for long."""
    connection = await nats.connect(machine.nats_url, connect_timeout=2, allow_reconnect=False, error_cb=_ignore)
    try:
        yield connection.jetstream(timeout=5)
    finally:
        await connection.close()


async def _ignore(_: Exception) -> None:
    """Told by the call that fails."""
