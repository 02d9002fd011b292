"""The demo, chapter by chapter. Everything that is printed was read from the API."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from dsm.backlog.v1.backlog_service_pb2 import RELEASE_POLICY_ROLL_OVER, GetBacklogSummaryRequest
from dsm.backlog.v1.import_pb2 import IMPORT_FORMAT_JIRA_CSV, ImportOptions
from dsm.backlog.v1.task_pb2 import TaskState
from dsm.chronicle.v1.chronicle_service_pb2 import GetVelocityRequest
from dsm.orchestrator.v1.decision_pb2 import (
    ACTION_KIND_START_SPRINT,
    ACTION_STATE_DONE,
    DECISION_MODE_INTELLIGENCE_ENHANCED,
    DECISION_MODE_RULE_BASED_ONLY,
    DecisionMode,
    DecisionModeConfig,
    DecisionRecord,
    OrchestrateOptions,
)
from dsm.orchestrator.v1.episode_pb2 import EpisodeMatch
from dsm.orchestrator.v1.orchestrator_service_pb2 import (
    OrchestrateRequest,
    OrchestrateResponse,
    SearchEpisodesRequest,
    SetDecisionModeRequest,
)
from dsm.project.v1.project_service_pb2 import GetCapacityResponse
from dsm.sprint.v1.sprint_pb2 import PersonLoad, Sprint
from dsm.sprint.v1.sprint_service_pb2 import (
    CloseSprintRequest,
    CloseSprintResponse,
    GetBurndownRequest,
)
from rich.console import Console
from rich.live import Live
from rich.table import Table

from services.cli.client import Client
from services.cli.close import show_closing, show_retrospective
from services.cli.decide import show_decision
from services.cli.demo import cast, team
from services.cli.demo.days import first_monday
from services.cli.demo.lookout import Lookout
from services.cli.demo.replay import Day, Replay
from services.cli.errors import CliError
from services.cli.importing import import_file, show_report
from services.cli.lookup import name, names_of, word
from services.cli.output import escape, table
from services.cli.planning import headline, show_loads
from services.cli.report import show_burndown, show_velocity

_WEEKS = 2
_MOST_TASKS = 18
# The sprints after the first one are short, and planned too full by the rules: the team does about half of it.
_SHORT_WEEKS = 1
_SHORT_SPRINTS = 2
_SHORT_TASKS = 10
_SLOWER = 0.7
_CALL_SECONDS = 120.0


@dataclass(frozen=True)
class Plot:
    """What a run of the demo is about. An empty project id means the first free one of DEMO, DEMO-2, …"""

    backlog: Path
    project_id: str
    today: date
    seed: int
    column_mapping: dict[str, str] = field(default_factory=dict)


@dataclass
class Facts:
    """What came of it, for scripts."""

    project_id: str = ""
    sprint_id: str = ""
    next_sprint_id: str = ""
    next_start_date: str = ""
    imported_rows: int = 0
    refused_rows: int = 0
    planned_tasks: int = 0
    daily_scrums: int = 0
    completed_tasks: int = 0
    released_tasks: int = 0
    retrospective_id: str = ""
    rule_based_tasks: int = 0
    decided_tasks: int = 0
    applied_adjustments: int = 0
    earlier_decisions: int = 0
    best_similarity: float | None = None
    backlog_followed_after_seconds: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Decided:
    """A decision, and the sprint that it started."""

    record: DecisionRecord
    sprint: Sprint


class Story:
    """Tells one sprint of one team, and keeps what later chapters need of earlier ones."""

    def __init__(self, dsm: Client, console: Console, plot: Plot) -> None:
        self.dsm = dsm
        self.console = console
        self.plot = plot
        self.monday = first_monday(plot.today)
        self._lookout = Lookout(dsm)
        self.last_day = self.monday + timedelta(days=7 * _WEEKS - 1)
        self.next_monday = self.last_day + timedelta(days=1)
        self.speed = 0.0
        self.project_id = ""
        self.sprint_id = ""
        self.names: dict[str, str] = {}
        self.capacity = GetCapacityResponse()
        self.facts = Facts()
        self._chapters = 0

    def tell(self) -> Facts:
        """Run every chapter in order."""
        began = time.monotonic()
        self.a_team()
        self.a_backlog()
        self.a_decision()
        self.the_days()
        self.the_backlog_follows()
        self.the_burndown()
        self.the_closing()
        self.the_retrospective()
        self.two_more_sprints()
        self.the_next_sprint()
        self.facts.seconds = round(time.monotonic() - began, 3)
        return self.facts

    # --- chapters -------------------------------------------------------------------------------

    def a_team(self) -> None:
        """A project, five people, their skills, holidays and time off."""
        self._chapter("A team", "A project has people, and a calendar that knows when they are at work.")
        project_id = team.found_project(self.dsm, self.plot.project_id, f"Demo of {self.plot.today}")
        self.project_id = self.facts.project_id = self._lookout.project_id = project_id
        team.hire(self.dsm, project_id)
        team.take_time_off(self.dsm, project_id, self.monday, self.last_day)
        self.names = names_of(self.dsm, project_id)
        self.capacity = team.capacity_of(self.dsm, project_id, self.monday, self.last_day)
        self.console.print(f"Project [bold]{project_id}[/bold], from {self.monday} to {self.last_day}:\n")
        team.show_team(self.console, self.dsm, project_id, self.capacity)
        team.show_absences(self.console, self.dsm, project_id, self.monday, self.last_day, self.names)

    def a_backlog(self) -> None:
        """A backlog from a file."""
        self._chapter("A backlog", f"The work comes from an issue tracker's export, {self.plot.backlog.name}.")
        options = ImportOptions(
            project_id=self.project_id, format=IMPORT_FORMAT_JIRA_CSV, column_mapping=self.plot.column_mapping
        )
        report, seconds = import_file(self.dsm, self.plot.backlog, options)
        self.facts.imported_rows, self.facts.refused_rows = report.rows, report.refused_count
        show_report(self.console, report, seconds)
        self.console.print()
        self._show_summary()

    def a_decision(self) -> None:
        """The orchestrator decides on a sprint and starts it."""
        self._chapter(
            "A decision",
            "The orchestrator looks at backlog, team and history, decides on a sprint, and starts it. "
            f"It counts {self.monday} as today, so that the sprint's days can be replayed.",
        )
        sprint = self._decide(self.monday, _WEEKS, _MOST_TASKS).sprint
        self.sprint_id = self.facts.sprint_id = sprint.sprint_id
        self.facts.planned_tasks = sprint.task_summary.total_tasks
        self._show_loads(sprint)

    def the_days(self) -> None:
        """Each working day: people report what they did, impediments come and go, then the daily scrum."""
        self._chapter(
            "The working days", "Who is at work reports progress, some are held up, each day has its daily scrum."
        )
        lead = cast.employee_id(self.project_id, cast.LEAD)
        replay = Replay(self.dsm, self.sprint_id, self.capacity, lead, self.plot.seed)
        self.speed = replay.speed
        rows = _days_table()
        with Live(rows, console=self.console, refresh_per_second=8):
            for day in replay.play():
                rows.add_row(*self._day(day))
                self.facts.daily_scrums += 1
        if not self.console.is_terminal:
            self.console.print()  # There, Live leaves the last line open.

    def the_backlog_follows(self) -> None:
        """The backlog and the sprint agree, although the backlog was told by events alone."""
        self._chapter(
            "The backlog follows", "An open sprint owns its tasks; the backlog learns what happens to them by events."
        )
        began = time.monotonic()
        self._lookout.eventually("the backlog agrees with the sprint", self._lookout.backlog_agrees, self.sprint_id)
        waited = self.facts.backlog_followed_after_seconds = round(time.monotonic() - began, 3)
        in_backlog = self._lookout.states_in_backlog(self.sprint_id)
        in_sprint = self._lookout.states_in_sprint(self.sprint_id)
        rows = [(word(TaskState, state), in_backlog[state], in_sprint[state]) for state in sorted(in_sprint)]
        columns = ["State", "In the backlog", "In the sprint"]
        self.console.print(table("", columns, rows, right=columns[1:]))
        self.console.print(f"They agreed {waited * 1000:.0f} ms after the last daily scrum.")

    def the_burndown(self) -> None:
        """The burndown of the days just replayed."""
        self._chapter("The burndown", "What was left at the end of each day, against a straight line to nothing.")
        show_burndown(self.console, self.dsm.sprint.GetBurndown(GetBurndownRequest(sprint_id=self.sprint_id)))

    def the_closing(self) -> None:
        """The sprint is closed; unfinished work rolls over."""
        self._chapter("The closing", "What is not done goes to the top of the backlog, with assignee and progress.")
        request = CloseSprintRequest(
            sprint_id=self.sprint_id, close_date=str(self.last_day), policy=RELEASE_POLICY_ROLL_OVER
        )
        answer = self.dsm.sprint.CloseSprint(request, timeout=_CALL_SECONDS)
        self.facts.completed_tasks = answer.completed_tasks_count
        self.facts.released_tasks = answer.released_tasks_count
        self.facts.retrospective_id = answer.retrospective_id
        show_closing(self.console, answer)
        self._lookout.eventually("the backlog has everything back", self._lookout.nothing_held, self.sprint_id)
        self.console.print("The backlog sees no task in the sprint any more.")

    def the_retrospective(self) -> None:
        """What the chronicle keeps of the sprint."""
        self._chapter("The retrospective", "The chronicle keeps what the team takes from the sprint, and its velocity.")
        note = self._lookout.eventually(
            "the chronicle has the retrospective", self._lookout.retrospective, self.facts.retrospective_id
        )
        show_retrospective(self.console, note, self.names)
        self.console.print()
        request = GetVelocityRequest(project_id=self.project_id)
        show_velocity(self.console, self.dsm.chronicle.GetVelocity(request).velocity)

    def two_more_sprints(self) -> None:
        """Two short sprints, planned by the rules as full as they allow, and what became of them."""
        self._chapter(
            "Two more sprints",
            "The same in short, by the rules alone: a project says how far memory may change what the rules decide.",
        )
        self._set_mode(DECISION_MODE_RULE_BASED_ONLY)
        rows = []
        for number in range(_SHORT_SPRINTS):
            sprint = self._decide(self.next_monday, _SHORT_WEEKS, _SHORT_TASKS, show=False).sprint
            closed = self._play_quickly(sprint, self.plot.seed + 1 + number)
            rows.append((sprint.sprint_id, sprint.start_date, len(sprint.tasks), closed.completed_tasks_count))
            self.next_monday += timedelta(weeks=_SHORT_WEEKS)
            self._lookout.eventually("the backlog has everything back", self._lookout.nothing_held, sprint.sprint_id)
            self._lookout.eventually("its decision has an outcome", self._lookout.outcome_known, sprint.sprint_id)
        columns = ["Sprint", "First day", "Tasks", "Completed"]
        self.console.print(table("", columns, rows, right=columns[2:]))
        self._set_mode(DECISION_MODE_INTELLIGENCE_ENHANCED)

    def the_next_sprint(self) -> None:
        """The next decision remembers the ones before, and differs from what the rules say."""
        self._chapter(
            "The next sprint",
            "The orchestrator remembers each decision with what came of it. Evidence that is sure enough changes what "
            "the rules decide; the answer says what, why, and how sure.",
        )
        self._lookout.eventually(
            "the orchestrator knows how the first sprint ended", self._lookout.outcome_known, self.sprint_id
        )
        self._lookout.eventually(
            "the chronicle knows every sprint", self._lookout.sprints_in_history, 1 + _SHORT_SPRINTS
        )
        decided = self._decide(self.next_monday, _SHORT_WEEKS, 0)
        record, sprint = decided.record, decided.sprint
        self.facts.next_sprint_id, self.facts.next_start_date = sprint.sprint_id, sprint.start_date
        self.facts.rule_based_tasks = record.rule_based_decision.tasks_to_assign
        self.facts.decided_tasks = record.final_decision.tasks_to_assign
        self.facts.applied_adjustments = record.intelligence_metadata.modifications_applied
        self._show_memories(sprint.sprint_id)

    # --- what the chapters are made of ------------------------------------------------------------

    def _show_summary(self) -> None:
        request = GetBacklogSummaryRequest(project_id=self.project_id)
        summary = self.dsm.backlog.GetBacklogSummary(request).summary
        counts = [count for count in summary.state_counts if count.tasks]
        rows = [(word(TaskState, count.state), count.tasks, f"{count.points:g}") for count in counts]
        self.console.print(table("", ["State", "Tasks", "Points"], rows, right=["Tasks", "Points"]))
        self.console.print(
            f"{summary.total_tasks} tasks and {summary.total_stories} stories (epics); "
            f"{summary.unestimated_tasks} tasks have no estimate. Done work is history, free work can be planned."
        )

    def _decide(self, today: date, weeks: int, most_tasks: int, *, show: bool = True) -> Decided:
        """Let the orchestrator decide and act; no limit of tasks = 0."""
        options = OrchestrateOptions(
            sprint_duration_weeks=weeks,
            max_tasks_per_sprint=most_tasks,
            as_of_date=str(today),
            # The story runs the daily scrums itself.
            create_cronjob=False,
        )
        request = OrchestrateRequest(project_id=self.project_id, options=options)
        answer: OrchestrateResponse = self.dsm.orchestrator.Orchestrate(request, timeout=_CALL_SECONDS)
        sprint = self._lookout.sprint(_started(answer.decision))
        if show:
            show_decision(self.console, answer)
            self.console.print(f"\n{headline(sprint)}")
        return Decided(answer.decision, sprint)

    def _play_quickly(self, sprint: Sprint, seed: int) -> CloseSprintResponse:
        """Every day of a sprint, and its closing, without a word."""
        last_day = date.fromisoformat(sprint.end_date)
        capacity = team.capacity_of(self.dsm, self.project_id, date.fromisoformat(sprint.start_date), last_day)
        lead = cast.employee_id(self.project_id, cast.LEAD)
        speed = _SLOWER * self.speed
        replay = Replay(self.dsm, sprint.sprint_id, capacity, lead, seed, speed=speed, troubles=())
        for _ in replay.play():
            pass
        request = CloseSprintRequest(
            sprint_id=sprint.sprint_id, close_date=str(last_day), policy=RELEASE_POLICY_ROLL_OVER
        )
        return self.dsm.sprint.CloseSprint(request, timeout=_CALL_SECONDS)

    def _set_mode(self, mode: DecisionMode.ValueType) -> None:
        config = DecisionModeConfig(mode=mode)
        self.dsm.orchestrator.SetDecisionMode(SetDecisionModeRequest(project_id=self.project_id, config=config))

    def _show_loads(self, sprint: Sprint) -> None:
        loads = {
            member.employee_id: PersonLoad(employee_id=member.employee_id, person_days=member.person_days)
            for member in self.capacity.members
        }
        for task in sprint.tasks:
            if load := loads.get(task.assignee_id):
                load.tasks += 1
                load.points += task.points
        self.console.print()
        show_loads(self.console, loads.values(), self.names)

    def _day(self, day: Day) -> list[str]:
        figures = day.report.summary_metrics
        away = [name(self.names, person.employee_id) for person in day.report.reports if person.away]
        news = [f"Away: {', '.join(away)}"] if away else []
        news += [f"Solved: {day.resolved}"] if day.resolved else []
        news += [f"Held up: {day.raised}"] if day.raised else []
        return [
            f"{date.fromisoformat(day.report.report_date):%a %d %b}",
            str(day.worked_on),
            f"{figures.completed_tasks} of {figures.total_tasks}",
            f"{figures.completed_points:g} of {figures.total_points:g}",
            str(figures.blocked_tasks or ""),
            escape("\n".join(news)),
        ]

    def _show_memories(self, sprint_id: str) -> None:
        """The earlier decisions whose situation resembles that of the last one."""
        last = self._lookout.episode(sprint_id)
        found = self.dsm.orchestrator.SearchEpisodes(SearchEpisodesRequest(query=last.context_text)).matches
        earlier = [match for match in found if match.episode.episode_id != last.episode_id]
        self.facts.earlier_decisions = len(earlier)
        self.facts.best_similarity = round(earlier[0].similarity, 4) if earlier else None
        columns = ["Earlier decision for", "Similarity", "Completed"]
        self.console.print()
        self.console.print(table("Most like it", columns, map(_memory, earlier), right=columns[1:]))

    # --- telling ----------------------------------------------------------------------------------

    def _chapter(self, title: str, text: str) -> None:
        self._chapters += 1
        self.console.print()
        self.console.rule(f"[bold]{self._chapters}. {title}[/bold]", align="left")
        self.console.print(f"{escape(text)}\n")


def _started(decision: DecisionRecord) -> str:
    """The sprint that a decision started; raises CliError with the reason if it started none."""
    action = next((action for action in decision.actions if action.kind == ACTION_KIND_START_SPRINT), None)
    if action and action.state == ACTION_STATE_DONE:
        return action.sprint_id
    why = (action and action.reason) or decision.final_decision.reasoning or "it gave no reason"
    raise CliError(f"The orchestrator started no sprint for {decision.project_id}: {why}")


def _memory(match: EpisodeMatch) -> tuple[str, str, str]:
    outcome = match.episode.outcome
    completed = f"{outcome.completion_rate:.0%}" if outcome.HasField("completion_rate") else "not known yet"
    return match.episode.sprint_id or match.episode.project_id, f"{match.similarity:.3f}", completed


def _days_table() -> Table:
    rows = Table(show_edge=False, header_style="bold")
    rows.add_column("Day", no_wrap=True)
    for column in ("Worked on", "Done", "Points", "Blocked"):
        rows.add_column(column, justify="right", no_wrap=True)
    rows.add_column("News")
    return rows
