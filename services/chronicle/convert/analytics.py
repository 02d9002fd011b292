"""What analytics found."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

from dsm.chronicle.v1 import analytics_pb2 as pb
from dsm.common.v1.page_pb2 import DateRange
from dsm.orchestrator.v1 import impact_pb2
from dsm.orchestrator.v1.decision_pb2 import DecisionSource
from dsm.orchestrator.v1.insight_pb2 import ScorePart
from google.protobuf.duration_pb2 import Duration

from services.chronicle.convert import velocity
from services.chronicle.domain import impact as impacts
from services.chronicle.domain import impediments, patterns, summary
from services.chronicle.domain.impact import Detail, Impact, Interval, Outcomes, improvement_percent, mean_interval
from services.chronicle.domain.impediments import Analysis, Group
from services.chronicle.domain.patterns import CommonItem, Patterns
from services.chronicle.domain.similarity import History, Resemblance
from services.chronicle.domain.summary import Summary
from services.kit.convert import from_date, from_time


def encode_summary(found: Summary) -> pb.MetricsSummary:
    """The summary over all projects."""
    figures = found.figures
    return pb.MetricsSummary(
        total_projects=found.projects,
        total_sprints=figures.sprints,
        total_daily_scrum_reports=figures.reports,
        total_retrospectives=figures.retrospectives,
        total_action_items=figures.action_items,
        open_action_items=figures.open_action_items,
        overall_system_health=pb.SystemHealth.Value(f"SYSTEM_HEALTH_{found.health}"),
        health_reasons=found.reasons,
        summary_analysis=summary.describe(found),
        completion_rate=figures.completion_rate,
        total_decisions=figures.decisions,
        last_note_time=from_time(figures.last_note_time),
    )


def encode_patterns(project_id: str, found: Patterns) -> pb.ProjectPatterns:
    """What recurs in a project; what is not known is left out."""
    return pb.ProjectPatterns(
        project_id=project_id,
        daily_scrum_count=found.figures.reports,
        retrospective_count=found.figures.retrospectives,
        total_tasks_completed_in_daily_scrums=found.cycle.completed,
        common_retrospective_action_items=_encode_items(found.items),
        patterns_analysis_summary=patterns.describe(found),
        typical_completion_rate=found.closed.typical_rate,
        average_completion_rate=found.closed.average_rate,
        median_cycle_time=_days(found.cycle.median_days),
        p85_cycle_time=_days(found.cycle.p85_days),
        closed_sprints=found.figures.closed_sprints,
        average_sprint_duration_days=found.closed.average_days,
        last_note_time=from_time(found.figures.last_note_time),
    )


def encode_impediments(project_id: str, found: Analysis) -> pb.ImpedimentAnalysis:
    """The groups and their counts."""
    grouping = pb.IMPEDIMENT_GROUPING_UNSPECIFIED
    if found.total:
        grouping = pb.IMPEDIMENT_GROUPING_BY_MEANING if found.model else pb.IMPEDIMENT_GROUPING_BY_TEXT
    return pb.ImpedimentAnalysis(
        project_id=project_id,
        groups=map(_encode_group, found.groups),
        total_impediments=found.total,
        open_impediments=found.open,
        grouping=grouping,
        embedding_model=found.model,
        impediment_analysis_summary=impediments.describe(found),
        not_embedded_impediments=found.not_embedded,
    )


def encode_resemblances(found: Sequence[Resemblance], histories: Mapping[str, History]) -> list[pb.SimilarProject]:
    """Similar projects with what their scores are made of, and their histories as far as these were asked for."""
    told = [(each, histories.get(each.candidate.project_id, History())) for each in found]
    return [
        pb.SimilarProject(
            project_id=each.candidate.project_id,
            similarity_score=each.score,
            score_parts=[
                ScorePart(name=part.name, score=part.score, weight=part.weight, explanation=part.explanation)
                for part in each.parts
            ],
            closed_sprints=each.candidate.figures.closed_sprints,
            completion_rate=each.candidate.figures.completion_rate,
            sprints=map(velocity.encode_sprint, history.sprints),
            common_retrospective_action_items=_encode_items(history.items),
        )
        for each, history in told
    ]


def _encode_items(items: Iterable[CommonItem]) -> list[pb.ActionItemCount]:
    return [pb.ActionItemCount(description=i.description, count=i.count, open_count=i.open_count) for i in items]


def encode_impact(project_id: str, found: Impact) -> impact_pb2.DecisionImpact:
    """The comparison of enhanced and rule-based decisions."""
    enhanced, rule_based = found.enhanced, found.rule_based
    return impact_pb2.DecisionImpact(
        project_id=project_id,
        time_period=DateRange(start_date=from_date(found.start), end_date=from_date(found.end)),
        total_decisions_analyzed=enhanced.decisions + rule_based.decisions,
        intelligence_enhanced_decisions=enhanced.decisions,
        rule_based_decisions=rule_based.decisions,
        decisions_without_outcome=found.waiting,
        intelligence_completion_rate_avg=enhanced.completion.mean,
        rule_based_completion_rate_avg=rule_based.completion.mean,
        completion_rate_improvement_percent=improvement_percent(enhanced.completion, rule_based.completion),
        task_efficiency_improvement_percent=improvement_percent(enhanced.efficiency, rule_based.efficiency),
        resource_utilization_improvement_percent=improvement_percent(enhanced.utilization, rule_based.utilization),
        completion_rate_difference_interval=_interval(
            impacts.difference_interval(enhanced.completion, rule_based.completion)
        ),
        not_enough_data=not found.enough,
        minimum_group_size=impacts.MINIMUM_GROUP_SIZE,
        intelligence_enhanced=_encode_outcomes(enhanced),
        rule_based=_encode_outcomes(rule_based),
        details=[_encode_detail(project_id, detail) for detail in found.details],
        summary=impacts.describe(found),
    )


def _encode_group(group: Group) -> pb.ImpedimentGroup:
    return pb.ImpedimentGroup(
        label=group.label,
        frequency=group.frequency,
        open_count=group.open_count,
        closed_count=group.frequency - group.open_count,
        wordings=group.wordings,
        impediment_ids=group.impediment_ids,
        sprint_ids=group.sprint_ids,
        first_raise_time=from_time(group.first_raise_time),
        last_raise_time=from_time(group.last_raise_time),
        mean_resolve_time=_duration(group.mean_resolve_time),
    )


def _encode_outcomes(outcomes: Outcomes) -> impact_pb2.DecisionGroup:
    return impact_pb2.DecisionGroup(
        decisions=outcomes.decisions,
        successes=outcomes.successes,
        completion_rate_avg=outcomes.completion.mean,
        completion_rate_interval=_interval(mean_interval(outcomes.completion, 0, 1)),
        task_efficiency_avg=outcomes.efficiency.mean,
        task_efficiency_interval=_interval(mean_interval(outcomes.efficiency, 0)),
        resource_utilization_avg=outcomes.utilization.mean,
        resource_utilization_interval=_interval(mean_interval(outcomes.utilization, 0, 1)),
        success_rate_interval=_interval(impacts.share_interval(outcomes.successes, outcomes.completion.count)),
    )


def _encode_detail(project_id: str, detail: Detail) -> impact_pb2.DecisionImpactDetail:
    return impact_pb2.DecisionImpactDetail(
        audit_id=detail.audit_id,
        project_id=project_id,
        sprint_id=detail.sprint_id,
        decision_source=DecisionSource.Value(f"DECISION_SOURCE_{detail.decision_source}"),
        completion_rate=detail.completion_rate,
        success=detail.success,
        decision_time=from_time(detail.decision_time),
        task_efficiency=detail.task_efficiency,
        resource_utilization=detail.resource_utilization,
    )


def _interval(interval: Interval | None) -> impact_pb2.Interval | None:
    return impact_pb2.Interval(low=interval.low, high=interval.high) if interval else None


def _days(days: int | None) -> Duration | None:
    return None if days is None else _duration(timedelta(days=days))


def _duration(span: timedelta | None) -> Duration | None:
    if span is None:
        return None
    duration = Duration()
    duration.FromTimedelta(span)
    return duration
