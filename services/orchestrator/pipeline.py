"""One orchestration, from looking at the project to what was done. Reads from top to bottom."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID, uuid4, uuid5

from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from psycopg.errors import UniqueViolation

from services.kit import call
from services.kit.clock import Clock
from services.kit.data.database import AlreadyAnswered, Database
from services.kit.errors import DsmError, RequestIdReused
from services.orchestrator import events, figures
from services.orchestrator.act import Actor
from services.orchestrator.convert import answers
from services.orchestrator.domain.action import plan
from services.orchestrator.domain.adjustment import confidence_of
from services.orchestrator.domain.advisory import Advisory, AdvisoryState
from services.orchestrator.domain.case import Case
from services.orchestrator.domain.decision import Decision, DecisionMode, ModeConfig, decide_rule_based
from services.orchestrator.domain.episode import Episode, Metadata, Record, remember, revise
from services.orchestrator.domain.errors import OrchestrationInProgress
from services.orchestrator.domain.evidence import gather
from services.orchestrator.domain.outlook import predict
from services.orchestrator.domain.proposal import adjust, overload
from services.orchestrator.domain.situation import Analysis, Options, OrchestrateAction, analyze, capacity_of
from services.orchestrator.domain.strategy import Strategy
from services.orchestrator.lease import Lease, taken
from services.orchestrator.memory import EMBEDDING_AWAY, Memory, Recall
from services.orchestrator.observe import Observer
from services.orchestrator.store import decisions, leases, modes, strategies

_DECISIONS = UUID("0b0f6c5e-5d0b-4b54-9d55-3c8d1c6f2a10")
# How often decisions are looked for that were left with something to do, and how soon one is tried again.
POLL_SECONDS = 2.0
RETRY_SECONDS = 5.0


@dataclass(frozen=True)
class Order:
    """What a call asks for."""

    project_id: str
    asked: OrchestrateAction
    options: Options


class Stopwatch:
    """Seconds from the call to now, step by step."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, float]] = []
        self.decision = 0.0
        self._began = self._last = time.monotonic()

    @property
    def total(self) -> float:
        """Since the call."""
        return time.monotonic() - self._began

    def lap(self, step: str) -> None:
        """A step has ended."""
        now = time.monotonic()
        self.steps.append((step, now - self._last))
        self._last = now


def decision_of(request_id: UUID) -> UUID:
    """The id of the decision that answers a request_id: a call that is repeated after a crash finds its own."""
    return uuid5(_DECISIONS, str(request_id))


class Pipeline:
    """Orchestrates projects, one call per project at a time."""

    def __init__(
        self,
        database: Database,
        observer: Observer,
        memory: Memory,
        actor: Actor,
        clock: Clock,
        *,
        default_mode: ModeConfig,
        advisor_model: str = "",
    ) -> None:
        self._database = database
        self._observer = observer
        self._memory = memory
        self._actor = actor
        self._clock = clock
        self.default_mode = default_mode
        self._advisor_model = advisor_model

    async def orchestrate(self, order: Order) -> pb.OrchestrateResponse:
        """Decide, store the decision, act, store what was done.

        Raises OrchestrationInProgress if another call works on the project, ProjectNotActive, DateOutOfRange,
        ScheduleInvalid, and what the project, backlog and sprint services say.
        """
        watch = Stopwatch()
        key = call.current().request_key
        decision_id = decision_of(key.request_id) if key else uuid4()
        try:
            async with taken(self._database, order.project_id, decision_id) as lease:
                episode = await self._earlier(decision_id)
                if episode is None:
                    episode = await self._decide(order, decision_id, watch)
                    await self._store(episode, lease)
                    watch.lap("store")
                    watch.decision = watch.total
                    figures.decided(episode.record, watch.decision)
                return await self._carry_out(episode, watch)
        except OrchestrationInProgress:
            await self._wait_for_twin(order.project_id, decision_id)
            raise

    async def carry_on(self) -> None:
        """Go on with decisions whose call ended, or whose process died, before everything was done; for ever."""
        while True:
            with suppress(DsmError):
                for decision_id in await decisions.due(self._database.read):
                    await self._carry_on(decision_id)
            await asyncio.sleep(POLL_SECONDS)

    async def mode(self, project_id: str) -> ModeConfig:
        """How a project wants its decisions made."""
        stored = await modes.find(self._database.read, project_id)
        return stored.config if stored else self.default_mode

    async def _earlier(self, decision_id: UUID) -> Episode | None:
        """The decision that an earlier call with this request_id stored; RequestIdReused if its body was another."""
        key = call.current().request_key
        if key is None or (episode := await decisions.find(self._database.read, decision_id)) is None:
            return None
        if await decisions.fingerprint(self._database.read, decision_id) != key.fingerprint:
            raise RequestIdReused(str(key.request_id))
        return episode

    async def _decide(self, order: Order, decision_id: UUID, watch: Stopwatch) -> Episode:
        config = await self.mode(order.project_id)
        enhance = config.mode is not DecisionMode.RULE_BASED_ONLY
        seen = await self._observer.observe(order.project_id, order.options, compare=enhance)
        analysis = analyze(seen)
        watch.lap("analyze")

        rule_based = decide_rule_based(analysis, order.options)
        capacity = capacity_of(seen, rule_based.start_date, rule_based.sprint_duration_weeks)
        analysis = replace(analysis, capacity_person_days=capacity)
        watch.lap("decide_by_rules")

        strategies, recall = await self._remember(order, analysis, rule_based) if enhance else ((), Recall())
        if EMBEDDING_AWAY in recall.degraded:
            # Then nothing rests on similarity, nor seems to.
            analysis = replace(analysis, similar=())
        evidence = gather(seen, rule_based.start_date, strategies, analysis.similar, recall.episodes)
        watch.lap("retrieve_episodes")

        case = Case(rule_based, analysis, order.options, evidence)
        adjustments, final = adjust(case, config)
        stays = None if analysis.closable_sprint_id else seen.sprint
        analysis = replace(analysis, risk=predict(seen.velocity, stays, seen.today, overload(case, final)))
        watch.lap("decide")

        now = self._clock()
        record = Record(
            decision_id=decision_id,
            project_id=order.project_id,
            decision_time=now,
            mode=config.mode,
            asked=order.asked,
            options=order.options,
            analysis=analysis,
            rule_based=rule_based,
            final=final,
            adjustments=adjustments,
            confidence=confidence_of(adjustments, config.confidence_threshold),
            actions=plan(decision_id, final, order.options, order.asked, now),
            metadata=Metadata(
                episodes_considered=len(recall.episodes),
                episodes_used=len({e.episode_id for adjustment in adjustments for e in adjustment.details.episodes}),
                degraded=seen.degraded + recall.degraded,
                cache_hit=recall.cache_hit,
                embedding_model=recall.embedding_model,
                similar_projects_considered=len(analysis.similar),
                strategies_considered=len(case.strategies),
            ),
        )
        advisory = Advisory(AdvisoryState.PENDING, self._advisor_model) if self._advisor_model else None
        return replace(remember(uuid4(), record), advisory=advisory)

    async def _remember(
        self, order: Order, analysis: Analysis, rule_based: Decision
    ) -> tuple[tuple[Strategy, ...], Recall]:
        """What memory has to say: strategies, and episodes of a like situation."""
        found, recall = await asyncio.gather(
            strategies.active(self._database.read, order.project_id),
            self._memory.recall(analysis, rule_based, order.project_id),
        )
        return tuple(found), recall

    async def _store(self, episode: Episode, lease: Lease) -> None:
        """Commit decision, episode and events; from here on the answer is OK."""
        key = call.current().request_key
        try:
            # The answer to the request_id is not known yet; _answer keeps it.
            async with self._database.write(keyed=False) as tx:
                await lease.confirm(tx)
                await decisions.insert(tx, episode, key.fingerprint if key else None)
                events.decision_made(tx, episode)
        except UniqueViolation:
            # The id derives from the request_id, which a call for another project uses at this moment.
            raise RequestIdReused(str(key.request_id) if key else "") from None
        self._memory.wake()

    async def _carry_out(self, episode: Episode, watch: Stopwatch) -> pb.OrchestrateResponse:
        if not episode.record.pending:
            return await self._answer(episode, watch, acted=False)
        record = await self._actor.act(episode.record)
        figures.acted(episode.record, record)
        watch.lap("act")
        return await self._answer(revise(episode, record), watch, acted=True)

    async def _answer(self, episode: Episode, watch: Stopwatch, *, acted: bool) -> pb.OrchestrateResponse:
        timings = answers.from_timings(watch.total, watch.decision, watch.steps)
        response = pb.OrchestrateResponse(decision=answers.from_record(episode), performance_metrics=timings)
        key = call.current().request_key
        if not acted and key is None:
            return response
        try:
            async with self._database.write() as tx:
                if acted:
                    await decisions.update(tx, episode, RETRY_SECONDS)
                    events.decision_made(tx, episode)
                tx.reply(response)
        except DsmError:
            # The decision is stored, so the answer is OK; what was done carry_on finds out again. But who asks with a
            # request_id is told nothing that is not kept: asked again, the decision is there.
            if key:
                raise
        return response

    async def _wait_for_twin(self, project_id: str, decision_id: UUID) -> None:
        """If the project is taken by a call with the same request_id, wait for its end and have its answer given."""
        if call.current().request_key is None:
            return
        at_hand = await leases.decision_at_hand(self._database.read, project_id)
        if at_hand not in (decision_id, None):
            return
        while await leases.decision_at_hand(self._database.read, project_id) == decision_id:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        raise AlreadyAnswered

    async def _carry_on(self, decision_id: UUID) -> None:
        found = await decisions.find(self._database.read, decision_id)
        if found is None:
            return
        with suppress(OrchestrationInProgress):
            async with taken(self._database, found.record.project_id, decision_id):
                episode = await decisions.find(self._database.read, decision_id)
                if episode is None or not episode.record.pending:
                    return
                record = await self._actor.act(episode.record)
                figures.acted(episode.record, record)
                episode = revise(episode, record)
                async with self._database.write(keyed=False) as tx:
                    await decisions.update(tx, episode, RETRY_SECONDS)
                    events.decision_made(tx, episode)
