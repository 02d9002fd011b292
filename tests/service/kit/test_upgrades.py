"""Data of the first release's schema goes along to the newest, and the services work on it.

What is in `upgrades` was written by the services themselves when their databases were at revision 0001.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from dsm.backlog.v1 import backlog_service_pb2 as backlog_pb
from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceStub
from dsm.chronicle.v1 import chronicle_service_pb2 as chronicle_pb
from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceStub
from dsm.common.v1 import admin_service_pb2 as admin_pb
from dsm.common.v1.admin_service_pb2_grpc import AdminServiceStub
from dsm.orchestrator.v1 import orchestrator_service_pb2 as orchestrator_pb
from dsm.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from dsm.project.v1 import project_service_pb2 as project_pb
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub
from dsm.sprint.v1 import sprint_service_pb2 as sprint_pb
from dsm.sprint.v1.sprint_service_pb2_grpc import SprintServiceStub
from psycopg import sql

from services.kit.data.migrate import upgrade
from services.local.stack import Stack
from tests.harness import SERVICES, STATEFUL, World, eventually

_OLD = Path(__file__).parent / "upgrades"
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def before(stack: Stack) -> dict[str, Rows]:
    """Every service's rows at the first revision; the databases are at the newest after that."""
    found = {}
    for service in STATEFUL:
        stack.postgres.ensure_database(f"dsm_{service}")
        url = stack.postgres.url(f"dsm_{service}")
        upgrade(service, url, "0001")
        with psycopg.connect(url) as connection:
            connection.execute((_OLD / f"{service}.sql").read_text(encoding="utf-8").encode())
        found[service] = _rows(url)
        upgrade(service, url)
    return found


def _rows(url: str) -> Rows:
    found: Rows = {}
    with psycopg.connect(url) as connection:
        for (table,) in connection.execute(_TABLES).fetchall():
            rows = connection.execute(sql.SQL("SELECT to_jsonb(t) FROM {} t").format(sql.Identifier(table)))
            found[table] = [row for (row,) in rows]
    return found


@pytest.mark.parametrize("service", STATEFUL)
def test_every_row_is_there_as_it_was(stack: Stack, before: dict[str, Rows], service: str) -> None:
    after = _rows(stack.postgres.url(f"dsm_{service}"))
    assert sum(map(len, before[service].values())) > 1
    for table, rows in before[service].items():
        kept = [{name: row.get(name) for name in rows[0]} for row in after[table]] if rows else after[table]
        # Vectors are stored in another form since.
        for row in (*rows, *kept):
            row.pop("embedding", None)
        assert sorted(kept, key=repr) == sorted(rows, key=repr), table


async def test_the_services_work_on_it(world: World, before: dict[str, Rows]) -> None:
    await world.start(*SERVICES)
    backlog = BacklogServiceStub(await world.channel("backlog"))
    sprints = SprintServiceStub(await world.channel("sprint"))
    listed = await backlog.ListTasks(backlog_pb.ListTasksRequest(project_id="DEMO"))
    assert len(listed.tasks) == sum(row["delete_time"] is None for row in before["backlog"]["task"])
    team = await ProjectServiceStub(await world.channel("project")).ListTeamMembers(
        project_pb.ListTeamMembersRequest(project_id="DEMO")
    )
    assert len(team.team_members) == len(before["project"]["team_member"])
    chronicle = ChronicleServiceStub(await world.channel("chronicle"))
    told = await chronicle.ListRetrospectives(chronicle_pb.ListRetrospectivesRequest(project_id="DEMO"))
    assert [it.sprint_id for it in told.retrospectives] == ["DEMO-S01"]
    memory = OrchestratorServiceStub(await world.channel("orchestrator"))
    episodes = await memory.ListEpisodes(orchestrator_pb.ListEpisodesRequest(project_id="DEMO"))
    assert len(episodes.episodes) == len(before["orchestrator"]["episode"])

    work = sprint_pb.UpdateTaskProgressRequest(task_id="DEMO-TASK004", progress_percent=100, work_date="2026-11-17")
    await sprints.UpdateTaskProgress(work)
    assert await eventually(lambda: _completed(backlog, "DEMO-TASK004"))
    await sprints.CloseSprint(sprint_pb.CloseSprintRequest(sprint_id="DEMO-S02"))
    planned = await sprints.StartSprint(
        sprint_pb.StartSprintRequest(project_id="DEMO", start_date="2026-11-30", max_tasks=3)
    )
    assert planned.sprint.sprint_id == "DEMO-S03"
    admin = AdminServiceStub(await world.channel("sprint"))
    assert not (await admin.Reconcile(admin_pb.ReconcileRequest(grace_seconds=10))).disagreements


async def _completed(backlog: Any, task_id: str) -> bool:
    answer = await backlog.GetTask(backlog_pb.GetTaskRequest(task_id=task_id))
    return bool(answer.task.progress_percent == 100)
