"""Streams are lost, or told again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any

from dsm.common.v1 import admin_service_pb2
from dsm.common.v1.admin_service_pb2_grpc import AdminServiceStub
from dsm.sprint.v1 import sprint_service_pb2 as sprint_pb
from nats.js.errors import NotFoundError

from tests.faults import wire
from tests.faults.arena import Arena
from tests.faults.deliveries.work import drained, reports, sprint_of, started, taken
from tests.harness import eventually
from tests.service.sprint.sprints import FRIDAY


async def replayed(arena: Arena, rng: Random, events: int) -> list[str]:
    """Everything is told again: of a stream that was deleted, and of one that has forgotten what it knew (I4, I5)."""
    services = ("project", "backlog", "sprint", "chronicle", "orchestrator")
    await arena.start(*services)
    scene = await _told_story(arena, rng, events)
    before = await _prints(arena, services)
    streams = [f"DSM_{name.upper()}" for name in services]
    told = {stream: await _ids(arena, stream) for stream in streams}
    wrong = []
    for lost in (True, False):
        if lost:
            await wire.delete(arena.stack.nats.url, *streams)
        counts = [await _replay(arena, service) for service in services]
        for service, stream in zip(services, streams, strict=True):
            await eventually(partial(drained, arena, service), 600)
            await eventually(partial(_all_taken, arena, stream), 600)
            ids = await _ids(arena, stream)
            if missing := told[stream].keys() - ids.keys():
                wrong.append(f"{stream} lacks {len(missing)} events after the replay")
        if not lost:
            again = [await _ids(arena, stream) for stream in streams]
            assert any(ids.most_common(1)[0][1] > 1 for ids in again if ids), (
                "JetStream let nothing through a second time: this has tested nothing"
            )
        after = await _prints(arena, services)
        wrong += [f"{table} changed by the replay" for table in before if before[table] != after[table]]
        print(f"replay, stream {'lost' if lost else 'kept'}: {sum(counts)} events of {scene}, wrong {len(wrong)}")
    return wrong


async def _told_story(arena: Arena, rng: Random, events: int) -> str:
    """A sprint from beginning to end; its project. Returns when everybody knows of everything."""
    scene = await started(arena, tasks=10)
    await wire.publish(arena.stack.nats.url, reports(rng, scene, events))
    await eventually(lambda: taken(arena, "DSM_SPRINT_IN", "sprint-dsm_sprint_in"), 60)
    for task_id in scene.task_ids[:5]:
        await scene.report(task_id, 100)
    await scene.sprints.RunDailyScrum(
        sprint_pb.RunDailyScrumRequest(sprint_id=sprint_of(scene), report_date=FRIDAY), timeout=20
    )
    raised = sprint_pb.RaiseImpedimentRequest(task_id=scene.task_ids[7], text="No test data")
    await scene.sprints.RaiseImpediment(raised, timeout=20)
    await scene.sprints.CloseSprint(sprint_pb.CloseSprintRequest(sprint_id=sprint_of(scene)), timeout=20)
    for service in ("project", "backlog", "sprint", "chronicle", "orchestrator"):
        await eventually(partial(drained, arena, service), 60)
        await eventually(partial(_all_taken, arena, f"DSM_{service.upper()}"), 60)
    return scene.project_id


async def _replay(arena: Arena, service: str) -> int:
    stub = AdminServiceStub(await arena.channel(service))
    request = admin_service_pb2.ReplayOutboxRequest(service=service)
    request.since_time.FromDatetime(datetime(2000, 1, 1, tzinfo=UTC))
    answer: Any = await stub.ReplayOutbox(request)
    return int(answer.event_count)


async def _ids(arena: Arena, stream: str) -> Counter[str]:
    messages = await wire.read(arena.stack.nats.url, stream)
    return Counter(message.msg_id for message in messages)


async def _all_taken(arena: Arena, stream: str) -> bool:
    async with wire.jetstream(arena.stack.nats.url) as js:
        try:
            consumers = await js.consumers_info(stream)
            state = (await js.stream_info(stream)).state
        except NotFoundError:
            return True
    expected = {"DSM_SPRINT": 3, "DSM_BACKLOG": 2, "DSM_PROJECT": 4, "DSM_ORCHESTRATOR": 1}.get(stream, 0)
    idle = all(not info.num_pending and not info.num_ack_pending for info in consumers)
    return not state.messages or (idle and len(consumers) >= expected)


async def _prints(arena: Arena, services: Sequence[str]) -> dict[str, object]:
    """What every table holds, but for what only says what was seen, published or answered."""
    found: dict[str, object] = {}
    for service in services:
        tables = await arena.query(service, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for table in sorted({row["tablename"] for row in tables} - {"inbox", "request_record", "went_back"}):
            what = "event_id" if table == "outbox" else "t"
            sql = f"SELECT count(*), md5(string_agg({what}::text, ' ' ORDER BY {what}::text)) FROM {table} t"
            found[f"{service}.{table}"] = await arena.query(service, sql)
    return found
