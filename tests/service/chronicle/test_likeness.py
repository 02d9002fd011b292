"""What is alike: impediments that mean the same, and projects about the like."""

from __future__ import annotations

import csv
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import grpc
import pytest
from dsm.backlog.v1.task_pb2 import Task
from dsm.chronicle.v1 import analytics_pb2
from dsm.chronicle.v1 import chronicle_service_pb2 as pb
from dsm.events.v1.backlog_events_pb2 import TaskCreated, TaskDeleted, TaskUpdated
from dsm.events.v1.sprint_events_pb2 import ImpedimentRaised, ImpedimentResolved
from dsm.sprint.v1.sprint_pb2 import Impediment

from services.chronicle.domain.topics import SAMPLE_SIZE, sample_key
from services.kit.clock import utc_now
from services.kit.events.stream import Stream
from tests.harness import DATA, World, eventually
from tests.service.chronicle.histories import check_sums, closed_sprint, moment_ago, tell
from tests.service.chronicle.notes import new_project

if TYPE_CHECKING:
    from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceAsyncStub

# --- impediments ----------------------------------------------------------------------------------


def _impediment(project: str, text: str, *, sprint: int = 1, days_ago: int = 0) -> Impediment:
    return Impediment(
        impediment_id=str(uuid4()),
        project_id=project,
        sprint_id=f"{project}-S{sprint:02}",
        text=text,
        raise_time=moment_ago(days_ago),
        raise_date="2026-03-02",
    )


async def test_impediments_that_mean_the_same_are_one_group(
    stub: ChronicleServiceAsyncStub, world: World, stream: Stream
) -> None:
    project = new_project()
    raised = [
        _impediment(project, "Certificate of the gateway has expired", days_ago=9),
        _impediment(project, "certificate of the gateway has expired.", sprint=2, days_ago=4),
        _impediment(project, "TLS cert on the gateway is out of date", sprint=3),
        _impediment(project, "The gateway returns errors under load", days_ago=2),
        _impediment(project, "Too many meetings this week"),
        _impediment(project, " \u3000"),
    ]
    await tell(stream, *(ImpedimentRaised(impediment=each) for each in raised), project_id=project)
    solved = Impediment(resolve_time=moment_ago(7), resolution="Renewed")
    solved.MergeFrom(raised[0])
    solved.resolve_date = "2026-03-07"
    # Recorded after its sprint: nobody knows the day, and the time of the record says nothing of how long it took.
    dateless = Impediment(resolve_time=moment_ago(0))
    dateless.MergeFrom(raised[2])
    resolved = [ImpedimentResolved(impediment=each) for each in (solved, dateless)]
    await tell(stream, *resolved, project_id=project)
    request = pb.GetImpedimentsRequest(project_id=project)

    async def found() -> analytics_pb2.ImpedimentAnalysis | None:
        try:
            analysis = (await stub.GetImpediments(request)).impediments
        except grpc.aio.AioRpcError:  # no event has come in so far
            return None
        return analysis if (analysis.total_impediments, analysis.open_impediments) == (6, 4) else None

    # Nobody embeds: equal text is one group, and the answer says that this is all it knows.
    by_text = await eventually(found)
    assert by_text.grouping == analytics_pb2.IMPEDIMENT_GROUPING_BY_TEXT
    assert (by_text.embedding_model, by_text.not_embedded_impediments) == ("", 6)
    assert [group.frequency for group in by_text.groups] == [2, 1, 1, 1, 1]

    await world.start("embedding")

    async def embedded() -> analytics_pb2.ImpedimentAnalysis | None:
        analysis = (await stub.GetImpediments(request)).impediments
        return analysis if analysis.not_embedded_impediments == 1 else None

    by_meaning = await eventually(embedded, 60)
    assert by_meaning.grouping == analytics_pb2.IMPEDIMENT_GROUPING_BY_MEANING
    assert by_meaning.embedding_model
    assert [group.frequency for group in by_meaning.groups] == [3, 1, 1, 1]
    first = by_meaning.groups[0]
    assert (first.open_count, first.closed_count, list(first.sprint_ids)) == (
        1,
        2,
        [f"{project}-S01", f"{project}-S02", f"{project}-S03"],
    )
    assert list(first.impediment_ids) == [each.impediment_id for each in (raised[2], raised[1], raised[0])]
    assert first.mean_resolve_time.ToTimedelta() == timedelta(days=5)
    one = pb.GetImpedimentsRequest(project_id=project, sprint_id=f"{project}-S03")
    assert (await stub.GetImpediments(one)).impediments.total_impediments == 1
    since = (utc_now() - timedelta(days=3)).date().isoformat()
    recent = pb.GetImpedimentsRequest(project_id=project, start_date=since)
    assert (await stub.GetImpediments(recent)).impediments.total_impediments == 4


async def test_another_model_embeds_everything_again(world: World) -> None:
    await world.start("embedding", "chronicle")

    async def models() -> set[str]:
        sql = """SELECT embedding_model FROM backlog_title UNION SELECT embedding_model FROM impediment
                 UNION SELECT embedding_model FROM project_topic"""
        return {row["embedding_model"] for row in await world.query("chronicle", sql)} - {""}

    async def settled() -> set[str]:
        sql = """SELECT 1 FROM backlog_title WHERE requires_embedding
                 UNION ALL SELECT 1 FROM impediment WHERE requires_embedding"""
        return await models() if not await world.query("chronicle", sql) else set()

    [model] = await eventually(settled, 60)
    await world.stop("chronicle")
    for table in ("backlog_title", "impediment", "project_topic"):
        await world.query("chronicle", f"UPDATE {table} SET embedding_model = 'past' WHERE embedding_model <> ''")
    await world.start("chronicle")

    async def renewed() -> bool:
        return await models() == {model}

    await eventually(renewed, 60)


# --- projects -------------------------------------------------------------------------------------


def _titles(name: str, first: int, last: int) -> list[str]:
    # The limit is the process's, and the importers under test lean on the usual one.
    usual = csv.field_size_limit(1 << 24)
    try:
        with (DATA / "backlog" / f"{name}.csv").open(newline="") as file:
            return [row["title"] for row in csv.DictReader(file)][first:last]
    finally:
        csv.field_size_limit(usual)


async def _fill(stream: Stream, project: str, titles: list[str]) -> None:
    tasks = [
        Task(task_id=f"{project}-TASK{n:03}", project_id=project, title=title) for n, title in enumerate(titles, 1)
    ]
    await tell(stream, *(TaskCreated(task=task) for task in tasks), project_id=project)


@pytest.mark.skipif(not DATA.exists(), reason="the real backlogs are not here")
async def test_projects_about_the_like_are_found_by_their_titles(
    stub: ChronicleServiceAsyncStub, world: World, stream: Stream
) -> None:
    await world.start("embedding")
    one, twin, bus, studio = (new_project() for _ in range(4))
    size = 120
    await _fill(stream, one, _titles("XD", 0, 2 * size)[::2])
    await _fill(stream, twin, _titles("XD", 0, 2 * size)[1::2])
    await _fill(stream, bus, _titles("MULE", 0, size))
    await _fill(stream, studio, _titles("TISTUD", 0, size))

    async def embedded() -> bool:
        sql = "SELECT count(*) AS n FROM project_topic WHERE project_id = ANY(%(ids)s) AND titles = %(size)s"
        [row] = await world.query("chronicle", sql, {"ids": [one, twin, bus, studio], "size": size})
        return bool(row["n"] == 4)

    await eventually(embedded, 120)
    request = pb.FindSimilarProjectsRequest(reference_project_id=one, similarity_threshold=0, max_results=50)
    answer = await stub.FindSimilarProjects(request)
    assert answer.embedding_model
    ours = [each for each in answer.similar_projects if each.project_id in (twin, bus, studio)]
    assert [each.project_id for each in ours] == [twin, bus, studio]
    # Nothing happened in any of them: the text is all there is to compare, and the part says so.
    for each in ours:
        [part] = each.score_parts
        assert (part.name, part.weight, part.score) == ("backlog_text", 1, each.similarity_score)
        assert not each.HasField("completion_rate")
    above = await stub.FindSimilarProjects(pb.FindSimilarProjectsRequest(reference_project_id=one))
    assert [each.project_id for each in above.similar_projects] == [twin]
    assert above.projects_compared == answer.projects_compared >= 3


async def test_projects_where_the_like_happened_are_found_by_their_figures(stub: ChronicleServiceAsyncStub) -> None:
    one, twin, other = (new_project() for _ in range(3))
    for project, completed, released, team in ((one, 8, 2, 4), (twin, 8, 2, 4), (other, 1, 60, 30)):
        for number in (1, 2):
            await stub.RecordRetrospective(
                closed_sprint(project, number, completed=completed, released=released, team=team)
            )
    request = pb.FindSimilarProjectsRequest(reference_project_id=one, similarity_threshold=0, max_results=50)
    answer = await stub.FindSimilarProjects(request)
    by_id = {each.project_id: each for each in answer.similar_projects}
    assert one not in by_id
    assert by_id[twin].similarity_score == pytest.approx(1)
    assert by_id[twin].completion_rate == pytest.approx(0.8)
    assert by_id[other].similarity_score < 0.6
    for each in by_id.values():
        assert each.similarity_score == pytest.approx(sum(part.weight * part.score for part in each.score_parts))
    assert not any(found.sprints or found.common_retrospective_action_items for found in answer.similar_projects)
    request.max_sprints = 2
    for found in (await stub.FindSimilarProjects(request)).similar_projects:
        known = await stub.GetVelocity(pb.GetVelocityRequest(project_id=found.project_id, max_sprints=2))
        assert list(found.sprints) == list(known.velocity.velocity_trend_data)
        patterns = (await stub.GetProjectPatterns(pb.GetProjectPatternsRequest(project_id=found.project_id))).patterns
        items = found.common_retrospective_action_items
        assert list(items) == list(patterns.common_retrospective_action_items)
    default = await stub.FindSimilarProjects(pb.FindSimilarProjectsRequest(reference_project_id=one, max_results=1))
    assert len(default.similar_projects) == 1
    assert default.similar_projects[0].similarity_score >= 0.7


async def test_the_sample_of_titles_is_bounded_and_follows_the_backlog(world: World, stream: Stream) -> None:
    project, number = new_project(), SAMPLE_SIZE + 60
    await world.stop("embedding")
    tasks = [Task(task_id=f"{project}-TASK{n:03}", project_id=project, title=f"Title {n}") for n in range(number)]
    # In pieces and the wrong way round: the sample is the same in whatever order tasks come.
    await tell(stream, *(TaskCreated(task=task) for task in tasks[::-1]), project_id=project)
    wanted = sorted((task.task_id for task in tasks), key=sample_key)[:SAMPLE_SIZE]

    async def sampled() -> dict[str, str]:
        sql = "SELECT task_id, title FROM backlog_title WHERE project_id = %(p)s"
        return {row["task_id"]: row["title"] for row in await world.query("chronicle", sql, {"p": project})}

    async def full() -> bool:
        return sorted(await sampled()) == sorted(wanted)

    await eventually(full)
    renamed = Task(task_id=wanted[0], project_id=project, title="New title")
    await tell(stream, TaskUpdated(task=renamed, changed_fields=["title"]), version=3, project_id=project)
    stale = Task(task_id=wanted[0], project_id=project, title="Stale title")
    await tell(stream, TaskUpdated(task=stale, changed_fields=["title"]), version=2, project_id=project)
    await tell(stream, TaskDeleted(task_id=wanted[1], project_id=project), project_id=project)

    async def followed() -> bool:
        found = await sampled()
        return found.get(wanted[0]) == "New title" and wanted[1] not in found

    await eventually(followed)
    await check_sums(world)
