"""What callers and consumers of events get."""

from collections.abc import Iterable
from datetime import date

from dsm.common.v1 import error_reason_pb2
from dsm.orchestrator.v1 import decision_pb2, episode_pb2, insight_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from services.kit.convert import from_date, from_time
from services.orchestrator.domain.action import Action
from services.orchestrator.domain.adjustment import Adjustment, Details
from services.orchestrator.domain.advisory import Advisory
from services.orchestrator.domain.decision import Decision, DecisionMode, DecisionSource, ModeConfig
from services.orchestrator.domain.episode import Episode, Record
from services.orchestrator.domain.evidence import Recollection
from services.orchestrator.domain.insights import successes_of
from services.orchestrator.domain.outcome import Outcome
from services.orchestrator.domain.situation import (
    Analysis,
    Backlog,
    OpenSprint,
    Options,
    Patterns,
    Risk,
    ScorePart,
    SimilarProject,
    Trend,
)


def from_episode(episode: Episode) -> episode_pb2.Episode:
    """An episode with its decision's situation, decision and actions."""
    record = episode.record
    state = "PENDING" if episode.requires_embedding else "EMBEDDED"
    return episode_pb2.Episode(
        episode_id=str(episode.episode_id),
        decision_id=str(record.decision_id),
        project_id=record.project_id,
        context=from_analysis(record.analysis),
        context_text=episode.context_text,
        decision_source=_source(record.source),
        decision=from_decision(record.final),
        actions=map(from_action, record.actions),
        sprint_id=record.sprint_id,
        outcome=from_outcome(episode.outcome) if episode.outcome else None,
        quality_score=episode.quality_score,
        quality_findings=episode.quality_findings,
        retrievable=episode.retrievable,
        embedding_state=episode_pb2.EpisodeEmbeddingState.Value(f"EPISODE_EMBEDDING_STATE_{state}"),
        embedding_model=episode.embedding_model,
        strategy_ids=map(str, record.strategy_ids),
        create_time=from_time(episode.create_time),
        outcome_time=from_time(episode.outcome_time),
    )


def from_record(episode: Episode) -> decision_pb2.DecisionRecord:
    """A decision with everything that led to it and came of it."""
    record = episode.record
    return decision_pb2.DecisionRecord(
        decision_id=str(record.decision_id),
        project_id=record.project_id,
        decision_time=from_time(record.decision_time),
        mode=_mode(record.mode),
        decision_source=_source(record.source),
        action=decision_pb2.OrchestrateAction.Value(f"ORCHESTRATE_ACTION_{record.asked}"),
        options=from_options(record.options),
        analysis=from_analysis(record.analysis),
        rule_based_decision=from_decision(record.rule_based),
        final_decision=from_decision(record.final),
        adjustments=map(from_adjustment, record.adjustments),
        confidence_scores=decision_pb2.ConfidenceScores(
            overall_decision_confidence=record.confidence.overall,
            intelligence_threshold_met=record.confidence.threshold_met,
            minimum_threshold=record.confidence.threshold,
        ),
        actions=map(from_action, record.actions),
        intelligence_metadata=_metadata(record),
        advisory=from_advisory(episode.advisory),
        episode_id=str(episode.episode_id),
        sprint_id=record.sprint_id,
        outcome=from_outcome(episode.outcome) if episode.outcome else None,
    )


def from_options(options: Options) -> decision_pb2.OrchestrateOptions:
    """The options as they were given."""
    return decision_pb2.OrchestrateOptions(
        create_sprint_if_needed=options.create_sprint_if_needed,
        assign_tasks=options.assign_tasks,
        create_cronjob=options.create_cronjob,
        schedule=options.schedule,
        sprint_duration_weeks=options.sprint_duration_weeks,
        max_tasks_per_sprint=options.max_tasks_per_sprint,
        dry_run=options.dry_run,
        close_finished_sprint=options.close_finished_sprint,
        start_date=from_date(options.start_date),
        as_of_date=from_date(options.as_of_date),
        roll_over_unfinished=options.roll_over_unfinished,
    )


def from_analysis(analysis: Analysis) -> decision_pb2.ProjectAnalysis:
    """What was seen."""
    return decision_pb2.ProjectAnalysis(
        backlog_tasks=analysis.backlog_tasks,
        unassigned_tasks=analysis.unassigned_tasks,
        unassigned_points=analysis.unassigned_points,
        active_sprints=1 if analysis.active_sprint_id else 0,
        active_sprint_id=analysis.active_sprint_id,
        active_sprint_finished=analysis.active_sprint_finished,
        team_size=analysis.team_size,
        capacity_person_days=analysis.capacity_person_days,
        historical_context=_context(analysis),
        as_of_date=from_date(analysis.as_of_date),
    )


def _context(analysis: Analysis) -> insight_pb2.HistoricalContext | None:
    """The history looked at; None if there is none."""
    if not (analysis.patterns or analysis.similar or analysis.risk):
        return None
    return insight_pb2.HistoricalContext(
        project_patterns=from_patterns(analysis.patterns) if analysis.patterns else None,
        similar_projects=map(from_similar, analysis.similar),
        risk_assessment=from_assessment(analysis.risk) if analysis.risk else None,
    )


def from_similar(project: SimilarProject) -> insight_pb2.SimilarProject:
    """A similar project and what it teaches; the means are over its successful sprints."""
    good = successes_of(project.sprints)
    return insight_pb2.SimilarProject(
        project_id=project.project_id,
        similarity_score=project.similarity,
        success_rate=good.rate,
        lessons_learned=[lesson[:2000] for lesson in project.lessons[:20]],
        score_parts=map(from_part, project.parts),
        completion_rate=project.completion_rate,
        successful_sprint_tasks=good.tasks,
        successful_sprint_weeks=min(6.0, good.weeks) if good.weeks else None,
        closed_sprints=project.closed_sprints,
        team_size=project.team_size,
    )


def from_assessment(risk: Risk) -> insight_pb2.RiskAssessment:
    """A predicted risk with its parts."""
    return insight_pb2.RiskAssessment(
        overall_risk=risk.overall,
        sprint_failure_probability=risk.sprint_failure,
        capacity_overload_risk=risk.overload,
        confidence=risk.confidence,
        parts=map(from_part, risk.parts),
    )


def from_part(part: ScorePart) -> insight_pb2.ScorePart:
    """One part of a score."""
    return insight_pb2.ScorePart(
        name=part.name, score=part.score, weight=part.weight, explanation=part.explanation[:1000]
    )


def from_patterns(patterns: Patterns) -> insight_pb2.HistoricalPatterns:
    """What the closed sprints have in common."""
    return insight_pb2.HistoricalPatterns(
        avg_sprint_duration_days=patterns.duration_days,
        completion_rate=patterns.completion_rate,
        velocity_trend=from_trend(patterns.trend),
        common_impediments=[label[:500] for label in patterns.impediments[:20]],
        avg_completed_tasks=patterns.completed_tasks,
        points_per_person_day=patterns.points_per_person_day,
        closed_sprints=patterns.closed_sprints,
    )


def from_decision(decision: Decision) -> decision_pb2.Decision:
    """What is to be done."""
    return decision_pb2.Decision(
        create_new_sprint=decision.create_new_sprint,
        tasks_to_assign=decision.tasks_to_assign,
        sprint_duration_weeks=decision.sprint_duration_weeks,
        points_to_assign=decision.points_to_assign,
        start_date=from_date(decision.start_date),
        close_sprint_id=decision.close_sprint_id,
        schedule_daily_scrum=decision.schedule_daily_scrum,
        reasoning=decision.reasoning[:8000],
    )


def from_adjustment(adjustment: Adjustment) -> decision_pb2.Adjustment:
    """One adjustment with its evidence and its fate."""
    return decision_pb2.Adjustment(
        kind=decision_pb2.AdjustmentKind.Value(f"ADJUSTMENT_KIND_{adjustment.kind}"),
        original_recommendation=adjustment.original,
        intelligence_recommendation=adjustment.recommended,
        applied_value=adjustment.applied_value,
        state=decision_pb2.AdjustmentState.Value(f"ADJUSTMENT_STATE_{adjustment.state}"),
        confidence=adjustment.confidence,
        evidence_source=decision_pb2.EvidenceSource.Value(f"EVIDENCE_SOURCE_{adjustment.source}"),
        evidence_summary=adjustment.summary[:1000],
        evidence_details=_evidence(adjustment.details),
        expected_improvement=adjustment.improvement[:1000],
        expected_completion_rate_change=adjustment.expected_change,
        rationale=adjustment.rationale[:4000],
    )


def from_action(action: Action) -> decision_pb2.ActionResult:
    """One action and how it stands."""
    known = f"ERROR_REASON_{action.error_reason}"
    reasons = error_reason_pb2.ErrorReason
    return decision_pb2.ActionResult(
        kind=decision_pb2.ActionKind.Value(f"ACTION_KIND_{action.kind}"),
        state=decision_pb2.ActionState.Value(f"ACTION_STATE_{action.state}"),
        reason=action.reason,
        error_reason=reasons.Value(known) if known in reasons.keys() else reasons.ERROR_REASON_UNSPECIFIED,  # noqa: SIM118
        request_id=str(action.request_id),
        sprint_id=action.sprint_id,
        retrospective_id=action.retrospective_id,
        cron_job_name=action.cron_job_name,
        task_count=action.task_count,
        description=action.description,
        update_time=from_time(action.update_time),
    )


def from_advisory(advisory: Advisory | None) -> decision_pb2.Advisory:
    """The review of a decision; that there is none to come is said."""
    if advisory is None:
        return decision_pb2.Advisory(state=decision_pb2.ADVISORY_STATE_DISABLED)
    return decision_pb2.Advisory(
        state=decision_pb2.AdvisoryState.Value(f"ADVISORY_STATE_{advisory.state}"),
        text=advisory.text,
        model=advisory.model,
        create_time=from_time(advisory.create_time),
    )


def from_outcome(outcome: Outcome) -> decision_pb2.DecisionOutcome:
    """What came of a decision."""
    return decision_pb2.DecisionOutcome(
        sprint_id=outcome.sprint_id,
        success=outcome.success,
        completion_rate=outcome.completion_rate,
        planned_tasks=outcome.planned_tasks,
        completed_tasks=outcome.completed_tasks,
        planned_points=outcome.planned_points,
        completed_points=outcome.completed_points,
        capacity_person_days=outcome.capacity_person_days,
        impediments_raised=outcome.impediments_raised,
        close_time=from_time(outcome.close_time),
    )


def from_mode(config: ModeConfig) -> decision_pb2.DecisionModeConfig:
    """A configuration, complete."""
    return decision_pb2.DecisionModeConfig(
        mode=_mode(config.mode),
        confidence_threshold=config.confidence_threshold,
        enable_task_count_adjustment=config.enable_task_count_adjustment,
        enable_sprint_duration_adjustment=config.enable_sprint_duration_adjustment,
        enable_points_adjustment=config.enable_points_adjustment,
    )


def from_timings(total: float, decision: float, steps: Iterable[tuple[str, float]]) -> pb.PerformanceMetrics:
    """How long everything took; seconds."""
    return pb.PerformanceMetrics(
        total=_duration(total),
        decision=_duration(decision),
        steps=[pb.StepTiming(step=step, elapsed=_duration(elapsed)) for step, elapsed in steps],
    )


def from_open_sprint(sprint: OpenSprint, today: date) -> insight_pb2.CurrentSprint:
    """The open sprint as of a day."""
    return insight_pb2.CurrentSprint(
        sprint_id=sprint.sprint_id,
        name=sprint.name,
        start_date=from_date(sprint.start),
        end_date=from_date(sprint.end),
        total_tasks=sprint.total_tasks,
        completed_tasks=sprint.completed_tasks,
        blocked_tasks=sprint.blocked_tasks,
        finished=sprint.finished(today),
    )


def from_backlog(backlog: Backlog) -> insight_pb2.BacklogStatus:
    """Counts by state."""
    return insight_pb2.BacklogStatus(
        total_tasks=backlog.total,
        unassigned=backlog.unassigned,
        assigned_to_sprint=backlog.assigned_to_sprint,
        in_progress=backlog.in_progress,
        blocked=backlog.blocked,
        completed=backlog.completed,
        cancelled=backlog.cancelled,
    )


def from_trends(patterns: Patterns) -> insight_pb2.HistoricalTrends:
    """Key figures over the closed sprints."""
    return insight_pb2.HistoricalTrends(
        avg_sprint_duration_days=patterns.duration_days,
        completion_rate=patterns.completion_rate,
        velocity_trend=from_trend(patterns.trend),
    )


def from_risk(risk: Risk) -> insight_pb2.PredictiveInsights:
    """Predicted risk."""
    return insight_pb2.PredictiveInsights(overall_risk=risk.overall, sprint_failure_probability=risk.sprint_failure)


def _metadata(record: Record) -> decision_pb2.IntelligenceMetadata:
    metadata = record.metadata
    return decision_pb2.IntelligenceMetadata(
        decision_mode=_mode(record.mode),
        modifications_applied=sum(adjustment.applied for adjustment in record.adjustments),
        modifications_proposed=len(record.adjustments),
        episodes_considered=metadata.episodes_considered,
        episodes_used=metadata.episodes_used,
        similar_projects_considered=metadata.similar_projects_considered,
        strategies_considered=metadata.strategies_considered,
        degraded_parts=metadata.degraded,
        cache_hit=metadata.cache_hit,
        embedding_model=metadata.embedding_model,
    )


def _evidence(details: Details) -> decision_pb2.EvidenceDetails:
    return decision_pb2.EvidenceDetails(
        similar_projects_used=details.similar_projects,
        episodes_used=map(_episode_evidence, details.episodes),
        strategies_used=map(str, details.strategies),
        sprints_used=details.sprints,
        sample_size=details.sample_size,
        average_similarity=details.average_similarity,
        completion_rate_recommended=details.completion_rate_recommended,
        completion_rate_original=details.completion_rate_original,
    )


def _episode_evidence(episode: Recollection) -> decision_pb2.EpisodeEvidence:
    return decision_pb2.EpisodeEvidence(
        episode_id=str(episode.episode_id),
        project_id=episode.project_id,
        similarity=episode.similarity,
        completion_rate=episode.outcome.completion_rate if episode.outcome else None,
    )


def _mode(mode: DecisionMode) -> decision_pb2.DecisionMode.ValueType:
    return decision_pb2.DecisionMode.Value(f"DECISION_MODE_{mode}")


def _source(source: DecisionSource) -> decision_pb2.DecisionSource.ValueType:
    return decision_pb2.DecisionSource.Value(f"DECISION_SOURCE_{source}")


def from_trend(trend: Trend | None) -> insight_pb2.Trend.ValueType:
    """A direction."""
    return insight_pb2.Trend.Value(f"TREND_{trend or 'UNSPECIFIED'}")


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1e6))
    return duration
