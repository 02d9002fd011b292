"""What must hold once a fault is over and all is quiet: the invariants, from databases, streams and the history.

The ids I1 to I14 are those of CONTRIBUTING.md; which check is whose says the README.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from services.cli.names import STATEFUL
from services.orchestrator.keeper import SYNC_SECONDS
from tests.faults.healing import HEAL_SECONDS, Healing, jetstream, quiet, settled
from tests.faults.history import FAULTS_OF_OURS, Entry, History, final
from tests.faults.load import FaultStage
from tests.faults.machine import READY_SECONDS, Machine
from tests.system.play.order import check_order

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
_IN_PROGRESS = "SELECT sprint_id, project_id FROM sprint WHERE state = 'IN_PROGRESS'"
_WANTING = "SELECT project_id FROM daily_scrum_schedule WHERE wanted"
_JOBS = "SELECT sprint_id FROM cron_job"
# Runs that nobody began: a process that dies holds one for CLAIM_SECONDS at most, which nobody waits for here.
_OVERDUE = """
    SELECT what, next_run_time FROM (
        SELECT sprint_id AS what, next_run_time, retry_time FROM cron_job
        UNION ALL SELECT project_id, next_run_time, retry_time FROM orchestration_schedule) AS run
    WHERE next_run_time < now() - interval '10 s' AND retry_time < now() - interval '10 s'
"""
_ODD_REPORTS = """
    SELECT d.sprint_id, d.report_date::text AS day, count(*) AS times FROM daily_scrum d JOIN sprint s USING (sprint_id)
    GROUP BY d.sprint_id, d.report_date, s.start_date, s.end_date
    HAVING count(*) > 1 OR extract(isodow FROM d.report_date) > 5
        OR d.report_date NOT BETWEEN s.start_date AND s.end_date
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


async def judge(stage: FaultStage, *, healings: Iterable[Healing] = (), resolve: bool = True) -> Verdict:
    """Wait until everything is quiet, resolve half of what is unknown, and hold the history against what is there."""
    machine, history = stage.machine, stage.told
    verdict = Verdict(history, healings=list(healings))
    await quiet(machine)
    if resolve:
        await stage.resolve()
        await quiet(machine)
    await judge_schedules(machine, verdict)
    # Whatever is done by a schedule would be under way while it is looked at.
    await stage.end_schedules()
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


async def check_whole(machine: Machine, history: History) -> None:
    """Wait until everything is quiet; fail if anything is wrong with events, effects or schedules, whoever asked."""
    await quiet(machine)
    verdict = Verdict(history)
    for judge_part in (judge_events, judge_effects, judge_schedules):
        await judge_part(machine, verdict)
    assert not verdict.wrong, verdict.table(history.path.stem)


async def judge_events(machine: Machine, verdict: Verdict) -> None:
    """I4, I5, I6: every committed event is in its stream, nothing else is, and each consumer took each one in once."""
    # What is done by itself may be done while it is judged: before and after the streams are read.
    before = await _committed(machine)
    streams = await read_streams(machine)
    after = await _committed(machine)
    published = {event_id: subject for messages in streams.values() for event_id, subject in messages}
    for event_id, row in before.items():
        if after.get(event_id, row)["publish_time"] is None:
            verdict.lost.append(f"I5 {row['subject']} {event_id} is not published")
        elif event_id not in published and row["publish_time"]:
            verdict.lost.append(f"I5 {row['subject']} {event_id} is marked as published and not in its stream")
    for event_id in published.keys() - before.keys() - after.keys():
        if not published[event_id].startswith("dsm.in."):
            verdict.disagreements.append(f"I5 {published[event_id]} {event_id} is published, but was never committed")
    await _judge_inboxes(machine, verdict, streams)


async def _committed(machine: Machine) -> dict[str, dict[str, Any]]:
    """The outboxes' rows, by the event's id."""
    return {row["event_id"]: row for service in STATEFUL for row in await machine.query(service, _OUTBOX)}


async def _judge_inboxes(machine: Machine, verdict: Verdict, streams: Mapping[str, list[tuple[str, str]]]) -> None:
    buried: set[tuple[str, str]] = set()
    for service in STATEFUL:
        if not (await machine.query(service, "SELECT to_regclass('dead_letter') AS there"))[0]["there"]:
            continue
        for row in await machine.query(service, _DEAD):
            buried.add((row["consumer"], row["event_id"]))
            verdict.lost.append(f"I4 {row['consumer']} gave up {row['subject']} {row['event_id']}: {row['error']}")
    async with jetstream(machine) as js:
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


async def judge_schedules(machine: Machine, verdict: Verdict) -> None:
    """I9: each open sprint that wants one has its schedule, no other has, what is due was held, no day has two reports.

    Teams work from Monday to Friday here. What calls at the same moment could not see is made good ten seconds later.
    """
    verdict.disagreements += await settled(partial(_schedules_amiss, machine), SYNC_SECONDS + HEAL_SECONDS)
    for row in await machine.query("sprint", _ODD_REPORTS):
        verdict.duplicates.append(f"I9 {row['sprint_id']} has {row['times']} reports on {row['day']}")


async def _schedules_amiss(machine: Machine) -> list[str]:
    wanting = {row["project_id"] for row in await machine.query("orchestrator", _WANTING)}
    rows = await machine.query("sprint", _IN_PROGRESS)
    open_ones = {row["sprint_id"] for row in rows if row["project_id"] in wanting}
    kept = {row["sprint_id"] for row in await machine.query("orchestrator", _JOBS)}
    overdue = await machine.query("orchestrator", _OVERDUE)
    return [
        *(f"I9 {sprint_id} has no schedule of its daily scrum" for sprint_id in sorted(open_ones - kept)),
        *(f"I9 {sprint_id} has a schedule, but is closed or wants none" for sprint_id in sorted(kept - open_ones)),
        *(f"I9 {row['what']} was due at {row['next_run_time']} and nobody held it" for row in overdue),
    ]


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
    async with jetstream(machine) as js:
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
