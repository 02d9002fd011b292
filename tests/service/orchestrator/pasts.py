"""What lies behind a team: sprints that it closed, and decisions whose outcomes are known."""

from typing import Any
from uuid import uuid4

from dsm.orchestrator.v1 import decision_pb2
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as sprint_pb

from tests.harness import World
from tests.service.orchestrator.orchestrations import Dsm
from tests.service.sprint.sprints import LAST_DAY, MONDAY, Fixture, make

NEXT_MONDAY, NEXT_FRIDAY, NEXT_LAST_DAY = "2025-03-17", "2025-03-21", "2025-03-30"

# Copies of a project's one episode as if so many sprints had followed from the same decision, each with this outcome.
_PAST = """
    WITH made AS (
        INSERT INTO decision (decision_id, project_id, decision_time, source, record, pending, sprint_id)
        SELECT gen_random_uuid(), project_id, now(), source, record, false, project_id || '-OLD' || n || %(tag)s
        FROM decision, generate_series(1, %(count)s) AS n
        WHERE decision_id = %(decision_id)s::uuid
        RETURNING decision_id)
    INSERT INTO episode (episode_id, decision_id, project_id, context_text, quality_score, quality_findings,
                         create_time, team_size, load, velocity, duration_weeks, relative_load, rule_tasks,
                         closed_sprints, outcome, outcome_time)
    SELECT gen_random_uuid(), made.decision_id, e.project_id, '', 1, '{}', now(), e.team_size, e.load, e.velocity,
           e.duration_weeks, e.relative_load, e.rule_tasks, e.closed_sprints, jsonb_build_object(
               'sprint_id', '', 'completion_rate', %(completed)s / 10.0, 'planned_tasks', 10,
               'completed_tasks', %(completed)s, 'planned_points', 0, 'completed_points', 0,
               'capacity_person_days', NULL, 'impediments_raised', 0, 'close_time', now()), now()
    FROM episode e, made WHERE e.decision_id = %(decision_id)s::uuid
"""


async def past(dsm: Dsm, decision_id: str, count: int, completed: int) -> None:
    """Sprints of ten tasks that came of a decision like this one."""
    params = {"decision_id": decision_id, "count": count, "completed": completed, "tag": uuid4().hex[:6]}
    await dsm.world.query("orchestrator", _PAST, params)


async def project(dsm: Dsm, project_id: str) -> decision_pb2.DecisionRecord:
    """A project whose rules plan ten tasks, with one decision that was only thought of."""
    await dsm.project(project_id, tasks=40, points=0)
    return await dsm.orchestrate(project_id, dry_run=True, sprint_duration_weeks=2, max_tasks_per_sprint=10)


async def run(team: Fixture, done: int, start: str = MONDAY, end: str = LAST_DAY, tasks: int = 4) -> str:
    """A sprint of some tasks, of which some are done on its first day, closed on its last."""
    sprint = await team.started(start_date=start, max_tasks=tasks)
    for task in sprint.tasks[:done]:
        await team.report(task.task_id, 100, work_date=start)
    await team.sprints.CloseSprint(sprint_pb.CloseSprintRequest(sprint_id=sprint.sprint_id, close_date=end))
    return sprint.sprint_id


async def with_history(world: World, done: int = 3, **settings: Any) -> tuple[Fixture, sprint_pb2.Sprint]:
    """A team that closed a sprint of four tasks, and the next one of as many, which runs."""
    team = await make(world, points=[3] * 12, **settings)
    await run(team, done)
    return team, await team.started(start_date=NEXT_MONDAY, max_tasks=4)
