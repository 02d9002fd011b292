"""kill -9 of the backlog service in the middle of an import: the next completes it without doubles."""

import threading
from collections.abc import Iterator

import grpc
import psycopg
import pytest
from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1 import backlog_service_pb2_grpc, import_pb2
from dsm.project.v1 import project_pb2, project_service_pb2_grpc
from dsm.project.v1 import project_service_pb2 as project_pb

from services.cli.client import failure
from services.local.folder import StackState
from services.local.process import wait_until
from tests.system.killing import channel_to, kill

pytestmark = pytest.mark.slow

PROJECT = "CUT"
ROWS = 6000
# What must be stored before the kill: some batches, and by far not all.
BEGUN = 500
_FILE = "No;What\n" + "".join(f"{number};Task {number}\n" for number in range(ROWS))
_OPTIONS = import_pb2.ImportOptions(
    project_id=PROJECT,
    format=import_pb2.IMPORT_FORMAT_MAPPED_CSV,
    column_mapping={"key": "No", "title": "What"},
    origin_system="crash",
)


def _messages() -> Iterator[pb.ImportTasksRequest]:
    yield pb.ImportTasksRequest(options=_OPTIONS)
    for at in range(0, len(_FILE), 4096):
        yield pb.ImportTasksRequest(data=_FILE[at : at + 4096].encode())


def _import(machine: StackState) -> import_pb2.ImportReport | str:
    """The report, or the code of the failure."""
    with channel_to(machine, "backlog") as channel:
        stub = backlog_service_pb2_grpc.BacklogServiceStub(channel)
        try:
            return stub.ImportTasks(_messages(), timeout=120).report
        except grpc.RpcError as error:
            return failure(error).code


def _stored(machine: StackState) -> tuple[int, int]:
    """Tasks of the project, and different keys among them."""
    url = machine.urls["postgres"].rsplit("/", 1)[0] + "/dsm_backlog"
    with psycopg.connect(url) as connection:
        sql = "SELECT count(*), count(DISTINCT origin_key) FROM task WHERE project_id = %s"
        tasks, keys = connection.execute(sql, [PROJECT]).fetchone() or (0, 0)
    return tasks, keys


def test_a_killed_import_is_completed_by_the_next(machine: StackState) -> None:
    with channel_to(machine, "project") as channel:
        projects = project_service_pb2_grpc.ProjectServiceStub(channel)
        projects.CreateProject(
            project_pb.CreateProjectRequest(project=project_pb2.Project(project_id=PROJECT, name="Cut"))
        )
    told: list[import_pb2.ImportReport | str] = []
    client = threading.Thread(target=lambda: told.append(_import(machine)))
    client.start()
    assert wait_until(lambda: _stored(machine)[0] >= BEGUN, 60)
    kill(machine, "backlog")
    client.join()
    assert told == ["UNAVAILABLE"]
    taken, keys = _stored(machine)
    assert BEGUN <= taken == keys < ROWS
    reports: list[import_pb2.ImportReport | str] = []

    def completed() -> bool:
        reports.append(_import(machine))
        return not isinstance(reports[-1], str)

    assert wait_until(completed, 60), reports
    assert _stored(machine) == (ROWS, ROWS)
    report = reports[-1]
    assert isinstance(report, import_pb2.ImportReport)
    assert (report.created_tasks, report.unchanged_tasks, report.refused_count) == (ROWS - taken, taken, 0)
    print(f"killed with {taken} of {ROWS} stored")
