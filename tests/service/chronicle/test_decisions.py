"""Decisions: recorded with their outcomes, and what they brought."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from dsm.chronicle.v1 import chronicle_service_pb2 as pb
from dsm.orchestrator.v1.decision_pb2 import DecisionRecord, DecisionSource

from services.kit.clock import utc_now
from tests.harness import World, refused
from tests.service.chronicle.histories import closed_sprint, moment_ago
from tests.service.chronicle.notes import count_events, decision_record, new_project, retrospective_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceAsyncStub


async def test_decisions_are_kept_as_they_came_oldest_first(stub: ChronicleServiceAsyncStub, world: World) -> None:
    project = new_project()
    records = [decision_record(project, 1_700_000_000 + day * 86400) for day in (2, 0, 1)]
    records[0].decision_source = DecisionSource.DECISION_SOURCE_RULE_BASED_ONLY
    records[1].sprint_id = f"{project}-S01"
    for record in records:
        stored = await stub.RecordDecision(pb.RecordDecisionRequest(decision=record))
        assert stored.decision_note.audit_id == record.decision_id
        assert stored.decision_note.decision == record
        assert await stub.RecordDecision(pb.RecordDecisionRequest(decision=record)) == stored
        assert await count_events(world, record.decision_id) == 1

    async def found(**filters: object) -> list[DecisionRecord]:
        listed = await stub.ListDecisions(pb.ListDecisionsRequest(**filters))  # type: ignore[arg-type]
        return [note.decision for note in listed.decision_notes]

    assert await found(project_id=project) == [records[1], records[2], records[0]]
    assert await found(sprint_id=f"{project}-S01") == [records[1]]
    assert await found(audit_id=records[2].decision_id) == [records[2]]
    source = DecisionSource.DECISION_SOURCE_RULE_BASED_ONLY
    assert await found(project_id=project, decision_source=source) == [records[0]]
    # 1,700,000,000 is the evening of 14 November 2023 in UTC.
    assert await found(project_id=project, start_date="2023-11-15", end_date="2023-11-15") == [records[2]]
    first = await stub.ListDecisions(pb.ListDecisionsRequest(project_id=project, page_size=2))
    rest = await stub.ListDecisions(
        pb.ListDecisionsRequest(project_id=project, page_size=2, page_token=first.next_page_token)
    )
    assert [note.decision for note in rest.decision_notes] == [records[0]]


@pytest.mark.parametrize("sprint_closes_first", [True, False])
async def test_a_decision_gets_the_outcome_of_its_sprint(
    stub: ChronicleServiceAsyncStub, sprint_closes_first: bool
) -> None:
    project = new_project()
    record = decision_record(project, sprint_id=f"{project}-S01")
    note = retrospective_of(project)
    steps: list[Awaitable[object]] = [
        stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=note)),
        stub.RecordDecision(pb.RecordDecisionRequest(decision=record)),
    ]
    for step in steps if sprint_closes_first else steps[::-1]:
        await step
    listed = await stub.ListDecisions(pb.ListDecisionsRequest(project_id=project))
    [decision] = listed.decision_notes
    outcome = decision.decision.outcome
    assert (outcome.sprint_id, outcome.success, outcome.completion_rate) == (note.sprint_id, False, 0.5)
    assert (outcome.completed_tasks, outcome.completed_points) == (1, 3)
    assert decision.HasField("outcome_time")


async def test_a_decision_needs_its_parts(stub: ChronicleServiceAsyncStub) -> None:
    record = decision_record(new_project())
    record.ClearField("final_decision")
    failed = await refused(stub.RecordDecision(pb.RecordDecisionRequest(decision=record)))
    assert (failed.code, failed.metadata["field"]) == ("INVALID_ARGUMENT", "decision.final_decision")


# --- their impact ---------------------------------------------------------------------------------


async def _decide(stub: ChronicleServiceAsyncStub, project: str, number: int, *, enhanced: bool, days: int = 5) -> str:
    sources = (DecisionSource.DECISION_SOURCE_RULE_BASED_ONLY, DecisionSource.DECISION_SOURCE_INTELLIGENCE_ENHANCED)
    sprint_id = f"{project}-S{number:02}" if number else ""
    record = decision_record(project, decision_source=sources[enhanced], sprint_id=sprint_id)
    record.decision_time.CopyFrom(moment_ago(days))
    await stub.RecordDecision(pb.RecordDecisionRequest(decision=record))
    return record.decision_id


async def test_enhanced_decisions_are_compared_with_rule_based_ones(stub: ChronicleServiceAsyncStub) -> None:
    project = new_project()
    enhanced, rule_based = (9, 9, 10, 8, 9), (7, 8, 8, 7, 8)
    for number, completed in enumerate((*enhanced, *rule_based), 1):
        await _decide(stub, project, number, enhanced=number <= 5)
        await stub.RecordRetrospective(
            closed_sprint(project, number, completed=completed, released=10 - completed, finishers=2, capacity=10)
        )
    open_id = await _decide(stub, project, 11, enhanced=True, days=1)
    await _decide(stub, project, 0, enhanced=True)
    await _decide(stub, project, 12, enhanced=True, days=40)
    found = (await stub.GetDecisionImpact(pb.GetDecisionImpactRequest(project_id=project))).impact
    today = utc_now().date()
    assert (found.time_period.start_date, found.time_period.end_date) == (
        (today - timedelta(days=30)).isoformat(),
        today.isoformat(),
    )
    assert (found.total_decisions_analyzed, found.decisions_without_outcome, len(found.details)) == (10, 1, 11)
    assert (found.intelligence_enhanced_decisions, found.rule_based_decisions) == (5, 5)
    assert found.intelligence_completion_rate_avg == pytest.approx(0.9)
    assert found.rule_based_completion_rate_avg == pytest.approx(0.76)
    assert found.completion_rate_improvement_percent == pytest.approx(100 * 0.14 / 0.76)
    assert found.task_efficiency_improvement_percent == pytest.approx(100 * 0.14 / 0.76)
    assert found.resource_utilization_improvement_percent == 0
    assert 0 < found.completion_rate_difference_interval.low < 0.14 < found.completion_rate_difference_interval.high
    assert (found.not_enough_data, found.minimum_group_size) == (False, 5)
    assert (found.intelligence_enhanced.successes, found.rule_based.successes) == (5, 3)
    assert found.rule_based.success_rate_interval.low < 0.6 < found.rule_based.success_rate_interval.high
    assert found.intelligence_enhanced.completion_rate_interval.high <= 1
    last = found.details[-1]
    assert (last.audit_id, last.HasField("success"), last.HasField("completion_rate")) == (open_id, False, False)
    assert found.details[0].task_efficiency == pytest.approx(0.9)
    assert found.details[0].resource_utilization == 0.5
    whole = pb.GetDecisionImpactRequest(project_id=project, start_date="2020-01-01")
    assert (await stub.GetDecisionImpact(whole)).impact.decisions_without_outcome == 2


async def test_too_few_decisions_prove_nothing_and_say_so(stub: ChronicleServiceAsyncStub) -> None:
    project = new_project()
    for number in (1, 2):
        await _decide(stub, project, number, enhanced=number == 1)
        await stub.RecordRetrospective(closed_sprint(project, number, capacity=0, team=0))
    found = (await stub.GetDecisionImpact(pb.GetDecisionImpactRequest(project_id=project))).impact
    assert (found.total_decisions_analyzed, found.not_enough_data) == (2, True)
    assert found.completion_rate_improvement_percent == 0
    assert not found.HasField("task_efficiency_improvement_percent")
    assert not found.HasField("resource_utilization_improvement_percent")
    assert not found.HasField("completion_rate_difference_interval")
    assert not found.rule_based.HasField("task_efficiency_avg")
