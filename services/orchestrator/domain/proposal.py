"""What evidence suggests instead of the rules' decision: the length of the sprint, its points, its number of tasks.

They are taken in this order, each judged by the gate before the next is proposed: how much a sprint holds depends on
how long it is, and the number of tasks matters less where points limit it. For each, the kinds of evidence are heard in
their order: strategies first, then the team's own sprints, with what similar projects and episodes add to them.
"""

from dataclasses import dataclass
from statistics import fmean

from services.orchestrator.domain.adjustment import Adjustment, Details, finalize, gate, passes
from services.orchestrator.domain.case import Case
from services.orchestrator.domain.decision import Decision, DecisionMode, ModeConfig
from services.orchestrator.domain.effect import AdjustmentKind
from services.orchestrator.domain.evidence import (
    EvidenceSource,
    PastSprint,
)
from services.orchestrator.domain.pace import Pace
from services.orchestrator.domain.situation import LONGEST_SPRINT_WEEKS

# The rules' value stays if it is in the middle of what the next sprint is likely to bring, and else is moved to the
# nearer end of it: the load of which the chance of falling short is SAFE when a team is given more, and FULL when it is
# given less. These are critical fractiles of the newsvendor (Arrow, Harris & Marschak, Econometrica 19, 1951): more
# work has to be safe, while for a team that is given less, an idle hour counts more than a task that is carried over.
SAFE = 0.3
FULL = 0.8
# Never more than so many times what the team has shown, nor so many times more or less than the rules say.
STRETCH = 1.5
REACH = 4.0
# A change is right if it goes in the right direction, and no more than a quarter too far; it goes only as far as the
# chance of that is SURE.
TOO_FAR = 1.25
SURE = 0.8
# Where points limit a sprint, the number of tasks leaves room for a run of small ones.
SLACK_BESIDE_POINTS = 1.25
# A past load counts as near to another within a fifth.
_NEAR = 0.2
_MOST_NAMED = 50
_MOST_SPRINTS = 200


def adjust(case: Case, config: ModeConfig) -> tuple[tuple[Adjustment, ...], Decision]:
    """Every adjustment with its fate, and the final decision."""
    adjustments: tuple[Adjustment, ...] = ()
    decision = case.rule_based
    if config.mode is DecisionMode.RULE_BASED_ONLY or not decision.create_new_sprint:
        return adjustments, decision
    for propose in (propose_duration, propose_points, propose_tasks):
        proposed = propose(case, decision)
        judged = gate([a for a in proposed if passes(a, config)][:1] or proposed[:1], config)
        adjustments += judged
        decision = finalize(decision, judged)
    return adjustments, decision


def overload(case: Case, decision: Decision) -> float | None:
    """Chance that a sprint holds more than its person-days can bear, 0 to 1; None if nothing is known of the team."""
    exposure = case.exposure(decision.sprint_duration_weeks)
    if not decision.create_new_sprint or not exposure or not case.evidence.own_sprints:
        return None
    if case.estimated:
        points = decision.tasks_to_assign * case.mean_points
        return case.pace_of_points.below(min(points, decision.points_to_assign or points) / exposure)
    return case.pace_of_tasks.below(decision.tasks_to_assign / exposure)


def propose_duration(case: Case, decision: Decision) -> list[Adjustment]:
    """As many weeks as the team needs for the rules' tasks; nothing if the caller asked for a length.

    The rules give a large backlog the longest sprint, whatever it holds. Never longer than they say: what is too much
    for the length is a matter of the load.
    """
    if case.options.sprint_duration_weeks:
        return []
    original = decision.sprint_duration_weeks
    return [
        *_from_strategies(case, AdjustmentKind.SPRINT_DURATION, original, 1, LONGEST_SPRINT_WEEKS),
        *_duration_from_pace(case, original),
    ]


def propose_points(case: Case, decision: Decision) -> list[Adjustment]:
    """A limit of points, where points are known. The rules set none: what their tasks have on average stands for it."""
    if not case.estimated:
        return []
    original = round(case.rule_based.tasks_to_assign * case.mean_points, 1)
    most = round(case.most_tasks * case.mean_points, 1)
    return [
        *_from_strategies(case, AdjustmentKind.POINTS, original, 0.1, most),
        *_load(
            case,
            decision,
            _Figure(AdjustmentKind.POINTS, "points", case.pace_of_points, original, most, in_points=True),
        ),
    ]


def propose_tasks(case: Case, decision: Decision) -> list[Adjustment]:
    """A number of tasks: what the points come to where they limit the sprint, else by the pace in tasks."""
    original = case.rule_based.tasks_to_assign
    limited = decision.points_to_assign is not None
    pace, points = (case.pace_of_points, case.mean_points) if limited else (case.pace_of_tasks, 1.0)
    figure = _Figure(AdjustmentKind.TASK_COUNT, "tasks", pace, original, case.most_tasks, limited, points)
    return [
        *_from_strategies(case, AdjustmentKind.TASK_COUNT, original, 1, case.most_tasks),
        *_load(case, decision, figure),
    ]


@dataclass(frozen=True)
class _Figure:
    """What a load is counted in, with the rules' value and the most that is possible.

    The pace is `in_points` or in tasks; one of the figure is `of_pace` in it: points per task, where tasks are told by
    a pace in points.
    """

    kind: AdjustmentKind
    unit: str
    pace: Pace
    original: float
    most: float
    in_points: bool = False
    of_pace: float = 1.0

    def done(self, sprint: PastSprint) -> float:
        """Of a past sprint, completed."""
        return sprint.completed_points if self.in_points else sprint.completed_tasks

    def planned(self, sprint: PastSprint) -> float:
        """Of a past sprint, planned."""
        return sprint.planned_points if self.in_points else sprint.planned_tasks


def _load(case: Case, decision: Decision, figure: _Figure) -> list[Adjustment]:
    """What the team can take: its pace times this sprint's person-days (PTO and holidays taken off).

    load = min(max(low, rules' value), high), low and high the SAFE and FULL quantiles of pace x person-days:
    the pace of past sprints is 'yesterday's weather' (Beck & Fowler, Planning Extreme Programming, 2001), its scaling
    by the days is capacity-driven planning (Cohn, Agile Estimating and Planning, 2005, chapter 14); see `pace`. Added
    to a limit of points is half a task, because the first task that does not fit ends the choice, which leaves half a
    task of room on average.
    """
    exposure = case.exposure(decision.sprint_duration_weeks)
    if not exposure or not _outcomes(case) or not figure.original:
        return []
    low, usual, high = (figure.pace.quantile(c) * exposure / figure.of_pace for c in (SAFE, 0.5, FULL))
    can = min(max(low, figure.original), high)
    half = case.mean_points / 2 if figure.kind is AdjustmentKind.POINTS else 0.0
    if decision.points_to_assign is not None:
        can *= SLACK_BESIDE_POINTS
    value = _within_reach(case, figure, can + half, exposure)
    recommended = round(value, 1) if figure.kind is AdjustmentKind.POINTS else float(max(1, round(value)))
    rationale = (
        f"At its pace the team does about {usual:.3g} {figure.unit} in {exposure:g} {case.unit}s, likely {low:.3g} to"
        f" {high:.3g}; {recommended:g} were suggested instead of {figure.original:g}."
    )
    return [_adjustment(case, figure, recommended, (exposure, exposure), rationale)]


def _within_reach(case: Case, figure: _Figure, can: float, exposure: float) -> float:
    """What can be done, as far from the rules' value as one is sure of, within what was shown and what there is."""
    shown = [figure.done(sprint) / case.spent(sprint) for sprint in case.evidence.own_sprints]
    most = STRETCH * max(shown) * exposure / figure.of_pace if shown else figure.most
    sure_at_most = figure.pace.level(1 - SURE) * TOO_FAR * exposure / figure.of_pace
    sure_at_least = figure.pace.level(SURE) / TOO_FAR * exposure / figure.of_pace
    if can > figure.original:
        can = max(figure.original, min(can, sure_at_most, most))
    else:
        can = min(figure.original, max(can, sure_at_least))
    return min(max(can, figure.original / REACH), figure.original * REACH, figure.most)


def _duration_from_pace(case: Case, original: int) -> list[Adjustment]:
    tasks = case.rule_based.tasks_to_assign
    if not case.evidence.own_sprints or not case.exposure(original):
        return []
    pace = case.pace_of_tasks
    enough = (weeks for weeks in range(1, original) if pace.quantile(SAFE) * case.exposure(weeks) >= tasks)
    weeks = next(enough, original)
    figure = _Figure(AdjustmentKind.SPRINT_DURATION, "weeks", pace, original, LONGEST_SPRINT_WEEKS)
    rationale = f"At its pace the team needs {weeks} weeks for {tasks} tasks; the rules give them {original}."
    # In weeks the load is the tasks, over more or fewer person-days.
    return [_adjustment(case, figure, weeks, (case.exposure(original), case.exposure(weeks)), rationale, tasks)]


def _adjustment(
    case: Case,
    figure: _Figure,
    recommended: float,
    exposures: tuple[float, float],
    rationale: str,
    tasks: float | None = None,
) -> Adjustment:
    """A proposal from the pace; `tasks` are those that stay the same when the length changes."""
    loads = (tasks or figure.original, tasks or recommended)
    before, after = (load * figure.of_pace / exposure for load, exposure in zip(loads, exposures, strict=True))
    rates = figure.pace.completed(before), figure.pace.completed(after)
    return Adjustment(
        kind=figure.kind,
        original=figure.original,
        recommended=recommended,
        confidence=_confidence(figure.pace, before, after),
        source=_main_source(case),
        summary=_summary(case),
        rationale=rationale,
        details=_details(case, figure, before, after),
        expected_change=rates[1] - rates[0],
        improvement="" if tasks else _improvement(figure, recommended, rates),
    )


def _from_strategies(case: Case, kind: AdjustmentKind, original: float, least: float, most: float) -> list[Adjustment]:
    """What the best strategy for a figure says."""
    found = next((strategy for strategy in case.strategies if strategy.effect.kind is kind), None)
    if found is None:
        return []
    value = min(max(found.effect.on(original), least, original / REACH), most, original * REACH)
    recommended = round(value, 1) if kind is AdjustmentKind.POINTS else float(round(value))
    outcomes = found.episodes_for + found.episodes_against
    return [
        Adjustment(
            kind=kind,
            original=original,
            recommended=recommended,
            confidence=found.confidence,
            source=EvidenceSource.STRATEGY,
            summary=f"A strategy learned from {outcomes} outcomes, {found.episodes_for} of them for it.",
            rationale=f"A strategy holds here: {found.description}",
            details=Details(strategies=(found.strategy_id,), sample_size=outcomes),
        )
    ]


def _confidence(pace: Pace, original: float, recommended: float) -> float:
    """Chance that a change goes in the right direction and no more than TOO_FAR; that no change is that near.

    `original` and `recommended` are loads per person-day or week.
    """
    not_too_high = 1 - pace.level_below(recommended / TOO_FAR)
    not_too_low = pace.level_below(recommended * TOO_FAR)
    if recommended > original:
        return not_too_high
    if recommended < original:
        return not_too_low
    return max(0.0, not_too_high + not_too_low - 1)


def _main_source(case: Case) -> EvidenceSource:
    if case.evidence.own_sprints:
        return case.source
    return EvidenceSource.SIMILAR_PROJECTS if case.evidence.similar_projects else EvidenceSource.EPISODES


def _summary(case: Case) -> str:
    """The evidence in a sentence."""
    own = case.evidence.own_sprints
    parts = []
    if own:
        held = sum(sprint.all_done for sprint in own)
        parts.append(f"{_counted(len(own), 'closed sprint')} of the team, {held} of which completed everything")
    if case.own_episodes:
        parts.append(f"{_counted(len(case.own_episodes), 'episode')} of its own")
    if case.evidence.similar_projects:
        parts.append(_counted(len(case.evidence.similar_projects), "similar project"))
    if case.foreign_episodes:
        parts.append(f"{_counted(len(case.foreign_episodes), 'episode')} of other teams")
    return f"{', '.join(parts)}."


def _outcomes(case: Case) -> int:
    return len(case.evidence.own_sprints) + len(case.others)


def _details(case: Case, figure: _Figure, original: float, recommended: float) -> Details:
    foreign = tuple(episode for episode, _ in case.foreign_episodes)
    episodes = (*case.own_episodes, *foreign)[:_MOST_NAMED]
    projects = case.evidence.similar_projects
    similarities = [*(episode.similarity for episode in episodes), *(project.similarity for project in projects)]
    return Details(
        similar_projects=tuple(project.project_id for project in projects[:_MOST_NAMED]),
        episodes=episodes,
        sprints=tuple(sprint.sprint_id for sprint in case.evidence.own_sprints)[-_MOST_SPRINTS:],
        sample_size=_outcomes(case),
        average_similarity=fmean(similarities) if similarities else None,
        completion_rate_recommended=_rate_near(case, figure, recommended),
        completion_rate_original=_rate_near(case, figure, original),
    )


def _rate_near(case: Case, figure: _Figure, load: float) -> float | None:
    """Mean completion rate of the team's sprints that were planned with a like load."""
    rates = [
        sprint.completion_rate
        for sprint in case.evidence.own_sprints
        if abs(figure.planned(sprint) / case.spent(sprint) - load) <= _NEAR * load
    ]
    return fmean(rates) if rates else None


def _improvement(figure: _Figure, recommended: float, rates: tuple[float, float]) -> str:
    before, after = rates
    if recommended <= figure.original:
        return f"{after:.0%} of the {figure.unit} expected to be completed instead of {before:.0%}."
    more = f"{after * recommended:.1f} {figure.unit} expected to be completed instead of {before * figure.original:.1f}"
    return f"{more}; {after:.0%} of the plan instead of {before:.0%}."


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
