"""What reads sprints: lists, the active one, their tasks."""

from __future__ import annotations

from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb

from tests.harness import World, refused
from tests.service.sprint.sprints import make

IN_PROGRESS = sprint_pb2.SPRINT_STATE_IN_PROGRESS


async def test_sprints_are_listed_newest_first_in_pages(world: World) -> None:
    at = await make(world, points=(5,) * 6)
    for number in range(3):
        sprint = await at.started(start_date=f"2025-03-{3 + 7 * number:02}", duration_weeks=1, max_tasks=1)
        await at.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=sprint.sprint_id))
    request = pb.ListSprintsRequest(project_id=at.project_id, page_size=2)
    first = await at.sprints.ListSprints(request)
    assert [sprint.sprint_id[-3:] for sprint in first.sprints] == ["S03", "S02"]
    assert first.sprints[0].task_summary.total_tasks == 1
    assert not first.sprints[0].tasks
    request.page_token = first.next_page_token
    second = await at.sprints.ListSprints(request)
    assert [sprint.sprint_id[-3:] for sprint in second.sprints] == ["S01"]
    assert not second.next_page_token
    request.project_id = "OTHER"
    failed = await refused(at.sprints.ListSprints(request))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
    request = pb.ListSprintsRequest(project_id=at.project_id, states=[IN_PROGRESS])
    assert not (await at.sprints.ListSprints(request)).sprints


async def test_the_active_sprint_is_found_by_project_or_as_the_first_to_start(world: World) -> None:
    at = await make(world)
    failed = await refused(at.sprints.GetActiveSprint(pb.GetActiveSprintRequest(project_id=at.project_id)))
    assert (failed.code, failed.reason, failed.metadata) == (
        "NOT_FOUND",
        "NO_ACTIVE_SPRINT",
        {"project_id": at.project_id},
    )
    sprint = await at.started(start_date="1990-01-01")
    found = await at.sprints.GetActiveSprint(pb.GetActiveSprintRequest(project_id=at.project_id))
    assert found.sprint == sprint
    assert (await at.sprints.GetActiveSprint(pb.GetActiveSprintRequest())).sprint.sprint_id == sprint.sprint_id


async def test_projects_with_sprints_are_listed(world: World) -> None:
    at = await make(world)
    await at.start()
    found: list[str] = []
    token = ""
    while True:
        page = await at.sprints.ListProjectsWithSprints(
            pb.ListProjectsWithSprintsRequest(page_size=5, page_token=token)
        )
        found += page.project_ids
        if not (token := page.next_page_token):
            break
    assert at.project_id in found
    assert found == sorted(set(found))


async def test_a_sprints_tasks_are_listed_in_pages_and_counted(world: World) -> None:
    at = await make(world, points=(5, None, 3))
    sprint = await at.started(max_tasks=3)
    request = pb.ListSprintTasksRequest(sprint_id=sprint.sprint_id, page_size=2)
    first = await at.sprints.ListSprintTasks(request)
    request.page_token = first.next_page_token
    second = await at.sprints.ListSprintTasks(request)
    assert [*first.tasks, *second.tasks] == list(sprint.tasks)
    request.assignee_id = at.people[0]
    assert (await refused(at.sprints.ListSprintTasks(request))).reason == "PAGE_TOKEN_INVALID"
    mine = pb.ListSprintTasksRequest(sprint_id=sprint.sprint_id, assignee_id=at.people[0])
    assert {task.assignee_id for task in (await at.sprints.ListSprintTasks(mine)).tasks} == {at.people[0]}
    counts = await at.sprints.GetTaskSummary(pb.GetTaskSummaryRequest(sprint_id=sprint.sprint_id))
    assert counts.summary == sprint.task_summary
    assert (counts.summary.total_tasks, counts.summary.pending_points) == (3, 8)


async def test_a_sprint_that_does_not_exist_is_not_found(world: World) -> None:
    at = await make(world, people=0, points=())
    calls = (
        at.sprints.GetSprint(pb.GetSprintRequest(sprint_id="NO-S01")),
        at.sprints.ListSprintTasks(pb.ListSprintTasksRequest(sprint_id="NO-S01")),
        at.sprints.GetTaskSummary(pb.GetTaskSummaryRequest(sprint_id="NO-S01")),
        at.sprints.GetBurndown(pb.GetBurndownRequest(sprint_id="NO-S01")),
        at.sprints.RunDailyScrum(pb.RunDailyScrumRequest(sprint_id="NO-S01")),
        at.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id="NO-S01")),
        at.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id="NO-S01", dry_run=True)),
    )
    for failed in [await refused(call) for call in calls]:
        assert (failed.code, failed.reason, failed.metadata) == (
            "NOT_FOUND",
            "SPRINT_NOT_FOUND",
            {"sprint_id": "NO-S01"},
        )
