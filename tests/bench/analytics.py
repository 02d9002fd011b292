"""The chronicle's analytics over a long history: `python -m tests.bench.analytics [--projects N] [--sprints N]`.

The history is written straight into a database of its own; the calls go through the service. Medians are given as
ratios to GetVelocity of the same run, beside the database's own SELECT 1.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import uvloop
from dsm.chronicle.v1 import chronicle_service_pb2 as pb
from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceStub

from services.kit.telemetry import log
from services.local.stack import running
from tests.harness import World, make_world

_CALLS = 40
_MODEL = "bench"
_TEXTS = 60
# Sprints of 14 days, one after the other, the last of which ends today; figures vary by number and by hash.
_HISTORY = """
SET session_replication_role = replica;
CREATE TEMP TABLE sprint AS
SELECT project_id, project_id || '-S' || lpad(s::text, 2, '0') AS sprint_id, s AS number,
    current_date - 14 * (%(sprints)s - s + 1) + 1 AS start_date, current_date - 14 * (%(sprints)s - s) AS end_date,
    now() - make_interval(days => 14 * (%(sprints)s - s)) AS close_time, 5 + p %% 9 AS team_size,
    8 + (p * 7 + s * 3) %% 12 AS tasks, 4 + (p * 5 + s * 11) %% 5 AS done
FROM (SELECT p, %(prefix)s || lpad(p::text, 5, '0') AS project_id FROM generate_series(1, %(projects)s) p) project,
    generate_series(1, %(sprints)s) s;

INSERT INTO planning_note
SELECT gen_random_uuid(), sprint_id, project_id, 'Sprint ' || number, '', start_date, end_date, 2, team_size * 9, tasks,
    tasks * 3, start_date::timestamptz FROM sprint;
INSERT INTO scrum_report
SELECT gen_random_uuid(), project_id, sprint_id, start_date + 2 * day, '', false, team_size, tasks, done, tasks - done,
    0, tasks * 3, done * 3, (start_date + 2 * day)::timestamptz FROM sprint, generate_series(1, %(reports)s) day;
INSERT INTO scrum_person SELECT report_id, 'E' || e, false FROM scrum_report, generate_series(1, 4) e
WHERE starts_with(project_id, %(prefix)s);
INSERT INTO scrum_task
SELECT report_id, 'E' || e, sprint_id || '-TASK' || e || '-' || extract(day FROM report_date)::int / 6, project_id,
    report_date, 'A task', 'Went on', 'Go on', '', least(100, 20 + 20 * (extract(day FROM report_date)::int %% 6)),
    create_time
FROM scrum_report, generate_series(1, 4) e
WHERE starts_with(project_id, %(prefix)s);
INSERT INTO retrospective
SELECT gen_random_uuid(), sprint_id, project_id, 'Sprint ' || number, start_date, end_date, 2, '{}', '{}', '', '{}',
    close_time FROM sprint;
INSERT INTO retrospective_task
SELECT retrospective_id, n, sprint_id || '-TASK' || n, 'A task',
    CASE WHEN n <= 6 THEN 'COMPLETED' ELSE 'IN_PROGRESS' END, 'E' || n, 50, 3
FROM retrospective, generate_series(1, 10) n
WHERE starts_with(project_id, %(prefix)s);
INSERT INTO action_item
SELECT gen_random_uuid(), retrospective_id, project_id, n, 'Change habit ' || chr(65 + (hashtext(sprint_id) & 15)) || n,
    CASE WHEN hashtext(sprint_id) %% 3 = 0 THEN 'OPEN' ELSE 'DONE' END, '', '', create_time, 1
FROM retrospective, generate_series(1, 3) n
WHERE starts_with(project_id, %(prefix)s);
INSERT INTO sprint_outcome
SELECT sprint_id, project_id, 'Sprint ' || number, start_date, end_date, close_time, tasks, tasks * 3, done, done * 3,
    tasks - done, (tasks - done) * 3, 0, 0, team_size * 9, done::float / tasks, done * 3.0 / (team_size * 9), 3, 2,
    team_size, 10 FROM sprint;
INSERT INTO decision_note
SELECT gen_random_uuid(), project_id, sprint_id, CASE WHEN number %% 2 = 0 THEN 'RULE_BASED_ONLY' ELSE
    'INTELLIGENCE_ENHANCED' END, start_date::timestamptz, '', 1, start_date::timestamptz FROM sprint;
INSERT INTO impediment
SELECT gen_random_uuid(), project_id, sprint_id, sprint_id || '-TASK1', 'E1', '', text,
    CASE WHEN n = 3 THEN 'OPEN' ELSE 'RESOLVED' END, start_date, start_date::timestamptz,
    CASE WHEN n < 3 THEN start_date::timestamptz + '2 days' END, '', vector::halfvec, %(model)s, false
FROM sprint, generate_series(1, 3) n, text_vector
WHERE text_vector.number = abs(hashtext(sprint_id || n)) %% %(texts)s;
INSERT INTO project_topic SELECT project_id, %(model)s, 200, vector::halfvec
FROM (SELECT DISTINCT project_id, abs(hashtext(project_id)) %% %(texts)s AS number FROM sprint) project
JOIN text_vector USING (number);
DROP TABLE sprint, text_vector;
"""
_CLEARED = "TRUNCATE project_figures, known_sprint"


@dataclass(frozen=True)
class History:
    """How long a history is made: projects, closed sprints of each, daily scrum reports of each sprint."""

    projects: int
    sprints: int
    reports: int = 5
    prefix: str = "BENCH"

    def project(self, number: int) -> str:
        """One of its projects, by any number."""
        return f"{self.prefix}{1 + number % self.projects:05}"


def write_history(url: str, history: History) -> None:
    """Write a history into the chronicle's database, with vectors as a model might have made them. Blocks."""
    rng = np.random.default_rng(1)
    with psycopg.connect(url) as connection:
        # The temporary tables and the setting are of this connection, whose client puts the values in itself.
        cursor = psycopg.ClientCursor(connection)
        cursor.execute("CREATE TEMP TABLE text_vector (number integer, text text, vector text)")
        vectors = rng.normal(size=(_TEXTS, 384))
        for number, vector in enumerate(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)):
            padded = [*map(float, vector), *[0.0] * 640]
            text = f"Something blocks, in the words of number {number}"
            cursor.execute("INSERT INTO text_vector VALUES (%s, %s, %s)", (number, text, str(padded)))
        cursor.execute(_HISTORY, vars(history) | {"model": _MODEL, "texts": _TEXTS})
        background = str([1.0, *[0.0] * 1023])
        cursor.execute(
            "INSERT INTO project_topic VALUES ('', %s, 40, %s) ON CONFLICT (project_id) DO UPDATE SET "
            "embedding_model = excluded.embedding_model, centroid = excluded.centroid",
            (_MODEL, background),
        )
        cursor.execute(_CLEARED)
        cursor.execute(import_module("migrations.chronicle.0002_analytics").BACKFILL)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def calls(stub: Any, history: History) -> dict[str, Callable[[int], Awaitable[Any]]]:
    """One call of each RPC about the project of a number."""
    of = history.project
    return {
        "GetVelocity": lambda n: stub.GetVelocity(pb.GetVelocityRequest(project_id=of(n))),
        "GetMetricsSummary": lambda _: stub.GetMetricsSummary(pb.GetMetricsSummaryRequest()),
        "GetProjectPatterns": lambda n: stub.GetProjectPatterns(pb.GetProjectPatternsRequest(project_id=of(n))),
        "GetImpediments": lambda n: stub.GetImpediments(pb.GetImpedimentsRequest(project_id=of(n))),
        "FindSimilarProjects": lambda n: stub.FindSimilarProjects(
            pb.FindSimilarProjectsRequest(reference_project_id=of(n))
        ),
        "GetDecisionImpact": lambda n: stub.GetDecisionImpact(
            pb.GetDecisionImpactRequest(project_id=of(n), start_date="2000-01-01")
        ),
    }


async def measure(world: World, history: History, count: int = _CALLS) -> dict[str, float]:
    """The median of each call in milliseconds, one at a time, over many projects; and of the database's SELECT 1."""
    stub = ChronicleServiceStub(await world.channel("chronicle"))
    found = {"SELECT 1": await _select_1(world, count)}
    for name, call in calls(stub, history).items():
        for number in range(3):
            await call(number)
        seconds = []
        for number in range(count):
            began = time.perf_counter()
            await call(37 * number)
            seconds.append(time.perf_counter() - began)
        found[name] = statistics.median(seconds) * 1000
    return found


async def _select_1(world: World, count: int) -> float:
    url = world.stack.postgres.url("dsm_chronicle")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        seconds = []
        for _ in range(count):
            began = time.perf_counter()
            await connection.execute("SELECT 1")
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1000


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.bench.analytics", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--projects", type=int, default=1000, help="projects (default 1000)")
    parser.add_argument("--sprints", type=int, default=50, help="closed sprints of each (default 50)")
    parser.add_argument("--json", action="store_true", help="print milliseconds as JSON instead of a table")
    return parser.parse_args()


async def _run(options: argparse.Namespace) -> dict[str, float]:
    history = History(options.projects, options.sprints)
    async with AsyncExitStack() as exits:
        folder = exits.enter_context(tempfile.TemporaryDirectory(prefix="dsm-bench-"))
        stack = exits.enter_context(running(Path(folder), durable=False, postgres_port=0, nats_port=0))
        world = await make_world(stack, exits)
        await world.start("chronicle")
        await asyncio.to_thread(write_history, stack.postgres.url("dsm_chronicle"), history)
        return await measure(world, history)


def main() -> None:
    """Measure and print."""
    options = _options()
    log.configure("WARNING", "console")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(_run(options))
    if options.json:
        print(json.dumps(found))
        return
    print(f"{options.projects} projects with {options.sprints} closed sprints each")
    for name, milliseconds in found.items():
        ratio = f"{milliseconds / found['GetVelocity']:.1f} x GetVelocity"
        print(f"{name:20} {milliseconds:8.1f} ms  {ratio}")


if __name__ == "__main__":
    main()
