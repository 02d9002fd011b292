"""`dsm decide`: let the orchestrator look at a project, decide on its next sprint, and act."""

from typing import Annotated

import typer
from dsm.orchestrator.v1.decision_pb2 import (
    ORCHESTRATE_ACTION_ANALYZE_AND_ORCHESTRATE,
    ActionKind,
    ActionState,
    Adjustment,
    AdjustmentKind,
    AdjustmentState,
    Decision,
    DecisionRecord,
    EvidenceSource,
    OrchestrateOptions,
)
from dsm.orchestrator.v1.orchestrator_service_pb2 import OrchestrateRequest, OrchestrateResponse, PerformanceMetrics
from google.protobuf.duration_pb2 import Duration
from rich.console import Console
from rich.padding import Padding

from services.cli.client import TargetOption, connect
from services.cli.lookup import word
from services.cli.output import JsonOption, escape, out, print_json, table

_TIMEOUT_SECONDS = 120.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(decide)


def decide(
    project: Annotated[str, typer.Argument(help="The project.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Decide, and do nothing.")] = False,
    weeks: Annotated[
        int, typer.Option(help="Length of a new sprint in weeks.", show_default="by the rules", min=0, max=6)
    ] = 0,
    max_tasks: Annotated[int, typer.Option(help="Most tasks of a new sprint.", show_default="10", min=0, max=5000)] = 0,
    create_sprint: Annotated[bool, typer.Option(help="Start a sprint if none is open.")] = True,
    close_finished: Annotated[bool, typer.Option(help="Close a finished sprint.")] = True,
    roll_over: Annotated[
        bool, typer.Option(help="Unfinished tasks of a closed sprint go first into the next.")
    ] = False,
    schedule: Annotated[
        str, typer.Option(help="When the daily scrum runs, a cron expression.", show_default="0 14 * * 1-5")
    ] = "",
    create_cronjob: Annotated[
        bool | None,
        typer.Option(
            "--cronjob/--no-cronjob",
            help="Schedule the daily scrum.",
            show_default="yes, unless `dsm schedule delete` ended it",
        ),
    ] = None,
    start: Annotated[str, typer.Option(help="First day of a new sprint, ISO 8601.", show_default="--as-of")] = "",
    as_of: Annotated[str, typer.Option(help="The day that counts as today, ISO 8601.", show_default="today")] = "",
    target: TargetOption = "",
    as_json: JsonOption = False,
) -> None:
    """Decide on a project's next sprint by rules and by what past decisions came to, and act on it.

    Example: [bold]dsm decide SHOP --dry-run[/bold]
    """
    options = OrchestrateOptions(
        create_sprint_if_needed=create_sprint,
        create_cronjob=create_cronjob,
        schedule=schedule,
        sprint_duration_weeks=weeks,
        max_tasks_per_sprint=max_tasks,
        dry_run=dry_run,
        close_finished_sprint=close_finished,
        start_date=start,
        as_of_date=as_of,
        roll_over_unfinished=roll_over,
    )
    request = OrchestrateRequest(project_id=project, action=ORCHESTRATE_ACTION_ANALYZE_AND_ORCHESTRATE, options=options)
    with connect(target) as dsm:
        answer = dsm.orchestrator.Orchestrate(request, timeout=_TIMEOUT_SECONDS)
    if as_json:
        print_json(answer)
    else:
        show_decision(out, answer)


def show_decision(console: Console, answer: OrchestrateResponse) -> None:
    """Everything that led to a decision, and what was done."""
    decision = answer.decision
    _show_analysis(console, decision)
    console.print()
    _show_decisions(console, decision.rule_based_decision, decision.final_decision)
    if decision.adjustments:
        console.print()
        _show_adjustments(console, decision)
    console.print()
    _show_history(console, decision)
    if decision.actions:
        console.print()
        _show_actions(console, decision)
    _show_timings(console, answer.performance_metrics)


def _show_analysis(console: Console, decision: DecisionRecord) -> None:
    seen = decision.analysis
    capacity = f", {seen.capacity_person_days:g} person-days" if seen.HasField("capacity_person_days") else ""
    sprint = "no open sprint"
    if seen.active_sprint_id:
        sprint = f"{escape(seen.active_sprint_id)} is open{' and finished' if seen.active_sprint_finished else ''}"
    console.print(
        f"[bold]{escape(decision.project_id)}[/bold] on {seen.as_of_date}: {seen.unassigned_tasks} free tasks "
        f"({seen.unassigned_points:g} points), {seen.team_size} people{capacity}, {sprint}."
    )


def _show_decisions(console: Console, by_rules: Decision, final: Decision) -> None:
    rows = [
        (what, of_rules, of_final)
        for (what, of_rules), (_, of_final) in zip(_lines(by_rules), _lines(final), strict=True)
        if of_rules or of_final
    ]
    console.print(table("", ["", "By the rules", "Decided"], rows))
    # What adjustments add to it is told with them.
    console.print(escape(by_rules.reasoning or final.reasoning))


def _lines(decision: Decision) -> list[tuple[str, str]]:
    new = decision.create_new_sprint
    return [
        ("Close", decision.close_sprint_id),
        ("New sprint", "yes" if new else "no"),
        ("Tasks", str(decision.tasks_to_assign) if new else ""),
        ("Weeks", str(decision.sprint_duration_weeks) if new else ""),
        ("Most points", f"{decision.points_to_assign:g}" if decision.HasField("points_to_assign") else ""),
        ("First day", decision.start_date),
    ]


def _show_adjustments(console: Console, decision: DecisionRecord) -> None:
    """What evidence suggests, what became of it, and below the table each with what it rests on."""
    rows = [
        (
            word(AdjustmentKind, adjustment.kind),
            f"{adjustment.original_recommendation:g}",
            f"{adjustment.intelligence_recommendation:g}",
            f"{adjustment.applied_value:g}",
            word(AdjustmentState, adjustment.state),
            f"{adjustment.confidence:.2f}",
        )
        for adjustment in decision.adjustments
    ]
    columns = ["What history says", "Rules", "History", "Applied", "Outcome", "Confidence"]
    console.print(table("", columns, rows, right=["Rules", "History", "Applied", "Confidence"]))
    told: set[str] = set()
    for adjustment in decision.adjustments:
        lines = [adjustment.rationale, adjustment.expected_improvement, *_evidence(adjustment)]
        console.print(f"\n[bold]{word(AdjustmentKind, adjustment.kind).capitalize()}[/bold]")
        for line in lines:
            # The same sprints and episodes speak for several adjustments.
            if line and line not in told:
                # What goes on in the next line is as far from the left.
                indent = 2 + len(line) - len(line.lstrip())
                console.print(Padding(escape(line.lstrip()), (0, 0, 0, indent), expand=False))
        told.update(lines)


def _evidence(adjustment: Adjustment) -> list[str]:
    details = adjustment.evidence_details
    lines = [f"Evidence ({word(EvidenceSource, adjustment.evidence_source)}): {adjustment.evidence_summary}"]
    if details.sprints_used:
        lines.append(f"  sprints {', '.join(details.sprints_used)}")
    for project in details.similar_projects_used:
        lines.append(f"  similar project {project}")
    for strategy in details.strategies_used:
        lines.append(f"  strategy {strategy}")
    for episode in details.episodes_used:
        outcome = f", {episode.completion_rate:.0%} completed" if episode.HasField("completion_rate") else ""
        lines.append(f"  an earlier decision for {episode.project_id}, {episode.similarity:.2f} similar{outcome}")
    return lines


def _show_history(console: Console, decision: DecisionRecord) -> None:
    history, scores = decision.intelligence_metadata, decision.confidence_scores
    sure = "nothing to adjust"
    if scores.HasField("overall_decision_confidence"):
        met = "met" if scores.intelligence_threshold_met else "not met"
        sure = f"confidence {scores.overall_decision_confidence:.2f}, threshold {scores.minimum_threshold:.2f} {met}"
    console.print(
        f"Past decisions: {history.episodes_considered} looked at, {history.episodes_used} used; similar projects: "
        f"{history.similar_projects_considered}; strategies that hold here: {history.strategies_considered}; "
        f"{history.modifications_applied} of {history.modifications_proposed} adjustments applied; {sure}."
    )
    for part in history.degraded_parts:
        console.print(f"[yellow]Without {escape(part)}.[/yellow]")


def _show_actions(console: Console, decision: DecisionRecord) -> None:
    rows = [
        (word(ActionKind, action.kind), word(ActionState, action.state), action.description or action.reason)
        for action in decision.actions
    ]
    console.print(table("", ["Action", "Outcome", ""], rows))


def _show_timings(console: Console, timings: PerformanceMetrics) -> None:
    steps = ", ".join(f"{escape(step.step)} {_milliseconds(step.elapsed):.0f}" for step in timings.steps)
    console.print(
        f"[dim]Decided after {_milliseconds(timings.decision):.0f} ms, done after {_milliseconds(timings.total):.0f} ms"
        f"{f' ({steps})' if steps else ''}.[/dim]"
    )


def _milliseconds(elapsed: Duration) -> float:
    return elapsed.seconds * 1e3 + elapsed.nanos / 1e6
