"""What history teaches of a project: its pace, the quality of its data, its models, and what could be done."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import fmean, linear_regression, median, stdev

from services.orchestrator.domain.outcome import SUCCESS_RATE
from services.orchestrator.domain.outlook import LEAST_SPRINTS
from services.orchestrator.domain.situation import ClosedSprint, OpenSprint, ScorePart, SimilarProject, Trend, Velocity
from services.orchestrator.domain.survey import Chronicled, Survey

# So many closed sprints say as much as more would.
ENOUGH_SPRINTS = 10
# Daily scrum reports that a sprint of a team that reports has at least.
REPORTS_PER_SPRINT = 4
MOST_LESSONS = 10
# A standard deviation of so much of the mean is much.
_UNSTEADY = 0.4
# So far behind the elapsed days, a sprint needs a look.
_LAGS = 0.2


@dataclass(frozen=True)
class Successes:
    """The successful sprints of a project: their share, and the means of their planned tasks and weeks."""

    rate: float | None
    tasks: float | None
    weeks: float | None


@dataclass(frozen=True)
class Pace:
    """How the pace of a team develops. Means and standard deviations per sprint; slope in points per sprint."""

    mean_tasks: float | None
    mean_points: float | None
    spread_tasks: float | None
    spread_points: float | None
    slope_points: float | None
    patterns: tuple[str, ...]


@dataclass(frozen=True)
class Quality:
    """How good the history of a project is, 0 to 1, with the parts of the score."""

    score: float
    parts: tuple[ScorePart, ...]
    note: str
    recommendations: tuple[str, ...]


def successes_of(sprints: Sequence[ClosedSprint]) -> Successes:
    """What sprints that completed at least 80 % of their tasks have in common."""
    known = [sprint for sprint in sprints if sprint.completion_rate is not None]
    good = [sprint for sprint in known if _rate(sprint) >= SUCCESS_RATE]
    planned = [sprint.planned_tasks for sprint in good if sprint.planned_tasks is not None]
    weeks = [((sprint.end - sprint.start).days + 1) / 7 for sprint in good]
    return Successes(
        rate=len(good) / len(known) if known else None,
        tasks=fmean(planned) if planned else None,
        weeks=fmean(weeks) if weeks else None,
    )


def pace_of(velocity: Velocity) -> Pace:
    """Means, spreads and the line fitted by least squares through the points completed."""
    sprints = velocity.sprints
    tasks = [float(sprint.completed_tasks) for sprint in sprints]
    points = [sprint.completed_points for sprint in sprints]
    return Pace(
        mean_tasks=fmean(tasks) if tasks else None,
        mean_points=fmean(points) if points else None,
        spread_tasks=stdev(tasks) if len(tasks) > 1 else None,
        spread_points=stdev(points) if len(points) > 1 else None,
        slope_points=linear_regression(range(len(points)), points).slope if len(points) >= LEAST_SPRINTS else None,
        patterns=tuple(_patterns(velocity, points if any(points) else tasks)),
    )


def _patterns(velocity: Velocity, paces: Sequence[float]) -> Iterable[str]:
    sprints, unit = velocity.sprints, "points" if any(s.completed_points for s in velocity.sprints) else "tasks"
    if len(sprints) < LEAST_SPRINTS:
        return
    if velocity.trend in (Trend.RISING, Trend.FALLING):
        yield f"The {unit} completed per sprint are {velocity.trend.lower()}."
    if fmean(paces) and stdev(paces) / fmean(paces) > _UNSTEADY:
        yield f"The pace varies much: {min(paces):g} to {max(paces):g} {unit} per sprint."
    best = max(range(len(paces)), key=paces.__getitem__)
    yield f"{sprints[best].sprint_id} completed most: {paces[best]:g} {unit}."
    failed = [sprint for sprint in sprints if sprint.completion_rate is not None and _rate(sprint) < SUCCESS_RATE]
    if failed:
        yield f"{len(failed)} of {len(sprints)} sprints completed less than {SUCCESS_RATE:.0%} of their tasks."


def quality_of(velocity: Velocity, chronicled: Chronicled) -> Quality:
    """How much can be learned from the history of a project.

    The score is the weighted sum of five shares, each 0 to 1: closed sprints of the ten that are enough (0.3), sprints
    whose completion rate is known (0.25), sprints with points (0.2), daily scrum reports of four per sprint (0.15), and
    retrospectives of one per sprint (0.1). The weights are ours: what decisions and forecasts rest on weighs most.
    """
    sprints = velocity.sprints
    closed = len(sprints)
    rated = sum(sprint.completion_rate is not None for sprint in sprints)
    pointed = sum(sprint.completed_points > 0 or bool(sprint.planned_points) for sprint in sprints)
    parts = (
        _share("sprints", closed, ENOUGH_SPRINTS, 0.3, "closed sprints of the {} that are enough"),
        _share("outcomes", rated, closed, 0.25, "of {} closed sprints with a known completion rate"),
        _share("points", pointed, closed, 0.2, "of {} closed sprints with estimated tasks"),
        _share("reports", chronicled.reports, REPORTS_PER_SPRINT * closed, 0.15, "daily scrum reports of {} expected"),
        _share("retrospectives", chronicled.retrospectives, closed, 0.1, "retrospectives of {} closed sprints"),
    )
    score = sum(part.score * part.weight for part in parts)
    poorest = min(parts, key=lambda part: part.score)
    note = f"The poorest part of the history is {poorest.name}: {poorest.explanation}" if score < 1 else "Complete."
    return Quality(score, parts, note if closed else "No sprint has closed yet.", tuple(_better(parts)))


def common_velocity(velocity: Velocity) -> float | None:
    """Median points completed per sprint, or tasks where no sprint has points; None without sprints."""
    points = [sprint.completed_points for sprint in velocity.sprints]
    tasks = [sprint.completed_tasks for sprint in velocity.sprints]
    return float(median(points if any(points) else tasks)) if tasks else None


def _share(name: str, count: int, expected: int, weight: float, told: str) -> ScorePart:
    score = min(1.0, count / expected) if expected else 0.0
    return ScorePart(name, score, weight, f"{count} {told.format(expected)}.")


_ADVICE = {
    "sprints": "Close more sprints: forecasts and adjustments rest on them.",
    "outcomes": "Close sprints by CloseSprint, so that it is known how much of them was completed.",
    "points": "Estimate tasks in points before they are planned.",
    "reports": "Run the daily scrum on working days: schedule it with create_cronjob.",
    "retrospectives": "Close sprints by CloseSprint, which writes the retrospective.",
}


def _better(parts: Iterable[ScorePart]) -> Iterable[str]:
    """What to do about parts that miss more than a fifth, the one with most to win first."""
    poor = [part for part in parts if part.score < 0.8]
    return [_ADVICE[part.name] for part in sorted(poor, key=lambda part: (part.score - 1) * part.weight)]


def recommend(survey: Survey, today: date) -> tuple[str, ...]:
    """What could be done for a project, most urgent first; each says on which figure it rests."""
    return (
        *_about_sprint(survey.sprint, today),
        *_about_history(survey.velocity, survey.impediments or ()),
        *_about_backlog(survey),
        *(learn_from(survey.comparison.projects) if survey.comparison else ()),
    )


def _about_sprint(sprint: OpenSprint | None, today: date) -> Iterable[str]:
    if sprint is None or not sprint.total_tasks:
        return
    if sprint.finished(today):
        yield f"Close {sprint.sprint_id}: it is finished."
        return
    if sprint.blocked_tasks:
        yield f"Unblock {sprint.blocked_tasks} of the {sprint.total_tasks} tasks of {sprint.sprint_id}."
    days = (sprint.end - sprint.start).days + 1
    elapsed, done = (today - sprint.start).days / days, sprint.completed_tasks / sprint.total_tasks
    if elapsed - done > _LAGS:
        yield (
            f"Take tasks out of {sprint.sprint_id} or help with them: {done:.0%} of its tasks are completed and"
            f" {elapsed:.0%} of its days are over."
        )


def _about_history(velocity: Velocity | None, impediments: Sequence[str]) -> Iterable[str]:
    sprints = velocity.sprints if velocity else ()
    rates = [_rate(sprint) for sprint in sprints if sprint.completion_rate is not None]
    if rates and fmean(rates) < SUCCESS_RATE:
        tasks = fmean(sprint.completed_tasks for sprint in sprints)
        yield (
            f"Plan about {max(1, round(tasks))} tasks: the last {len(sprints)} sprints completed {fmean(rates):.0%} of"
            f" theirs, {tasks:.1f} on average."
        )
    if velocity and velocity.trend is Trend.FALLING:
        yield f"Ask the team what slows it down: it completes less from sprint to sprint over {len(sprints)} sprints."
    if impediments:
        yield f"Deal for good with what blocked most often: {impediments[0]}"


def _about_backlog(survey: Survey) -> Iterable[str]:
    if survey.backlog and not survey.backlog.unassigned and survey.sprint is None:
        yield "Add tasks to the backlog: none is left for the next sprint."
    if survey.velocity and len(survey.velocity.sprints) < LEAST_SPRINTS:
        yield (
            f"Close {LEAST_SPRINTS - len(survey.velocity.sprints)} more sprints: with {LEAST_SPRINTS} the risk of the"
            " next one can be told."
        )


def learn_from(projects: Iterable[SimilarProject]) -> Iterable[str]:
    """What the similar projects that succeed do, most similar first."""
    for project in projects:
        good = successes_of(project.sprints)
        if good.rate is not None and good.rate >= SUCCESS_RATE and good.tasks and good.weeks:
            yield (
                f"Sprints of about {good.tasks:.0f} tasks over {good.weeks:.1f} weeks succeed in the similar project"
                f" {project.project_id} ({good.rate:.0%} of {len(project.sprints)})."
            )


def lessons_of(projects: Iterable[SimilarProject]) -> tuple[str, ...]:
    """The lessons of several projects, those of most projects first."""
    counted = Counter(lesson for project in projects for lesson in project.lessons)
    return tuple(lesson for lesson, _ in counted.most_common(MOST_LESSONS))


def mean_success(projects: Sequence[SimilarProject]) -> float | None:
    """Mean success rate of projects, weighted by how similar they are; None if none of them has closed a sprint."""
    known = [
        (rate, project.similarity) for project in projects if (rate := successes_of(project.sprints).rate) is not None
    ]
    weight = sum(similarity for _, similarity in known)
    return sum(rate * similarity for rate, similarity in known) / weight if weight else None


def _rate(sprint: ClosedSprint) -> float:
    return sprint.completion_rate or 0.0
