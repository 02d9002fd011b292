"""Strategies: learned from episodes with an outcome, applied, credited, listed; by one process at a time."""

import asyncio
from typing import Any
from uuid import uuid4

from dsm.events.v1 import event_pb2
from dsm.orchestrator.v1 import decision_pb2, strategy_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb

from services.kit.clock import utc_now
from services.kit.data.database import Database
from services.orchestrator.learning import Learner
from services.orchestrator.store import strategies as store
from tests.harness import eventually, refused
from tests.service.orchestrator.orchestrations import TODAY, Dsm
from tests.service.orchestrator.pasts import past, project

ACTIVE = strategy_pb2.STRATEGY_STATE_ACTIVE
CANDIDATE = strategy_pb2.STRATEGY_STATE_CANDIDATE
RETIRED = strategy_pb2.STRATEGY_STATE_RETIRED


async def evolve(dsm: Dsm, project_id: str, **more: Any) -> pb.EvolveStrategiesResponse:
    request = pb.EvolveStrategiesRequest(project_id=project_id, **more)
    answer: pb.EvolveStrategiesResponse = await dsm.orchestrator.EvolveStrategies(request)
    return answer


async def of_project(dsm: Dsm, project_id: str, **more: Any) -> list[strategy_pb2.Strategy]:
    """A project's own strategies, surest first."""
    answer = await dsm.orchestrator.ListStrategies(pb.ListStrategiesRequest(project_id=project_id, **more))
    return [strategy for strategy in answer.strategies if strategy.project_id]


async def events_of(dsm: Dsm, strategy_id: str) -> list[Any]:
    rows = await dsm.world.query(
        "orchestrator",
        "SELECT payload FROM outbox WHERE aggregate_id = %(id)s ORDER BY aggregate_version",
        {"id": strategy_id},
    )
    return [event_pb2.Event.FromString(row["payload"]).strategy_evolved for row in rows]


async def test_strategies_are_learned_from_outcomes(dsm: Dsm) -> None:
    record = await project(dsm, "STR-LEARN")
    nothing = await evolve(dsm, "STR-LEARN")
    assert (nothing.episodes_considered, len(nothing.created)) == (0, 0)
    await past(dsm, record.decision_id, count=20, completed=6)

    would = await evolve(dsm, "STR-LEARN", dry_run=True)
    assert (would.episodes_considered, len(would.created)) == (20, 2)
    assert not await of_project(dsm, "STR-LEARN")

    request_id = str(uuid4())
    made = await evolve(dsm, "STR-LEARN", request_id=request_id)
    assert await evolve(dsm, "STR-LEARN", request_id=request_id) == made
    assert len(made.created) == 2
    always = next(strategy for strategy in made.created if not strategy.conditions)
    assert (always.project_id, always.state, always.version) == ("STR-LEARN", ACTIVE, 1)
    assert always.effect == strategy_pb2.StrategyEffect(kind=decision_pb2.ADJUSTMENT_KIND_TASK_COUNT, factor=0.7)
    assert always.confidence > 0.8
    assert len(always.supporting_episode_ids) == 20
    (loaded,) = (strategy for strategy in made.created if strategy.conditions)
    assert loaded.conditions[0].feature == "load"
    assert loaded.conditions[0].minimum < 10 / record.analysis.capacity_person_days < loaded.conditions[0].maximum
    assert await of_project(dsm, "STR-LEARN") == sorted(made.created, key=lambda s: (-s.confidence, s.strategy_id))
    (event,) = await events_of(dsm, always.strategy_id)
    assert (event.strategy, event.reason) == (always, "20 of 20 episodes speak for it.")

    again = await evolve(dsm, "STR-LEARN")
    assert not any((again.created, again.updated, again.retired))


async def test_the_request_id_of_another_evolution_is_refused(dsm: Dsm) -> None:
    request_id = str(uuid4())
    await evolve(dsm, "STR-NONE", request_id=request_id)
    failed = await refused(evolve(dsm, "STR-OTHER", request_id=request_id))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")


async def test_strategies_are_listed_in_pages_surest_first(dsm: Dsm) -> None:
    for name, completed in (("STR-PAGE-A", 6), ("STR-PAGE-B", 5)):
        record = await project(dsm, name)
        await past(dsm, record.decision_id, count=12, completed=completed)
        await evolve(dsm, name)
    request = pb.ListStrategiesRequest(page_size=1)
    found = []
    while True:
        answer = await dsm.orchestrator.ListStrategies(request)
        found += answer.strategies
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert len({strategy.strategy_id for strategy in found}) == len(found) >= 4
    assert [strategy.confidence for strategy in found] == sorted((s.confidence for s in found), reverse=True)
    states = {strategy.state for strategy in found}
    for state in (CANDIDATE, ACTIVE):
        chosen = await dsm.orchestrator.ListStrategies(pb.ListStrategiesRequest(state=state, page_size=250))
        assert {strategy.state for strategy in chosen.strategies} == {state} & states
    of_a = pb.ListStrategiesRequest(project_id="STR-PAGE-A", page_size=1)
    token = (await dsm.orchestrator.ListStrategies(of_a)).next_page_token
    assert token
    of_b = pb.ListStrategiesRequest(project_id="STR-PAGE-B", page_size=1, page_token=token)
    failed = await refused(dsm.orchestrator.ListStrategies(of_b))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


async def test_an_applied_strategy_is_named_credited_and_blamed(dsm: Dsm) -> None:
    record = await project(dsm, "STR-APPLY")
    await past(dsm, record.decision_id, count=20, completed=6)
    await evolve(dsm, "STR-APPLY")
    start = (TODAY.fromordinal(TODAY.toordinal() - 21)).isoformat()
    record = await dsm.orchestrate(
        "STR-APPLY", as_of_date=start, sprint_duration_weeks=2, max_tasks_per_sprint=10, create_cronjob=False
    )
    tasks = next(a for a in record.adjustments if a.kind == decision_pb2.ADJUSTMENT_KIND_TASK_COUNT)
    assert tasks.evidence_source == decision_pb2.EVIDENCE_SOURCE_STRATEGY
    assert tasks.state == decision_pb2.ADJUSTMENT_STATE_APPLIED
    assert record.final_decision.tasks_to_assign == 7
    assert record.intelligence_metadata.strategies_considered == 2
    (applied_id,) = tasks.evidence_details.strategies_used
    (episode,) = [e for e in await dsm.episodes("STR-APPLY") if e.decision_id == record.decision_id]
    assert list(episode.strategy_ids) == [applied_id]

    async def strategy() -> strategy_pb2.Strategy:
        return next(s for s in await of_project(dsm, "STR-APPLY") if s.strategy_id == applied_id)

    before = await strategy()
    assert (before.times_applied, before.successes, before.failures, before.version) == (1, 0, 0, 1)
    # Three of seven are no success.
    await dsm.complete(await dsm.sprint(record.sprint_id), 3)
    last = (TODAY.fromordinal(TODAY.toordinal() - 7)).isoformat()
    await dsm.orchestrate("STR-APPLY", as_of_date=last, create_sprint_if_needed=False)

    async def blamed() -> bool:
        return (await strategy()).failures == 1

    await eventually(blamed)
    after = await strategy()
    assert (after.times_applied, after.successes, after.version) == (1, 0, 2)
    assert after.confidence < before.confidence
    assert list(after.contradicting_episode_ids) == [episode.episode_id]
    assert [event.strategy.version for event in await events_of(dsm, applied_id)] == [1, 2]
    # What was told once is counted once: thinking it over finds the same.
    evolved = await evolve(dsm, "STR-APPLY")
    assert not evolved.created
    assert (await strategy()).failures == 1


async def test_a_dry_run_applies_nothing(dsm: Dsm) -> None:
    record = await project(dsm, "STR-DRY")
    await past(dsm, record.decision_id, count=20, completed=6)
    await evolve(dsm, "STR-DRY")
    record = await dsm.orchestrate("STR-DRY", dry_run=True, sprint_duration_weeks=2, max_tasks_per_sprint=10)
    assert record.final_decision.tasks_to_assign == 7
    assert {strategy.times_applied for strategy in await of_project(dsm, "STR-DRY")} == {0}


async def test_a_strategy_that_fails_is_retired_and_told(dsm: Dsm) -> None:
    record = await project(dsm, "STR-FAIL")
    await past(dsm, record.decision_id, count=20, completed=6)
    await evolve(dsm, "STR-FAIL")
    await past(dsm, record.decision_id, count=60, completed=1)
    evolved = await evolve(dsm, "STR-FAIL")
    assert len(evolved.retired) == 2
    for strategy in evolved.retired:
        assert (strategy.state, strategy.version) == (RETIRED, 2)
        assert strategy.retire_reason
        assert strategy.HasField("retire_time")
    assert not await of_project(dsm, "STR-FAIL", state=ACTIVE)
    assert await of_project(dsm, "STR-FAIL", state=RETIRED)
    again = await evolve(dsm, "STR-FAIL")
    assert not any((again.created, again.updated, again.retired))
    record = await dsm.orchestrate("STR-FAIL", dry_run=True, sprint_duration_weeks=2, max_tasks_per_sprint=10)
    assert record.intelligence_metadata.strategies_considered == 0


async def test_who_learns_at_the_same_time_learns_the_same_once(dsm: Dsm) -> None:
    record = await project(dsm, "STR-TWICE")
    await past(dsm, record.decision_id, count=20, completed=6)
    answers = await asyncio.gather(*(evolve(dsm, "STR-TWICE") for _ in range(5)))
    assert sorted(len(answer.created) for answer in answers) == [0, 0, 0, 0, 2]
    assert len(await of_project(dsm, "STR-TWICE")) == 2


async def test_one_of_many_processes_learns_when_it_is_time(dsm: Dsm) -> None:
    record = await project(dsm, "STR-TIME")
    await past(dsm, record.decision_id, count=20, completed=6)
    await dsm.world.query("orchestrator", "UPDATE evolution SET next_time = now() - interval '1 s'")
    database = Database("orchestrator", dsm.world.stack.postgres.url("dsm_orchestrator"))
    await database.open()
    try:

        async def claim() -> bool:
            async with database.write() as tx:
                return await store.claim_evolution(tx, 3600)

        assert sorted(await asyncio.gather(*(claim() for _ in range(6)))) == [False] * 5 + [True]
        await dsm.world.query("orchestrator", "UPDATE evolution SET next_time = now() - interval '1 s'")
        learner = asyncio.create_task(Learner(database, utc_now, every_seconds=3600).keep_learning())

        async def learned() -> bool:
            return len(await of_project(dsm, "STR-TIME")) == 2

        await eventually(learned)
        learner.cancel()
        (row,) = await dsm.world.query("orchestrator", "SELECT next_time > now() AS later FROM evolution")
        assert row["later"]
    finally:
        await database.close()
