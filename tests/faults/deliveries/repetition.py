"""Events are delivered again: after a death between effect and acknowledgement, and many times over."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random
from uuid import uuid4

from tests.faults import wire
from tests.faults.arena import Arena
from tests.faults.deliveries.work import effects, flood_taken, reports, started, taken, versions
from tests.faults.wire import Message
from tests.harness import eventually


async def reports_while_dying(arena: Arena, rng: Random, events: int, lives: Sequence[str]) -> list[str]:
    """Work is reported by events while the sprint service is killed between effect and acknowledgement (I3, I4)."""
    scene = await started(arena, tasks=20)
    before = await versions(arena, scene)
    # So that what it is killed at are these reports, and nothing that it had still to hear of others.
    for stream, consumer in (("DSM_BACKLOG", "sprint-dsm_backlog"), ("DSM_PROJECT", "sprint-dsm_project")):
        await eventually(partial(taken, arena, stream, consumer), 60)
    await arena.stop("sprint")
    messages = reports(rng, scene, events)
    await wire.publish(arena.stack.nats.url, messages)
    await arena.dying("sprint", lives)
    return await effects(arena, scene, before, messages)


async def delivered_often(arena: Arena, rng: Random, events: int, times: int) -> list[str]:
    """Each report of work is delivered many times, under the id that JetStream knows, another and none (I4)."""
    scene = await started(arena, tasks=20)
    before = await versions(arena, scene)
    messages = reports(rng, scene, events)
    copies = [Message(m.subject, m.data, rng.choice(["", str(uuid4()), m.msg_id])) for m in messages * (times - 1)]
    everything = messages + copies
    rng.shuffle(everything)
    await wire.publish(arena.stack.nats.url, everything)
    await flood_taken(arena, "DSM_SPRINT_IN", "sprint-dsm_sprint_in")
    return await effects(arena, scene, before, messages)
