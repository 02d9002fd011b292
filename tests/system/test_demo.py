"""`dsm demo` as people run it: from nothing, once more, with their own backlog; and the commands that follow."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dsm.backlog.v1.backlog_service_pb2 import GetBacklogSummaryRequest, ListTasksRequest
from dsm.backlog.v1.task_pb2 import TASK_STATE_COMPLETED
from dsm.chronicle.v1.chronicle_service_pb2 import ListDailyScrumsRequest, ListRetrospectivesRequest
from dsm.orchestrator.v1.decision_pb2 import ORCHESTRATE_ACTION_ANALYZE_AND_ORCHESTRATE
from dsm.orchestrator.v1.orchestrator_service_pb2 import ListDecisionAuditRequest
from dsm.sprint.v1.sprint_pb2 import (
    IMPEDIMENT_STATE_OPEN,
    SPRINT_STATE_CLOSED_WITH_PENDING_TASKS,
    SPRINT_STATE_IN_PROGRESS,
)
from dsm.sprint.v1.sprint_service_pb2 import GetSprintRequest, ListImpedimentsRequest

from services.cli.client import Client, connect
from services.local.folder import read_state
from tests.harness import DATA
from tests.processes import clean_environ

pytestmark = pytest.mark.slow

SAMPLE_ROWS = 49
_SECONDS = 180


class Terminal:
    """Runs `dsm` in processes of its own, on one data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        clean = clean_environ()
        self._environ = clean | {"DSM_DATA_DIR": str(folder), "COLUMNS": "120"}

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "services.cli", *words]
        return subprocess.run(command, env=self._environ, capture_output=True, text=True, timeout=_SECONDS, check=False)

    def json(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    made = Terminal(tmp_path_factory.mktemp("demo"))
    try:
        yield made
    finally:
        made.run("down")


@pytest.fixture(scope="module")
def first(terminal: Terminal) -> Any:
    """What came of a run that starts DSM and stops it again."""
    facts = terminal.json("demo", "--down")
    assert read_state(terminal.folder) is None
    return facts


@pytest.fixture(scope="module")
def second(terminal: Terminal, first: Any) -> Any:
    """What came of a run on the data of the first; DSM goes on running."""
    facts = terminal.json("demo")
    assert read_state(terminal.folder) is not None
    return facts


@pytest.fixture(scope="module")
def dsm(terminal: Terminal, second: Any) -> Iterator[Client]:
    with connect(data=terminal.folder) as client:
        yield client


def test_it_starts_dsm_runs_a_sprint_and_stops(first: Any) -> None:
    assert first["project_id"] == "DEMO"
    assert (first["sprint_id"], first["next_sprint_id"]) == ("DEMO-S01", "DEMO-S04")
    assert (first["imported_rows"], first["refused_rows"]) == (SAMPLE_ROWS, 0)
    assert first["daily_scrums"] >= 7
    assert first["completed_tasks"] > 0
    assert first["released_tasks"] > 0
    assert first["planned_tasks"] == first["completed_tasks"] + first["released_tasks"]


@pytest.mark.parametrize("run", ["first", "second"])
def test_memory_changes_the_last_decision(run: str, request: pytest.FixtureRequest) -> None:
    facts = request.getfixturevalue(run)
    assert facts["applied_adjustments"] >= 1
    assert 0 < facts["decided_tasks"] < facts["rule_based_tasks"]


def test_it_runs_again_and_remembers_the_first_run(first: Any, second: Any) -> None:
    assert second["project_id"] == "DEMO-2"
    assert second["earlier_decisions"] > first["earlier_decisions"] >= 1
    assert second["best_similarity"] > 0.5


@pytest.mark.parametrize("run", ["first", "second"])
def test_the_sprint_was_closed_with_unfinished_work(run: str, dsm: Client, request: pytest.FixtureRequest) -> None:
    facts = request.getfixturevalue(run)
    closed = dsm.sprint.GetSprint(GetSprintRequest(sprint_id=facts["sprint_id"])).sprint
    assert closed.state == SPRINT_STATE_CLOSED_WITH_PENDING_TASKS
    assert closed.statistics.completed_tasks == facts["completed_tasks"]
    assert closed.statistics.released_tasks == facts["released_tasks"]
    following = dsm.sprint.GetSprint(GetSprintRequest(sprint_id=facts["next_sprint_id"])).sprint
    assert following.state == SPRINT_STATE_IN_PROGRESS


def test_unfinished_work_is_in_the_next_sprint(second: Any, dsm: Client) -> None:
    closed = dsm.sprint.GetSprint(GetSprintRequest(sprint_id=second["sprint_id"])).sprint
    following = dsm.sprint.GetSprint(GetSprintRequest(sprint_id=f"{second['project_id']}-S02")).sprint
    unfinished = {task.task_id for task in closed.tasks if task.state != TASK_STATE_COMPLETED}
    assert unfinished
    assert unfinished <= {task.task_id for task in following.tasks}
    request = ListTasksRequest(project_id=second["project_id"], sprint_id=second["sprint_id"])
    assert not dsm.backlog.ListTasks(request).tasks


def test_the_chronicle_has_every_day_and_the_retrospective(second: Any, dsm: Client) -> None:
    scrums = ListDailyScrumsRequest(project_id=second["project_id"], sprint_id=second["sprint_id"])
    days = dsm.chronicle.ListDailyScrums(scrums).days
    assert len({day.report_date for day in days}) == second["daily_scrums"]
    assert any(person.away for day in days for report in day.reports for person in report.reports)
    retrospectives = ListRetrospectivesRequest(project_id=second["project_id"], sprint_id=second["sprint_id"])
    (note,) = dsm.chronicle.ListRetrospectives(retrospectives).retrospectives
    assert note.retrospective_id == second["retrospective_id"]
    assert note.action_items


def test_an_impediment_was_left_open(second: Any, dsm: Client) -> None:
    request = ListImpedimentsRequest(project_id=second["project_id"])
    impediments = dsm.sprint.ListImpediments(request).impediments
    assert len(impediments) == 3
    assert [impediment.state for impediment in impediments].count(IMPEDIMENT_STATE_OPEN) == 1


def test_every_decision_is_audited(second: Any, dsm: Client) -> None:
    request = ListDecisionAuditRequest(project_id=second["project_id"])
    decisions = dsm.orchestrator.ListDecisionAudit(request).decisions
    assert [decision.sprint_id for decision in decisions] == [f"{second['project_id']}-S0{n}" for n in range(1, 5)]
    assert [len(decision.adjustments) > 0 for decision in decisions[1:]] == [False, False, True]
    assert decisions[0].action == ORCHESTRATE_ACTION_ANALYZE_AND_ORCHESTRATE
    assert decisions[3].intelligence_metadata.episodes_used >= 3


# --- the commands that it leads to ---------------------------------------------------------------


def test_the_next_commands_work(terminal: Terminal, second: Any) -> None:
    board = terminal.run("board", second["project_id"])
    assert board.returncode == 0, board.stderr
    assert second["next_sprint_id"] in board.stdout
    date = second["next_start_date"]
    scrum = terminal.run("scrum", second["project_id"], "--date", date, "--simulate")
    assert scrum.returncode == 0, scrum.stderr
    assert date in scrum.stdout
    report = terminal.run("report", second["sprint_id"])
    assert report.returncode == 0, report.stderr
    assert "Velocity" in report.stdout


def test_scripts_get_json(terminal: Terminal, second: Any) -> None:
    project_id = second["project_id"]
    assert terminal.json("board", project_id)["sprint"]["sprint_id"] == second["next_sprint_id"]
    assert terminal.json("report", project_id)["burndown"]["days"]
    assert terminal.json("close", project_id, "--dry-run")["released_tasks_count"] > 0
    assert terminal.json("decide", project_id, "--dry-run")["decision"]["project_id"] == project_id


def test_a_refused_command_says_why_in_one_sentence(terminal: Terminal, second: Any) -> None:
    for words in (
        ("plan", second["project_id"]),
        ("plan", "NOBODY"),
        ("scrum", "NOBODY"),
        ("report", "NOBODY"),
        ("close", second["sprint_id"]),
        ("demo", "--project", second["project_id"]),
        ("scrum", second["project_id"], "--date", "2001-01-01"),
    ):
        done = terminal.run(*words)
        assert done.returncode == 1, words
        assert not done.stdout.strip() or words[0] == "demo"
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert "Traceback" not in done.stderr


def test_import_is_repeatable_and_reports_bad_rows(terminal: Terminal, second: Any, tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_text("Key,Name,Size\nA-1,Good,3\nA-2,Bad,many\n")
    words = ["import", str(file), "--project", "LIST", "--format", "csv", "--create-project"]
    words += ["--map", "key=Key", "--map", "title=Name", "--map", "points=Size"]
    report = terminal.json(*words)
    assert (report["rows"], report["created_tasks"], report["refused_count"]) == ("2", "1", "1")
    assert report["refused_rows"][0]["line"] == "3"
    assert terminal.json(*words)["unchanged_tasks"] == "1"
    told = terminal.run(*words)
    assert "many" in told.stdout
    for refused in ((*words, "--strict"), ("import", str(file), "--project", "LIST")):
        done = terminal.run(*refused)
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr


# --- real backlogs -------------------------------------------------------------------------------


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the real backlogs are not at {DATA}")
@pytest.mark.parametrize("backlog", ["XD", "DM"])
def test_a_real_backlog_works_whole(terminal: Terminal, dsm: Client, backlog: str) -> None:
    file = DATA / "backlog" / f"{backlog}.csv"
    with file.open(newline="", encoding="utf-8") as source:
        rows = sum(1 for _ in csv.DictReader(source))
    facts = terminal.json("demo", "--backlog", str(file), "--project", f"REAL-{backlog}")
    assert (facts["imported_rows"], facts["refused_rows"]) == (rows, 0)
    summary = dsm.backlog.GetBacklogSummary(GetBacklogSummaryRequest(project_id=f"REAL-{backlog}")).summary
    assert summary.total_tasks + summary.total_stories == rows
    counts = {count.state: count.tasks for count in summary.state_counts}
    assert counts[TASK_STATE_COMPLETED] > 1000
    assert facts["completed_tasks"] > 0
    assert facts["released_tasks"] > 0
