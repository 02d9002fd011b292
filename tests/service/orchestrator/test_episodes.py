"""Episodes: embedded after the decision, found by meaning, given their outcome, and used as evidence."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

import pytest
from dsm.chronicle.v1 import chronicle_service_pb2
from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceStub
from dsm.orchestrator.v1 import decision_pb2, episode_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from psycopg import AsyncConnection
from psycopg.rows import dict_row

from services.orchestrator.domain.likeness import Traits
from services.orchestrator.store import episodes as store
from tests.harness import World, eventually, refused
from tests.service.orchestrator.orchestrations import DONE, EMBEDDED, START, TODAY, Dsm, dsm_of, states

PENDING = episode_pb2.EPISODE_EMBEDDING_STATE_PENDING


async def search(dsm: Dsm, query: str, **more: Any) -> pb.SearchEpisodesResponse:
    request = pb.SearchEpisodesRequest(query=query, **more)
    answer: pb.SearchEpisodesResponse = await dsm.orchestrator.SearchEpisodes(request)
    return answer


async def sprints_in_the_past(dsm: Dsm, project_id: str, count: int, planned: int, completed: int) -> None:
    """Sprints of two weeks, one after the other, that were decided on, worked on and closed, with known outcomes."""
    for number in range(count):
        start = TODAY - timedelta(days=14 * (count - number) + 7)
        record = await dsm.orchestrate(
            project_id, as_of_date=start.isoformat(), sprint_duration_weeks=2, max_tasks_per_sprint=planned
        )
        await dsm.complete(await dsm.sprint(record.sprint_id), completed)
    last = (TODAY - timedelta(days=7)).isoformat()
    await dsm.orchestrate(project_id, as_of_date=last, create_sprint_if_needed=False)

    async def known() -> bool:
        return len(await dsm.episodes(project_id, with_outcome_only=True)) == count

    await eventually(known)
    await dsm.embedded(project_id, count + 1)


async def set_mode(dsm: Dsm, project_id: str, mode: decision_pb2.DecisionMode.ValueType) -> None:
    """Say how a project wants its decisions made."""
    config = decision_pb2.DecisionModeConfig(mode=mode)
    await dsm.orchestrator.SetDecisionMode(pb.SetDecisionModeRequest(project_id=project_id, config=config))


async def test_an_episode_is_embedded_soon_and_found_by_its_situation(dsm: Dsm) -> None:
    await dsm.project("EPI-FIND", tasks=7, people=3)
    record = await dsm.orchestrate("EPI-FIND")
    (episode,) = await dsm.embedded("EPI-FIND")
    assert episode.decision_id == record.decision_id
    assert episode.context == record.analysis
    assert episode.retrievable
    assert episode.embedding_model
    found = await search(dsm, episode.context_text, project_id="EPI-FIND")
    assert found.embedding_model == episode.embedding_model
    assert [match.episode.episode_id for match in found.matches] == [episode.episode_id]
    assert found.matches[0].similarity == pytest.approx(1, abs=1e-3)
    assert not (await search(dsm, episode.context_text, project_id="EPI-FIND", with_outcome_only=True)).matches
    less = await search(dsm, "Recipes for apple cake with cinnamon", project_id="EPI-FIND")
    assert less.matches[0].similarity < 0.6
    assert not (
        await search(dsm, "Recipes for apple cake with cinnamon", project_id="EPI-FIND", minimum_similarity=0.6)
    ).matches


async def test_a_blank_query_is_refused(dsm: Dsm) -> None:
    failed = await refused(search(dsm, "  \n"))
    assert (failed.code, failed.reason, failed.metadata["field"]) == ("INVALID_ARGUMENT", "VALIDATION_FAILED", "query")


async def test_poor_episodes_are_kept_and_never_retrieved(dsm: Dsm) -> None:
    await dsm.project("EPI-POOR")
    await dsm.orchestrate("EPI-POOR", dry_run=True)
    (episode,) = await dsm.embedded("EPI-POOR")
    assert episode.quality_score < 0.7
    assert episode.quality_findings
    assert not (await search(dsm, episode.context_text, project_id="EPI-POOR")).matches
    assert not await dsm.episodes("EPI-POOR", retrievable_only=True)


async def test_episodes_are_listed_newest_first_in_pages(dsm: Dsm) -> None:
    await dsm.project("EPI-PAGE")
    made = [(await dsm.orchestrate("EPI-PAGE", dry_run=True)).decision_id for _ in range(3)]
    request = pb.ListEpisodesRequest(project_id="EPI-PAGE", page_size=2)
    first = await dsm.orchestrator.ListEpisodes(request)
    request.page_token = first.next_page_token
    second = await dsm.orchestrator.ListEpisodes(request)
    assert [e.decision_id for e in [*first.episodes, *second.episodes]] == made[::-1]
    assert not second.next_page_token
    request.retrievable_only = True
    assert (await refused(dsm.orchestrator.ListEpisodes(request))).reason == "PAGE_TOKEN_INVALID"
    (one,) = await dsm.episodes("EPI-PAGE", episode_id=first.episodes[0].episode_id)
    assert one.episode_id == first.episodes[0].episode_id


async def test_outcomes_come_with_the_closing_and_become_evidence(dsm: Dsm) -> None:
    # Without estimates, so that points do not limit what the sprint service takes.
    await dsm.project("EPI-LEARN", tasks=40, points=0)
    await set_mode(dsm, "EPI-LEARN", decision_pb2.DECISION_MODE_RULE_BASED_ONLY)
    await sprints_in_the_past(dsm, "EPI-LEARN", count=4, planned=12, completed=6)
    for episode in await dsm.episodes("EPI-LEARN", with_outcome_only=True):
        assert (episode.outcome.planned_tasks, episode.outcome.completed_tasks) == (12, 6)
        assert episode.outcome.completion_rate == 0.5
        assert not episode.outcome.success
        assert episode.outcome.sprint_id == episode.sprint_id
    recorded = await dsm.world.query(
        "orchestrator", "SELECT count(*) AS n FROM outbox WHERE subject = 'dsm.orchestrator.v1.episode.recorded'"
    )
    assert recorded[0]["n"] >= 3 * 4

    by_rules = await dsm.orchestrate("EPI-LEARN", sprint_duration_weeks=2, max_tasks_per_sprint=12, dry_run=True)
    assert not by_rules.adjustments
    assert by_rules.intelligence_metadata.episodes_considered == 0
    assert not by_rules.analysis.historical_context.similar_projects

    await set_mode(dsm, "EPI-LEARN", decision_pb2.DECISION_MODE_INTELLIGENCE_ENHANCED)
    record = await dsm.orchestrate("EPI-LEARN", sprint_duration_weeks=2, max_tasks_per_sprint=12)
    (adjustment,) = record.adjustments
    assert adjustment.original_recommendation == 12
    assert 6 <= adjustment.intelligence_recommendation == adjustment.applied_value <= 10
    assert adjustment.state == decision_pb2.ADJUSTMENT_STATE_APPLIED
    assert 0.75 <= adjustment.confidence <= 1
    assert adjustment.evidence_source == decision_pb2.EVIDENCE_SOURCE_CAPACITY
    assert list(adjustment.evidence_details.sprints_used) == [f"EPI-LEARN-S0{number}" for number in range(1, 5)]
    assert adjustment.evidence_details.sample_size >= 4
    assert adjustment.evidence_details.completion_rate_original == pytest.approx(0.5)
    assert adjustment.expected_completion_rate_change > 0
    assert record.decision_source == decision_pb2.DECISION_SOURCE_INTELLIGENCE_ENHANCED
    assert record.rule_based_decision.tasks_to_assign == 12
    assert record.final_decision.tasks_to_assign == adjustment.applied_value
    assert record.confidence_scores.intelligence_threshold_met
    assert record.intelligence_metadata.episodes_used >= 4
    assert states(record)[START] == DONE
    assert len((await dsm.sprint(record.sprint_id)).tasks) == adjustment.applied_value
    context = record.analysis.historical_context
    assert context.project_patterns.closed_sprints == 4
    # Four of four fell short of 80 %: (4 + 1) / (4 + 2).
    assert context.risk_assessment.sprint_failure_probability == pytest.approx(5 / 6)
    assert 0 <= context.risk_assessment.capacity_overload_risk <= 1
    assert sum(part.weight for part in context.risk_assessment.parts) == pytest.approx(1)
    status = await dsm.status("EPI-LEARN")
    assert status.predictive_insights.sprint_failure_probability == pytest.approx(5 / 6)


async def test_without_embedding_nothing_rests_on_similarity(dsm: Dsm, own_world: World) -> None:
    await dsm.project("EPI-BLIND", tasks=40, points=0)
    await set_mode(dsm, "EPI-BLIND", decision_pb2.DECISION_MODE_RULE_BASED_ONLY)
    await sprints_in_the_past(dsm, "EPI-BLIND", count=3, planned=10, completed=4)
    await set_mode(dsm, "EPI-BLIND", decision_pb2.DECISION_MODE_INTELLIGENCE_ENHANCED)
    blind = await dsm_of(own_world, "embedding")
    record = await blind.orchestrate("EPI-BLIND", sprint_duration_weeks=2, dry_run=True)
    assert "embedding unavailable" in record.intelligence_metadata.degraded_parts
    assert record.intelligence_metadata.episodes_considered == 0
    assert record.intelligence_metadata.similar_projects_considered == 0
    assert not record.analysis.historical_context.similar_projects
    (adjustment,) = record.adjustments
    # The team's own closed sprints are no matter of similarity.
    assert adjustment.evidence_source == decision_pb2.EVIDENCE_SOURCE_CAPACITY
    assert adjustment.evidence_details.sample_size == 3
    assert not adjustment.evidence_details.episodes_used
    assert not adjustment.evidence_details.similar_projects_used
    assert not adjustment.evidence_details.HasField("average_similarity")


async def test_the_chronicle_keeps_a_copy_with_the_actions(dsm: Dsm) -> None:
    await dsm.project("EPI-COPY")
    record = await dsm.orchestrate("EPI-COPY")
    stub = ChronicleServiceStub(await dsm.world.channel("chronicle"))

    async def copied() -> Any:
        answer = await stub.ListDecisions(chronicle_service_pb2.ListDecisionsRequest(project_id="EPI-COPY"))
        return [note.decision for note in answer.decision_notes] == [record]

    await eventually(copied)


async def test_a_new_model_has_every_episode_embedded_again(dsm: Dsm) -> None:
    await dsm.project("EPI-MODEL")
    await dsm.orchestrate("EPI-MODEL")
    (before,) = await dsm.embedded("EPI-MODEL")
    await dsm.world.query(
        "orchestrator", "UPDATE episode SET embedding_model = 'another' WHERE project_id = 'EPI-MODEL'"
    )
    # Vectors of different models are never compared.
    assert not (await search(dsm, before.context_text, project_id="EPI-MODEL")).matches
    # A process that begins knows no model yet, so its first embedding finds the outdated ones.
    await dsm.world.stop("orchestrator")
    again = await dsm_of(dsm.world)
    await search(again, "Whatever wakes the memory")

    async def replaced() -> bool:
        (episode,) = await again.episodes("EPI-MODEL")
        return bool(episode.embedding_state == EMBEDDED and episode.embedding_model == before.embedding_model)

    await eventually(replaced)
    assert (await search(again, before.context_text, project_id="EPI-MODEL")).matches


async def test_a_filtered_search_finds_what_lies_behind_many_others(dsm: Dsm) -> None:
    """The index gives its nearest first; without iterative scan, a filter that refuses them leaves nothing."""
    await dsm.project("EPI-FAR")
    await dsm.orchestrate("EPI-FAR")
    (episode,) = await dsm.embedded("EPI-FAR")
    await dsm.world.query("orchestrator", _CROWD)
    params = {
        "vector": (await dsm.world.query("orchestrator", _AMID))[0]["vector"],
        "model": episode.embedding_model,
        "length": 384,
        "project_id": "",
        "with_outcome": True,
        "candidates": 5,
        "limit": 5,
        **asdict(Traits()),
    }
    sql = store.search_sql(params)
    url = dsm.world.stack.postgres.url("dsm_orchestrator")
    async with await AsyncConnection.connect(url, row_factory=dict_row) as connection:
        # An outcome without figures, which nobody else may see.
        await connection.execute("UPDATE episode SET outcome_time = now() WHERE project_id = 'EPI-FAR'")
        # So few rows are sorted rather than looked up, if one lets PostgreSQL.
        await connection.execute("SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off")
        plan = await (await connection.execute("EXPLAIN " + sql, params)).fetchall()
        assert any("episode_embedding_384_idx" in line["QUERY PLAN"] for line in plan)
        found = await (await connection.execute(sql, params)).fetchall()
        assert found
        assert all(row["outcome_time"] for row in found)
        without = sql.replace("relaxed_order", "off").replace("iterative_scan <> 'off'", "true")
        assert not await (await connection.execute(without, params)).fetchall()
        own = params | {"project_id": "EPI-FAR", "with_outcome": False}
        found = await (await connection.execute(store.search_sql(own), own)).fetchall()
        assert [str(row["episode_id"]) for row in found] == [episode.episode_id]
        await connection.rollback()


# Four hundred episodes of another project around a place that is near to EPI-FAR's episode, and all of them nearer to
# it. The place is among what was embedded, not far off, where the index's graph might not lead.
_AMID = """
    SELECT l2_normalize(e.embedding::vector + noise.vector)::text AS vector
    FROM episode e, (
        SELECT array_agg(0.03 * sin(n * n))::vector AS vector FROM generate_series(1, 384) AS n) AS noise
    WHERE e.project_id = 'EPI-FAR'
"""
_CROWD = f"""
    WITH amid AS ({_AMID}),
    made AS (
        INSERT INTO decision (decision_id, project_id, decision_time, source, record, pending)
        SELECT gen_random_uuid(), 'EPI-NEAR', now(), source, record, false
        FROM decision, generate_series(1, 400) WHERE project_id = 'EPI-FAR'
        RETURNING decision_id)
    INSERT INTO episode (episode_id, decision_id, project_id, context_text, quality_score, quality_findings, embedding,
                         embedding_model, requires_embedding, create_time)
    SELECT gen_random_uuid(), made.decision_id, 'EPI-NEAR', 'near', 1, '{{}}', amid.vector::vector + noise.vector,
           e.embedding_model, false, now()
    FROM episode e, amid, made CROSS JOIN LATERAL (
        SELECT array_agg(0.004 * (random() - 0.5)::real)::vector AS vector
        FROM generate_series(1, 384) WHERE made.decision_id IS NOT NULL) AS noise
    WHERE e.project_id = 'EPI-FAR'
"""
