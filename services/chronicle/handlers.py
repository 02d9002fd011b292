"""Answers ChronicleService."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

from dsm.chronicle.v1 import chronicle_service_pb2 as pb
from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceServicer
from psycopg.errors import UniqueViolation

from services.chronicle import events
from services.chronicle.convert import analytics, decisions, notes, plannings, retrospectives, scrums, velocity
from services.chronicle.domain.errors import ActionItemNotFound, NoteAlreadyExists, ProjectNotFound
from services.chronicle.domain.figures import Figures, is_open
from services.chronicle.domain.impact import DEFAULT_DAYS, MOST_DETAILS, Impact, Outcomes, Source
from services.chronicle.domain.impediments import MOST_IDS, analyse
from services.chronicle.domain.notes import update_action_item
from services.chronicle.domain.patterns import Patterns
from services.chronicle.domain.similarity import DEFAULT_RESULTS, DEFAULT_THRESHOLD, History, compare
from services.chronicle.domain.summary import summarize
from services.chronicle.domain.velocity import velocity_of
from services.chronicle.store import decisions as decision_store
from services.chronicle.store import figures as figure_store
from services.chronicle.store import impact as impact_store
from services.chronicle.store import impediments as impediment_store
from services.chronicle.store import notes as note_store
from services.chronicle.store import patterns as pattern_store
from services.chronicle.store import plannings as planning_store
from services.chronicle.store import retrospectives as retrospective_store
from services.chronicle.store import scrums as scrum_store
from services.chronicle.store import similarity as similarity_store
from services.chronicle.store import velocity as velocity_store
from services.kit.clock import Clock
from services.kit.convert import to_date_or_none
from services.kit.data.database import Database
from services.kit.data.paging import Page, page_of
from services.kit.errors import InvalidArgument
from services.kit.serving.gate import Context

_DEFAULT_SPRINTS = 100
_COMMON_ITEMS = 20


class ChronicleHandlers(ChronicleServiceServicer):
    """The RPCs of dsm.chronicle.v1.ChronicleService."""

    def __init__(self, database: Database, clock: Clock, new_id: Callable[[], str] = events.new_id) -> None:
        self._db = database
        self._clock = clock
        self._new_id = new_id

    async def RecordSprintPlanning(
        self, request: pb.RecordSprintPlanningRequest, context: Context
    ) -> pb.RecordSprintPlanningResponse:
        """A planning note by another caller than the sprint service."""
        note = plannings.decode(request.planning_note, self._new_id(), self._clock())
        async with self._db.write() as tx:
            await events.record_plannings(tx, [note])
            stored = await planning_store.stored(tx, note)
            if stored.note_id != note.note_id:
                raise NoteAlreadyExists("a planning note", note.sprint_id, stored.note_id)
            return tx.reply(pb.RecordSprintPlanningResponse(planning_note=plannings.encode(stored)))

    async def ListSprintPlannings(
        self, request: pb.ListSprintPlanningsRequest, context: Context
    ) -> pb.ListSprintPlanningsResponse:
        """Planning notes, newest sprint first."""
        page = page_of(request)
        params = _filters(request, "project_id", "sprint_id", "note_id")
        found = await planning_store.page(self._db.read, params | _after(page, "after_date", "after_time", "after_id"))
        kept, token = page.cut(found, lambda note: (note.start_date, note.create_time, note.note_id))
        return pb.ListSprintPlanningsResponse(
            planning_notes=[plannings.encode(note) for note in kept], next_page_token=token
        )

    async def RecordDailyScrum(
        self, request: pb.RecordDailyScrumRequest, context: Context
    ) -> pb.RecordDailyScrumResponse:
        """A daily scrum report by another caller than the sprint service."""
        report = scrums.decode(request.report, self._new_id(), self._clock())
        async with self._db.write() as tx:
            await events.record_scrums(tx, [report])
            stored = await scrum_store.stored(tx, report)
            if stored.report_id != report.report_id:
                raise NoteAlreadyExists(f"a report of {report.report_date}", report.sprint_id, stored.report_id)
            return tx.reply(pb.RecordDailyScrumResponse(report=scrums.encode(stored)))

    async def ListDailyScrums(self, request: pb.ListDailyScrumsRequest, context: Context) -> pb.ListDailyScrumsResponse:
        """Reports grouped by date, oldest first."""
        page = page_of(request)
        params = _filters(request, "project_id", "sprint_id", "report_id") | _days(
            request, "report_date", "start_date", "end_date"
        )
        found = await scrum_store.page(self._db.read, params | _after(page, "after_date", "after_sprint"))
        kept, token = page.cut(found, lambda report: (report.report_date, report.sprint_id))
        return pb.ListDailyScrumsResponse(days=scrums.encode_days(kept), next_page_token=token)

    async def RecordRetrospective(
        self, request: pb.RecordRetrospectiveRequest, context: Context
    ) -> pb.RecordRetrospectiveResponse:
        """A retrospective by another caller than the sprint service."""
        note = retrospectives.decode(request.retrospective, self._new_id, self._clock())
        try:
            async with self._db.write() as tx:
                await events.record_retrospectives(tx, [note])
                stored = await retrospective_store.stored(tx, note)
                if stored.retrospective_id != note.retrospective_id:
                    raise NoteAlreadyExists("a retrospective", note.sprint_id, stored.retrospective_id)
                return tx.reply(pb.RecordRetrospectiveResponse(retrospective=retrospectives.encode(stored)))
        except UniqueViolation as error:
            if error.diag.constraint_name != "action_item_pkey":
                raise
            rule = "must have action_item_ids that no other retrospective has"
            raise InvalidArgument("retrospective.action_items", rule) from None

    async def ListRetrospectives(
        self, request: pb.ListRetrospectivesRequest, context: Context
    ) -> pb.ListRetrospectivesResponse:
        """Retrospectives, newest sprint first."""
        page = page_of(request)
        params = _filters(request, "project_id", "sprint_id", "retrospective_id")
        after = _after(page, "after_date", "after_time", "after_id")
        found = await retrospective_store.page(self._db.read, params | after)
        kept, token = page.cut(found, lambda note: (note.start_date, note.create_time, note.retrospective_id))
        return pb.ListRetrospectivesResponse(
            retrospectives=[retrospectives.encode(note) for note in kept], next_page_token=token
        )

    async def UpdateActionItem(
        self, request: pb.UpdateActionItemRequest, context: Context
    ) -> pb.UpdateActionItemResponse:
        """State, owner or wording of an action item; what changes nothing tells nobody."""
        async with self._db.write() as tx:
            found = await retrospective_store.lock_action_item(tx, request.action_item_id)
            if found is None or request.project_id not in ("", found[2]):
                raise ActionItemNotFound(request.action_item_id)
            item, retrospective_id, project_id = found
            changed = update_action_item(item, retrospectives.decode_change(request), self._clock())
            message = retrospectives.encode_item(changed)
            if changed is not item:
                await retrospective_store.save_action_item(tx, changed)
                reopened = is_open(changed) - is_open(item)
                await figure_store.add(tx, [(project_id, Figures(open_action_items=reopened))] if reopened else [])
                events.action_item_updated(tx, message, changed.version, retrospective_id, project_id)
            return tx.reply(pb.UpdateActionItemResponse(action_item=message, retrospective_id=retrospective_id))

    async def RecordDecision(self, request: pb.RecordDecisionRequest, context: Context) -> pb.RecordDecisionResponse:
        """A copy of a decision by another caller than the orchestrator, whose own word is newer than any such copy."""
        note = decisions.decode(request.decision, 0, self._clock())
        async with self._db.write() as tx:
            await events.record_decisions(tx, [note])
            stored = await decision_store.stored(tx, note)
            return tx.reply(pb.RecordDecisionResponse(decision_note=decisions.encode(stored)))

    async def ListDecisions(self, request: pb.ListDecisionsRequest, context: Context) -> pb.ListDecisionsResponse:
        """Copies of decisions, oldest first."""
        page = page_of(request)
        params = _filters(request, "project_id", "sprint_id", "audit_id") | _days(request, "start_date", "end_date")
        params |= {"decision_source": decisions.source_name(request.decision_source)}
        found = await decision_store.page(self._db.read, params | _after(page, "after_time", "after_id"))
        kept, token = page.cut(found, lambda note: (note.decision_time, note.audit_id))
        return pb.ListDecisionsResponse(decision_notes=[decisions.encode(note) for note in kept], next_page_token=token)

    async def GetVelocity(self, request: pb.GetVelocityRequest, context: Context) -> pb.GetVelocityResponse:
        """What a team planned and completed per sprint, and where that goes."""
        limit = request.max_sprints or _DEFAULT_SPRINTS
        sprints = await velocity_store.closed_sprints(self._db.read, request.project_id, limit)
        if not sprints and not await velocity_store.knows(self._db.read, request.project_id):
            raise ProjectNotFound(request.project_id)
        return pb.GetVelocityResponse(velocity=velocity.encode(request.project_id, velocity_of(sprints)))

    async def GetMetricsSummary(
        self, request: pb.GetMetricsSummaryRequest, context: Context
    ) -> pb.GetMetricsSummaryResponse:
        """What history holds over all projects, and how they do."""
        found = summarize(*await figure_store.of_all(self._db.read))
        return pb.GetMetricsSummaryResponse(metrics_summary=analytics.encode_summary(found))

    async def GetProjectPatterns(
        self, request: pb.GetProjectPatternsRequest, context: Context
    ) -> pb.GetProjectPatternsResponse:
        """What recurs in a project."""
        project_id = request.project_id
        figures = await self._figures(project_id)
        found = Patterns(
            figures,
            await pattern_store.closed(self._db.read, project_id),
            await pattern_store.cycle_times(self._db.read, project_id),
            tuple(await pattern_store.common_items(self._db.read, project_id, _COMMON_ITEMS)),
        )
        return pb.GetProjectPatternsResponse(patterns=analytics.encode_patterns(project_id, found))

    async def GetImpediments(self, request: pb.GetImpedimentsRequest, context: Context) -> pb.GetImpedimentsResponse:
        """What blocks a project, grouped by meaning as far as the embeddings are there."""
        params = _filters(request, "sprint_id") | _days(request, "start_date", "end_date")
        _check_order(params["start_date"], params["end_date"])
        wordings = await impediment_store.wordings(self._db.read, request.project_id, MOST_IDS, params)
        if not wordings:
            await self._figures(request.project_id)
        # Of many wordings, comparing each two takes longer than the other calls should wait.
        found = await asyncio.to_thread(analyse, wordings)
        return pb.GetImpedimentsResponse(impediments=analytics.encode_impediments(request.project_id, found))

    async def FindSimilarProjects(
        self, request: pb.FindSimilarProjectsRequest, context: Context
    ) -> pb.FindSimilarProjectsResponse:
        """Projects where the like happened, or whose work is about the like."""
        project_id = request.reference_project_id
        figures = await figure_store.of_project(self._db.read, project_id)
        if figures is None and not await similarity_store.has_titles(self._db.read, project_id):
            figures = await self._figures(project_id)
        candidates, model = await similarity_store.candidates(self._db.read, project_id)
        threshold = request.similarity_threshold if request.HasField("similarity_threshold") else DEFAULT_THRESHOLD
        limit = request.max_results or DEFAULT_RESULTS
        found, compared = compare(figures or Figures(), candidates, threshold, limit)
        histories = await self._histories([each.candidate.project_id for each in found], request.max_sprints)
        return pb.FindSimilarProjectsResponse(
            similar_projects=analytics.encode_resemblances(found, histories),
            projects_compared=compared,
            embedding_model=model,
        )

    async def GetDecisionImpact(
        self, request: pb.GetDecisionImpactRequest, context: Context
    ) -> pb.GetDecisionImpactResponse:
        """How enhanced decisions did against rule-based ones."""
        days = _days(request, "start_date", "end_date")
        end = days["end_date"] or self._clock().date()
        start = days["start_date"] or end - timedelta(days=min(DEFAULT_DAYS, (end - date.min).days))
        _check_order(start, end)
        period = {"project_id": request.project_id, "start": start, "end": end}
        outcomes, waiting = await impact_store.outcomes(self._db.read, period)
        if not outcomes:
            await self._figures(request.project_id)
        found = Impact(
            start,
            end,
            outcomes.get(Source.ENHANCED, Outcomes()),
            outcomes.get(Source.RULE_BASED, Outcomes()),
            waiting,
            await impact_store.details(self._db.read, period, MOST_DETAILS),
        )
        return pb.GetDecisionImpactResponse(impact=analytics.encode_impact(request.project_id, found))

    async def RecordNote(self, request: pb.RecordNoteRequest, context: Context) -> pb.RecordNoteResponse:
        """A free note."""
        note = notes.decode(request.note, self._new_id(), self._clock())
        async with self._db.write() as tx:
            await events.record_note(tx, note)
            return tx.reply(pb.RecordNoteResponse(note=notes.encode(note)))

    async def ListNotes(self, request: pb.ListNotesRequest, context: Context) -> pb.ListNotesResponse:
        """Free notes, newest first."""
        page = page_of(request)
        params = _filters(request, "project_id", "sprint_id", "task_id")
        found = await note_store.page(self._db.read, params | _after(page, "after_time", "after_id"))
        kept, token = page.cut(found, lambda note: (note.create_time, note.note_id))
        return pb.ListNotesResponse(notes=[notes.encode(note) for note in kept], next_page_token=token)

    async def _histories(self, project_ids: Sequence[str], sprints: int) -> dict[str, History]:
        """So many of the newest closed sprints of some projects, each with its action items; nothing for none."""
        wanted = project_ids if sprints else ()
        found = await asyncio.gather(*(self._history(project_id, sprints) for project_id in wanted))
        return dict(zip(wanted, found, strict=True))

    async def _history(self, project_id: str, sprints: int) -> History:
        closed, items = await asyncio.gather(
            velocity_store.closed_sprints(self._db.read, project_id, sprints),
            pattern_store.common_items(self._db.read, project_id, _COMMON_ITEMS),
        )
        return History(tuple(closed), tuple(items))

    async def _figures(self, project_id: str) -> Figures:
        """A project's figures; none yet if only its impediments are known, ProjectNotFound if nothing is."""
        figures = await figure_store.of_project(self._db.read, project_id)
        if figures is None and not await velocity_store.knows(self._db.read, project_id):
            raise ProjectNotFound(project_id)
        return figures or Figures()


def _check_order(start: date | None, end: date | None) -> None:
    if start and end and end < start:
        raise InvalidArgument("end_date", "must not be before start_date", end)


def _filters(request: Any, *names: str) -> dict[str, Any]:
    """The filters of a request by name; UUIDs and other ids alike, as they came."""
    return {name: getattr(request, name) for name in names}


def _days(request: Any, *names: str) -> dict[str, Any]:
    """The days that a request filters by; None for those not given."""
    return {name: to_date_or_none(getattr(request, name), name) for name in names}


def _after(page: Page, *names: str) -> dict[str, Any]:
    """How many rows a page reads, and after which sort key, by the names of the key's parts."""
    return {"limit": page.limit} | (dict(zip(names, page.after, strict=True)) if page.after else {})
