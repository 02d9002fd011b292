"""How well and how fast memory finds like episodes, and what a decision takes: `python -m tests.bench.retrieval`.

Episodes are made straight in the database of a `dsm up` of its own: situations are drawn and described by the product's
own code and embedded by the local model, and each becomes a cluster of episodes whose vectors are the situation's with
noise (`spread` of its length). Recall is the share of the five nearest of the exact search (all vectors compared, in
full precision; of a project those of its newest episodes, which are all that the product looks at) that the product's
search finds for situations that are in no episode; its time is that of the whole call, from the query to episodes. Then
whole decisions are made through gRPC, with the same episodes in memory.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import numpy.typing as npt
import psycopg
import uvloop
from dsm.orchestrator.v1 import decision_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from rich.console import Console
from rich.table import Table

from services.embedding.backends.local import LocalBackend, load_model
from services.kit.data.database import Database
from services.orchestrator.domain.adjustment import Confidence
from services.orchestrator.domain.decision import DecisionMode, decide_rule_based
from services.orchestrator.domain.episode import Episode, Metadata, Record, remember
from services.orchestrator.domain.likeness import Traits
from services.orchestrator.domain.situation import Analysis, Options, OrchestrateAction, Patterns, Trend
from services.orchestrator.store import episodes
from services.orchestrator.store.episodes import EpisodeFilter, Vector
from services.orchestrator.store.rows import record_json
from tests.bench import scene
from tests.bench.load import percentile
from tests.bench.target import Target, running_dsm

Matrix = npt.NDArray[np.float32]

EPISODES, SITUATIONS, QUERIES, CALLS = 100_000, 1000, 500, 200
FOUND = 5
PROJECTS = 499
LARGE = "LARGE"
_NOISES = 1009
_SPREAD = 0.25
_BATCH = 64
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_TABLES = """
    CREATE TEMPORARY TABLE situation (number int, record jsonb, text text, vector vector, team_size float8,
        load float8, velocity float8, duration_weeks float8, relative_load float8, rule_tasks int, closed_sprints int);
    CREATE TEMPORARY TABLE noise (number int, vector vector);
"""
# The same numbers as in `_vectors` and `_Fleet`.
_DECISIONS = """
    INSERT INTO decision (decision_id, project_id, decision_time, source, record, pending)
    SELECT ('00000000-0000-0000-0001-' || lpad(to_hex(i), 12, '0'))::uuid,
           CASE WHEN i %% 10 = 0 THEN 'LARGE' ELSE 'P' || i %% %(projects)s END, now(), 'RULE_BASED_ONLY',
           s.record, false
    FROM generate_series(0, %(count)s - 1) AS i JOIN situation s ON s.number = i %% %(situations)s
"""
_EPISODES = """
    INSERT INTO episode (episode_id, decision_id, project_id, context_text, quality_score, quality_findings, embedding,
                         embedding_model, requires_embedding, create_time, team_size, load, velocity, duration_weeks,
                         relative_load, rule_tasks, closed_sprints, outcome, outcome_time)
    SELECT ('00000000-0000-0000-0000-' || lpad(to_hex(i), 12, '0'))::uuid,
           ('00000000-0000-0000-0001-' || lpad(to_hex(i), 12, '0'))::uuid,
           CASE WHEN i %% 10 = 0 THEN 'LARGE' ELSE 'P' || i %% %(projects)s END, s.text,
           CASE WHEN i %% 11 = 0 THEN 0.65 ELSE 1 END, '{}', l2_normalize(s.vector + n.vector)::halfvec,
           %(model)s, false, now(), s.team_size, s.load, s.velocity, s.duration_weeks, s.relative_load, s.rule_tasks,
           s.closed_sprints,
           jsonb_build_object('sprint_id', '', 'completion_rate', 0.7, 'planned_tasks', 10, 'completed_tasks', 7,
               'planned_points', 0, 'completed_points', 0, 'capacity_person_days', NULL, 'impediments_raised', 0,
               'close_time', now()), CASE WHEN i %% 7 <> 0 THEN now() END
    FROM generate_series(0, %(count)s - 1) AS i
    JOIN situation s ON s.number = i %% %(situations)s
    JOIN noise n ON n.number = (i::bigint * 7919) %% %(noises)s
"""
# Made after the rows, which is quicker.
_INDEXES = """
    SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indrelid = 'episode'::regclass AND c.relname LIKE ANY (ARRAY['episode_embedding%', 'episode_retrievable%'])
"""


@dataclass(frozen=True)
class Fleet:
    """What was made: situations, their vectors, the queries', and the model."""

    situations: Sequence[Episode]
    centres: Matrix
    noises: Matrix
    queries: Sequence[Episode]
    asked: Matrix
    model: str

    def vectors(self, count: int) -> Matrix:
        """The vectors of the episodes, by number."""
        numbers = np.arange(count)
        found = self.centres[numbers % len(self.centres)] + self.noises[numbers * 7919 % len(self.noises)]
        return _unit(found)


@dataclass(frozen=True)
class Found:
    """Recall at five, and milliseconds of a search."""

    recall: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Timed:
    """Milliseconds of calls, and how many of them had all that they asked memory for."""

    milliseconds: Sequence[float]
    whole: int


def draw(count: int, queries: int, seed: int) -> Fleet:
    """Situations and queries with their vectors by the local model."""
    chance, infer = random.Random(seed), load_model()
    made = [_situation(chance) for _ in range(count + queries)]
    texts = [episode.context_text for episode in made]
    vectors = [infer(texts[first : first + _BATCH]) for first in range(0, len(texts), _BATCH)]
    units = _unit(np.array([vector for batch in vectors for vector in batch], dtype=np.float32))
    noise = np.random.default_rng(seed).normal(size=(_NOISES, units.shape[1])).astype(np.float32)
    noises = _SPREAD * _unit(noise)
    return Fleet(made[:count], units[:count], noises, made[count:], units[count:], LocalBackend.model)


async def fill(url: str, fleet: Fleet, count: int) -> float:
    """Make the episodes; seconds that the indexes of their vectors took."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(_TABLES)
        async with connection.cursor() as cursor:
            rows = [_row(number, episode, vector) for number, (episode, vector) in _numbered(fleet)]
            places = ", ".join(["%s"] * len(rows[0]))
            await cursor.executemany(f"INSERT INTO situation VALUES ({places})", rows)
            noises = [(number, _text(vector)) for number, vector in enumerate(fleet.noises)]
            await cursor.executemany("INSERT INTO noise VALUES (%s, %s)", noises)
        params = {
            "count": count,
            "situations": len(fleet.situations),
            "noises": len(fleet.noises),
            "projects": PROJECTS,
            "model": fleet.model,
        }
        indexes = await (await connection.execute(_INDEXES)).fetchall()
        for name, _ in indexes:
            await connection.execute(f"DROP INDEX {name}")
        await connection.execute(_DECISIONS, params)
        await connection.execute(_EPISODES, params)
        began = time.perf_counter()
        await connection.execute("SET maintenance_work_mem = '256MB'")
        for _, index in indexes:
            await connection.execute(index)
        took = time.perf_counter() - began
        await connection.execute("VACUUM ANALYZE episode, decision")
    return took


async def search(database: Database, fleet: Fleet, count: int) -> dict[str, Found]:
    """Recall and time of the product's search by each filter, and its time when figures are compared too."""
    vectors = fleet.vectors(count)
    numbers = np.arange(count)
    good, known = numbers % 11 != 0, numbers % 7 != 0
    large, small = numbers % 10 == 0, (numbers % PROJECTS == 3) & (numbers % 10 != 0)
    filters = {
        "no filter": (EpisodeFilter(), good),
        "with outcome": (EpisodeFilter(with_outcome_only=True), good & known),
        f"a project of {int((good & small).sum())}": (EpisodeFilter("P3"), good & small),
        f"a project of {int((good & large).sum()):,}": (EpisodeFilter(LARGE), _newest(good & large)),
        "the same, with outcome": (EpisodeFilter(LARGE, with_outcome_only=True), _newest(good & known & large)),
    }
    found = {"(SELECT 1, to compare)": await _nothing(database, len(fleet.queries))}
    for name, (wanted, fitting) in filters.items():
        found[name] = await _search(database, fleet, vectors, wanted, fitting)
    traits = [episode.traits for episode in fleet.queries]
    _, seconds = await _searched(database, fleet, EpisodeFilter(with_outcome_only=True), traits)
    found["with outcome, by figures too"] = Found(float("nan"), *_percentiles(seconds))
    return found


async def decide(target: Target, calls: int) -> dict[str, Timed]:
    """Times of Orchestrate through gRPC, one call after the other."""
    stub = OrchestratorServiceStub(target.channel("orchestrator"))

    async def orchestrate(project_id: str, **options: object) -> bool:
        """Whether memory took part."""
        wanted = decision_pb2.OrchestrateOptions(create_cronjob=False, **options)  # type: ignore[arg-type]
        answer = await stub.Orchestrate(pb.OrchestrateRequest(project_id=project_id, options=wanted))
        metadata = answer.decision.intelligence_metadata
        return bool(metadata.episodes_considered) and not metadata.degraded_parts

    await scene.backlog(target, "BENCH-DRY", 400, people=6)
    past = str(datetime.now(UTC).date() - timedelta(days=28))
    await orchestrate("BENCH-DRY", start_date=past, as_of_date=past, sprint_duration_weeks=2)
    await orchestrate("BENCH-DRY", create_sprint_if_needed=False)
    starts = max(5, calls // 5)
    starting = [f"BENCH-START-{number}" for number in range(2 * starts)]
    for project_id in starting:
        await scene.backlog(target, project_id, 30, people=4)
    return {
        "a decision of a situation seen before": await _timed(
            calls, lambda number: orchestrate("BENCH-DRY", dry_run=True, max_tasks_per_sprint=10)
        ),
        "a decision of a new situation": await _timed(
            calls, lambda number: orchestrate("BENCH-DRY", dry_run=True, max_tasks_per_sprint=11 + number)
        ),
        "a decision that starts its sprint": await _timed(
            starts, lambda number: orchestrate(starting[number], sprint_duration_weeks=2)
        ),
        # What follows from a sprint by events is done before the next call, and not beside it.
        "the same, a quarter of a second apart": await _timed(
            starts, lambda number: orchestrate(starting[starts + number], sprint_duration_weeks=2), pause=0.25
        ),
    }


async def _search(
    database: Database, fleet: Fleet, vectors: Matrix, wanted: EpisodeFilter, fitting: npt.NDArray[np.bool_]
) -> Found:
    numbers = np.flatnonzero(fitting)
    cosines = fleet.asked @ vectors[numbers].T
    nearest = [set(numbers[np.argsort(-row)[:FOUND]]) for row in cosines]
    answers, seconds = await _searched(database, fleet, wanted, [Traits()] * len(fleet.queries))
    shares = [len(answer & exact) / len(exact) for answer, exact in zip(answers, nearest, strict=True)]
    return Found(float(np.mean(shares)), *_percentiles(seconds))


def _newest(fitting: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Those that the search of a project looks at: the last ones, because all are made at the same time."""
    newest = np.zeros_like(fitting)
    newest[np.flatnonzero(fitting)[-episodes.NEWEST :]] = True
    return newest


async def _nothing(database: Database, count: int) -> Found:
    """What a round trip to the database takes on this machine at this moment."""
    seconds = []
    for _ in range(count):
        began = time.perf_counter()
        await database.read.value("SELECT 1")
        seconds.append(time.perf_counter() - began)
    return Found(float("nan"), *_percentiles(seconds))


async def _searched(
    database: Database, fleet: Fleet, wanted: EpisodeFilter, traits: Sequence[Traits]
) -> tuple[list[set[int]], list[float]]:
    """The numbers of the episodes found for each query, and the seconds that each took."""
    answers: list[set[int]] = []
    seconds: list[float] = []
    for query, figures in zip(fleet.asked, traits, strict=True):
        vector = Vector(fleet.model, tuple(map(float, query)))
        began = time.perf_counter()
        matches = await episodes.search(database.read, vector, figures, wanted, FOUND)
        seconds.append(time.perf_counter() - began)
        answers.append({match.episode.episode_id.int for match in matches})
    return answers, seconds


async def _timed(calls: int, call: Callable[[int], Awaitable[bool]], pause: float = 0) -> Timed:
    """One call after the other, with a pause of so many seconds before each."""
    milliseconds, whole = [], 0
    for number in range(calls):
        await asyncio.sleep(pause)
        began = time.perf_counter()
        whole += await call(number)
        milliseconds.append((time.perf_counter() - began) * 1000)
    return Timed(milliseconds, whole)


def _situation(chance: random.Random) -> Episode:
    """An episode of a plausible project at a plausible moment."""
    people, waiting = chance.randint(1, 12), chance.randint(3, 200)
    closed = chance.choice((0, 0, 1, 2, 3, 5, 8, 12, 20))
    patterns = Patterns(
        closed_sprints=closed,
        duration_days=chance.choice((7, 14, 14, 21, 28)),
        completed_tasks=chance.uniform(1, 3 * people),
        completion_rate=chance.uniform(0.3, 1),
        trend=chance.choice(list(Trend)),
        points_per_person_day=None,
    )
    analysis = Analysis(
        as_of_date=_NOW.date(),
        team_size=people,
        backlog_tasks=waiting,
        unassigned_tasks=waiting,
        unassigned_points=3.0 * waiting,
        capacity_person_days=chance.uniform(3, 10) * people,
        patterns=patterns if closed else None,
    )
    options = Options(max_tasks_per_sprint=chance.choice((0, 5, 20, 40)), sprint_duration_weeks=chance.choice((0, 2)))
    rules = decide_rule_based(analysis, options)
    record = Record(
        decision_id=UUID(int=1),
        project_id="BENCH",
        decision_time=_NOW,
        mode=DecisionMode.INTELLIGENCE_ENHANCED,
        asked=OrchestrateAction.ANALYZE_AND_ORCHESTRATE,
        options=options,
        analysis=analysis,
        rule_based=rules,
        final=rules,
        adjustments=(),
        confidence=Confidence(0.75, None, False),
        actions=(),
        metadata=Metadata(),
    )
    return replace(remember(UUID(int=0), record), quality_score=1.0)


def _numbered(fleet: Fleet) -> list[tuple[int, tuple[Episode, Matrix]]]:
    return list(enumerate(zip(fleet.situations, fleet.centres, strict=True)))


def _row(number: int, episode: Episode, vector: Matrix) -> tuple[object, ...]:
    record = episode.record
    closed = record.analysis.patterns.closed_sprints if record.analysis.patterns else 0
    figures = asdict(episode.traits).values()
    tasks = record.rule_based.tasks_to_assign
    return (number, record_json(record), episode.context_text, _text(vector), *figures, tasks, closed)


def _unit(vectors: Matrix) -> Matrix:
    units: Matrix = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units


def _text(vector: Matrix) -> str:
    return "[" + ",".join(f"{value:.7g}" for value in vector) + "]"


def _percentiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    return percentile(seconds, 0.5) * 1000, percentile(seconds, 0.95) * 1000, percentile(seconds, 0.99) * 1000


def show(console: Console, found: dict[str, Found]) -> None:
    """Print what searches came to."""
    columns = ("search", "recall@5", "p50 ms", "p95 ms", "p99 ms")
    table = Table(*columns, title="The search against an exact one (vectors are generated)")
    for name, figure in found.items():
        recall = "" if np.isnan(figure.recall) else f"{figure.recall:.3f}"
        table.add_row(name, recall, *(f"{ms:.1f}" for ms in (figure.p50_ms, figure.p95_ms, figure.p99_ms)))
    console.print(table)


def _show_decisions(console: Console, timed: dict[str, Timed], count: int) -> None:
    columns = ("Orchestrate", "calls", "with memory", "p50 ms", "p95 ms", "most ms")
    table = Table(*columns, title=f"Decisions with {count:,} episodes")
    for name, each in timed.items():
        values = each.milliseconds
        figures = (percentile(values, 0.5), percentile(values, 0.95), max(values))
        table.add_row(name, str(len(values)), str(each.whole), *(f"{figure:.0f}" for figure in figures))
    console.print(table)


async def _run(options: argparse.Namespace) -> None:
    console = Console()
    print(f"embedding {options.situations + options.queries} situations …", file=sys.stderr)
    fleet = draw(options.situations, options.queries, seed=1)
    with running_dsm() as target:
        url = target.state.urls["postgres"].rpartition("/")[0] + "/dsm_orchestrator"
        print(f"making {options.episodes:,} episodes …", file=sys.stderr)
        took = await fill(url, fleet, options.episodes)
        console.print(f"{options.episodes:,} episodes; their indexes were made in {took:.0f} s")
        database = Database("orchestrator", url)
        await database.open()
        print("searching …", file=sys.stderr)
        show(console, await search(database, fleet, options.episodes))
        await database.close()
        print("deciding …", file=sys.stderr)
        _show_decisions(console, await decide(target, options.calls), options.episodes)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="tests.bench.retrieval", description=__doc__.splitlines()[0])
    parser.add_argument("--episodes", type=int, default=EPISODES, help=f"episodes in memory (default {EPISODES})")
    parser.add_argument("--situations", type=int, default=SITUATIONS, help=f"kinds of these (default {SITUATIONS})")
    parser.add_argument("--queries", type=int, default=QUERIES, help=f"searches of each kind (default {QUERIES})")
    parser.add_argument("--calls", type=int, default=CALLS, help=f"decisions of each kind (default {CALLS})")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
