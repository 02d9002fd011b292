"""Looks at a project: everything that other services know of it, asked at once."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

from dsm.backlog.v1 import backlog_service_pb2, backlog_service_pb2_grpc
from dsm.chronicle.v1 import chronicle_service_pb2, chronicle_service_pb2_grpc
from dsm.orchestrator.v1 import impact_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.project.v1 import project_pb2, project_service_pb2, project_service_pb2_grpc
from dsm.sprint.v1 import sprint_pb2, sprint_service_pb2, sprint_service_pb2_grpc

from services.kit.calling.callee import Callee
from services.kit.clock import Clock, day_in
from services.kit.convert import to_date
from services.kit.errors import Code, DependencyUnavailable, DsmError
from services.orchestrator.convert import neighbours
from services.orchestrator.domain.errors import DateOutOfRange, ProjectNotActive
from services.orchestrator.domain.situation import (
    LONGEST_SPRINT_WEEKS,
    Backlog,
    Glance,
    Membership,
    Observation,
    OpenSprint,
    Options,
    SimilarProject,
    Velocity,
    check_options,
)
from services.orchestrator.domain.survey import Chronicled, Comparison, Survey

T = TypeVar("T")

# History is worth waiting for only a little: a decision can do without it.
HISTORY_SECONDS = 1.0
HISTORY_SPRINTS = 20
# Other projects are worth less than the team's own past, and more than a few of them say no more.
SIMILAR_SECONDS = 1.0
SIMILAR_PROJECTS = 3
# What other projects did changes when a sprint of theirs closes; a decision need not know it the same minute.
SIMILAR_KEPT_SECONDS = 60.0
SIMILAR_KEPT = 256
_IMPEDIMENTS = 5
_CAPACITY, _CHRONICLE, _SIMILAR = "capacity", "chronicle", "similar projects"
_TEAM_PAGE = 250
_FARTHEST_START = timedelta(days=366)
_OPEN_STATES = (
    sprint_pb2.SPRINT_STATE_PLANNING,
    sprint_pb2.SPRINT_STATE_IN_PROGRESS,
    sprint_pb2.SPRINT_STATE_CLOSING,
)


class Observer:
    """Asks the project, backlog and sprint services, which must answer, and the chronicle, which may be away."""

    def __init__(self, project: Callee, backlog: Callee, sprint: Callee, chronicle: Callee, clock: Clock) -> None:
        self._project, self._projects = project, project_service_pb2_grpc.ProjectServiceStub(project.channel)
        self._backlog, self._backlogs = backlog, backlog_service_pb2_grpc.BacklogServiceStub(backlog.channel)
        self._sprint, self._sprints = sprint, sprint_service_pb2_grpc.SprintServiceStub(sprint.channel)
        self._chronicle = chronicle
        self._chronicles = chronicle_service_pb2_grpc.ChronicleServiceStub(chronicle.channel)
        self._clock = clock
        self._similar: dict[str, tuple[float, tuple[SimilarProject, ...]]] = {}

    async def observe(self, project_id: str, options: Options, *, compare: bool = True) -> Observation:
        """Everything that a decision looks at, in one round of calls; other projects only if it may `compare`.

        Raises ProjectNotActive, DateOutOfRange, ScheduleInvalid, and what a service that must answer says.
        """
        first = self._first_day(options)
        degraded: list[str] = []
        project, team, backlog, sprints, capacity, velocity, impediments, similar = await _all_or_first_error(
            self.project(project_id),
            self.team(project_id),
            self.backlog(project_id),
            self.open_sprints(project_id),
            _unless_away(_CAPACITY, lambda: self.capacity(project_id, first), degraded),
            _unless_away(_CHRONICLE, lambda: self.velocity(project_id), degraded),
            _unless_away(_CHRONICLE, lambda: self.impediments(project_id), degraded),
            _unless_away(_SIMILAR, lambda: self.similar(project_id), degraded) if compare else _nothing(),
        )
        if project.status != project_pb2.PROJECT_STATUS_ACTIVE:
            status = project_pb2.ProjectStatus.Name(project.status).removeprefix("PROJECT_STATUS_")
            raise ProjectNotActive(project_id, status)
        today = check_options(options, day_in(self._clock(), project.time_zone or "UTC"))
        return Observation(
            project_id=project_id,
            today=today,
            team=team,
            backlog=backlog,
            sprint=sprints[0] if sprints else None,
            capacity_by_day=capacity,
            velocity=velocity,
            similar=similar or (),
            impediments=impediments or (),
            degraded=_named(degraded),
        )

    async def glance(self, project_id: str) -> Glance:
        """What can be had of a project; PROJECT_NOT_FOUND if there is none."""
        degraded: list[str] = []
        _, backlog, sprints, velocity = await asyncio.gather(
            _unless_away("project", lambda: self.project(project_id), degraded),
            _unless_away("backlog", lambda: self.backlog(project_id), degraded),
            _unless_away("sprint", lambda: self.open_sprints(project_id), degraded),
            _unless_away(_CHRONICLE, lambda: self.velocity(project_id), degraded),
        )
        return Glance(backlog, sprints, velocity, _named(degraded))

    async def survey(self, project_id: str, threshold: float | None = None, limit: int = SIMILAR_PROJECTS) -> Survey:
        """What is known of a project; PROJECT_NOT_FOUND if there is none. What is away is left out and named.

        `limit` similar projects whose similarity is at least the threshold; None = as the chronicle thinks.
        """
        degraded: list[str] = []
        _, velocity, chronicled, comparison, impediments, backlog, sprints = await _all_or_first_error(
            _unless_away("project", lambda: self.project(project_id), degraded),
            _unless_away(_CHRONICLE, lambda: self.velocity(project_id), degraded),
            _unless_away(_CHRONICLE, lambda: self.chronicled(project_id), degraded),
            _unless_away(_SIMILAR, lambda: self.compare(project_id, threshold, limit), degraded),
            _unless_away(_CHRONICLE, lambda: self.impediments(project_id), degraded),
            _unless_away("backlog", lambda: self.backlog(project_id), degraded),
            _unless_away("sprint", lambda: self.open_sprints(project_id), degraded),
        )
        return Survey(velocity, chronicled, comparison, impediments, backlog, sprints, _named(degraded))

    async def of_history(self, project_id: str, call: Callable[[], Awaitable[T]]) -> tuple[T | None, tuple[str, ...]]:
        """What a call to the chronicle gives, or None and what is away; PROJECT_NOT_FOUND if there is no project."""
        degraded: list[str] = []
        _, found = await _all_or_first_error(
            _unless_away("project", lambda: self.project(project_id), degraded),
            _unless_away(_CHRONICLE, call, degraded),
        )
        return found, _named(degraded)

    async def project(self, project_id: str) -> project_pb2.Project:
        """The project; PROJECT_NOT_FOUND if there is none."""
        request = project_service_pb2.GetProjectRequest(project_id=project_id)
        answer = await self._project.call(self._projects.GetProject, request, project_service_pb2.GetProjectResponse)
        return answer.project

    async def team(self, project_id: str) -> tuple[Membership, ...]:
        """Everybody who is, was or will be on the team."""
        members: list[Membership] = []
        request = project_service_pb2.ListTeamMembersRequest(project_id=project_id, page_size=_TEAM_PAGE)
        while True:
            answer = await self._project.call(
                self._projects.ListTeamMembers, request, project_service_pb2.ListTeamMembersResponse
            )
            members += neighbours.to_memberships(answer.team_members)
            if not answer.next_page_token:
                return tuple(members)
            request.page_token = answer.next_page_token

    async def backlog(self, project_id: str) -> Backlog:
        """The backlog's counts."""
        request = backlog_service_pb2.GetBacklogSummaryRequest(project_id=project_id)
        answer = await self._backlog.call(
            self._backlogs.GetBacklogSummary, request, backlog_service_pb2.GetBacklogSummaryResponse
        )
        return neighbours.to_backlog(answer.summary)

    async def open_sprints(self, project_id: str) -> Sequence[OpenSprint]:
        """The sprint that is not closed: one or none."""
        request = sprint_service_pb2.ListSprintsRequest(project_id=project_id, states=_OPEN_STATES, page_size=1)
        answer = await self._sprint.call(self._sprints.ListSprints, request, sprint_service_pb2.ListSprintsResponse)
        return [neighbours.to_open_sprint(sprint) for sprint in answer.sprints]

    async def velocity(self, project_id: str, sprints: int = HISTORY_SPRINTS) -> Velocity:
        """The newest closed sprints; none if the chronicle does not know the project."""
        return neighbours.to_velocity((await self._velocity(project_id, sprints)).velocity)

    async def chronicled(self, project_id: str) -> Chronicled:
        """What the chronicle has written down."""
        return neighbours.to_chronicled((await self._patterns(project_id)).patterns)

    async def newest_note(self) -> datetime | None:
        """When the chronicle last stored a note of any project."""
        answer = await self._recorded(
            self._chronicles.GetMetricsSummary,
            chronicle_service_pb2.GetMetricsSummaryRequest(),
            chronicle_service_pb2.GetMetricsSummaryResponse,
        )
        return neighbours.to_newest(answer.metrics_summary)

    async def impact(self, request: pb.GetDecisionImpactRequest) -> impact_pb2.DecisionImpact:
        """How enhanced decisions did, as the chronicle has them; it must answer."""
        wanted = chronicle_service_pb2.GetDecisionImpactRequest(
            project_id=request.project_id, start_date=request.start_date, end_date=request.end_date
        )
        answer = await self._chronicle.call(
            self._chronicles.GetDecisionImpact, wanted, chronicle_service_pb2.GetDecisionImpactResponse
        )
        return answer.impact

    async def impediments(self, project_id: str) -> tuple[str, ...]:
        """What blocked the project most often, most frequent first."""
        request = chronicle_service_pb2.GetImpedimentsRequest(project_id=project_id)
        answer = await self._recorded(
            self._chronicles.GetImpediments, request, chronicle_service_pb2.GetImpedimentsResponse
        )
        return tuple(group.label for group in answer.impediments.groups[:_IMPEDIMENTS])

    async def similar(self, project_id: str) -> tuple[SimilarProject, ...]:
        """The projects that resemble one most, for a decision; a minute old at most."""
        kept_at, kept = self._similar.get(project_id, (-SIMILAR_KEPT_SECONDS, ()))
        if time.monotonic() - kept_at < SIMILAR_KEPT_SECONDS:
            return kept
        found = (await self.compare(project_id)).projects
        self._similar.pop(project_id, None)
        if len(self._similar) >= SIMILAR_KEPT:
            del self._similar[next(iter(self._similar))]
        self._similar[project_id] = time.monotonic(), found
        return found

    async def compare(
        self, project_id: str, threshold: float | None = None, limit: int = SIMILAR_PROJECTS
    ) -> Comparison:
        """The projects that resemble one most, each with its closed sprints and lessons.

        Raises DependencyUnavailable also if that takes too long; the time is not the callee's, so that a slow
        comparison does not open the breaker for everything else.
        """
        try:
            async with asyncio.timeout(SIMILAR_SECONDS):
                request = chronicle_service_pb2.FindSimilarProjectsRequest(
                    reference_project_id=project_id,
                    similarity_threshold=threshold,
                    max_results=limit,
                    max_sprints=HISTORY_SPRINTS,
                )
                answer = await self._recorded(
                    self._chronicles.FindSimilarProjects, request, chronicle_service_pb2.FindSimilarProjectsResponse
                )
                found = tuple(map(neighbours.to_similar, answer.similar_projects))
                return Comparison(found, answer.projects_compared, answer.embedding_model)
        except TimeoutError:
            raise DependencyUnavailable(
                self._chronicle.name, "FindSimilarProjects", self._chronicle.breaker_state
            ) from None

    async def _patterns(self, project_id: str) -> chronicle_service_pb2.GetProjectPatternsResponse:
        request = chronicle_service_pb2.GetProjectPatternsRequest(project_id=project_id)
        return await self._recorded(
            self._chronicles.GetProjectPatterns, request, chronicle_service_pb2.GetProjectPatternsResponse
        )

    async def _velocity(
        self, project_id: str, sprints: int = HISTORY_SPRINTS
    ) -> chronicle_service_pb2.GetVelocityResponse:
        request = chronicle_service_pb2.GetVelocityRequest(project_id=project_id, max_sprints=sprints)
        return await self._recorded(self._chronicles.GetVelocity, request, chronicle_service_pb2.GetVelocityResponse)

    async def _recorded(self, method: Callable[..., Any], request: Any, response: type[T]) -> T:
        """Ask the chronicle; an empty answer if it does not know the project."""
        try:
            return await self._chronicle.call(method, request, response, timeout=HISTORY_SECONDS)
        except DsmError as error:
            if error.code is Code.NOT_FOUND:
                return response()
            raise

    async def capacity(self, project_id: str, first: date) -> Mapping[date, float]:
        """Person-days of the team by day, from a day on, for as long as the longest sprint."""
        # Two days more: the first may be that of a time zone behind UTC, the sprint's that of one ahead.
        last = first + timedelta(days=7 * LONGEST_SPRINT_WEEKS + 2)
        request = project_service_pb2.GetCapacityRequest(
            project_id=project_id, start_date=first.isoformat(), end_date=last.isoformat()
        )
        answer = await self._project.call(self._projects.GetCapacity, request, project_service_pb2.GetCapacityResponse)
        return {to_date(day.date, ""): day.person_days for day in answer.days}

    def _first_day(self, options: Options) -> date:
        """The first day of a sprint as far as it can be known before the project's time zone is."""
        today = self._clock().astimezone(UTC).date()
        if options.start_date and options.start_date > today + _FARTHEST_START:
            raise DateOutOfRange("options.start_date", "must be within a year", options.start_date)
        if options.as_of_date and options.as_of_date > today + timedelta(days=1):
            raise DateOutOfRange("options.as_of_date", "must not be in the future", options.as_of_date)
        return options.start_date or options.as_of_date or today - timedelta(days=1)


async def _unless_away(part: str, call: Callable[[], Awaitable[T]], degraded: list[str]) -> T | None:
    """What a call gives, or None with a word about it if it fails. That there is no such project is no such failure.

    It takes a function, because a coroutine that was made and is never awaited, as when the caller has left, is warned
    about.
    """
    try:
        return await call()
    except DsmError as error:
        if error.code is Code.NOT_FOUND:
            raise
        degraded.append(f"{part} unavailable")
        return None


async def _nothing() -> None:
    """In the place of a call that is not made."""


def _named(degraded: Sequence[str]) -> tuple[str, ...]:
    """Each part once; the whole chronicle includes what it compares."""
    parts = set(degraded)
    if f"{_CHRONICLE} unavailable" in parts:
        parts.discard(f"{_SIMILAR} unavailable")
    return tuple(sorted(parts))


async def _all_or_first_error(*calls: Awaitable[Any]) -> list[Any]:
    """Every result; else the first error in the order of the calls, whichever came first in time."""
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
