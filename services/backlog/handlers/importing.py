"""Takes drafts into a project: what is new is made, what changed is changed, the rest is left alone."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime

from services.backlog.domain.course import Change
from services.backlog.domain.graph import Edges, reaches_itself
from services.backlog.domain.importing.drafts import (
    Draft,
    Mark,
    Reference,
    imported_content,
    imported_course,
    imported_story,
    state_is_kept,
)
from services.backlog.domain.importing.errors import RowRefused
from services.backlog.domain.story import Story, new_story, revised_story
from services.backlog.domain.task import RANK_STEP, Task, new_task, revised, task_id_of
from services.backlog.events import story_changed, story_created, task_changed, task_created
from services.backlog.handlers.references import grew, rose
from services.backlog.store.graph import dependency_edges, parent_edges
from services.backlog.store.imports import Imported, KeyKind, Keys, Link, mark_imported, replace_links
from services.backlog.store.projects import count_up
from services.backlog.store.ranks import raise_last_rank
from services.backlog.store.stories import insert_stories, lock_stories, save_stories
from services.backlog.store.tasks import insert_imported, save_contents, save_imported
from services.kit.data.database import WriteHandle

_IN_CIRCLE = "must not lead back to the task itself"

# What becomes of a task, the mark of its row, and what the row refers to.
Changed = tuple[Change, Mark, Reference]


@dataclass
class Outcome:
    """What taking drafts did; `open` are references to what is not there yet, `refused` are rows by their lines."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    stories: int = 0
    states_kept: int = 0
    open: list[Reference] = field(default_factory=list)
    refused: list[tuple[int, RowRefused]] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        """Sum up."""
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))


@dataclass(frozen=True)
class Places:
    """Tasks and stories by key."""

    tasks: Mapping[str, str]
    stories: Mapping[str, str]

    def parent(self, reference: Reference, before: str) -> str:
        """The parent task's id; a parent that is a story is none, one that is not there leaves what was."""
        key = reference.parent_key
        if key is None or (key and key not in self.tasks and key not in self.stories):
            return before
        return self.tasks.get(key, "")

    def depends_on(self, reference: Reference, before: tuple[str, ...]) -> tuple[str, ...]:
        """The ids of the tasks that it waits for, as far as they are there."""
        if reference.depends_on is None:
            return before
        return tuple(self.tasks[key] for key in reference.depends_on if key in self.tasks)

    def story_ids(self, reference: Reference) -> list[str]:
        """The stories that the task belongs under: those it names, and a parent that is one."""
        return sorted({self.stories[key] for key in reference.keys if key in self.stories})

    def is_open(self, reference: Reference) -> bool:
        """True if something that it refers to is not there."""
        return any(key not in self.tasks and key not in self.stories for key in reference.keys)


@dataclass
class _Work:
    """What there is to store: tasks made and changed, marks alone, links; and which tasks were there before."""

    made: list[tuple[Task, Mark]] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    marks: list[tuple[str, Mark]] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    known: list[str] = field(default_factory=list)


class Batch:
    """One batch of drafts in one transaction."""

    def __init__(self, tx: WriteHandle, project_id: str, kind: KeyKind, now: datetime) -> None:
        self._tx = tx
        self._project_id = project_id
        self._keys = Keys(tx, project_id, kind)
        self._now = now
        self._outcome = Outcome()

    async def take(self, drafts: Sequence[Draft]) -> Outcome:
        """Store the drafts. The project's counter is held first, so that imports into it take turns."""
        await count_up(self._tx, self._project_id)
        await self._keys.adopt(*(_origin_keys(d for d in drafts if d.is_epic is epics) for epics in (False, True)))
        drafts = await self._changed_drafts(drafts)
        keys = [draft.key for draft in drafts if draft.key]
        referred = sorted(set().union(*(draft.reference.keys for draft in drafts)))
        known = await self._keys.lock_tasks(keys)
        stories = await self._keys.lock_stories(sorted({*keys, *referred}))
        epics, rest = list[Draft](), list[Draft]()
        for draft in drafts:
            is_story = draft.key not in known and (draft.is_epic or (draft.key and draft.key in stories))
            (epics if is_story else rest).append(draft)
        story_ids = await self._take_epics(epics, stories)
        await self._take_tasks(rest, known, await self._keys.task_ids(referred), story_ids)
        return self._outcome

    async def _changed_drafts(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Those that are not as the import before took them; the others are counted."""
        traces = await self._keys.traces([draft.key for draft in drafts if draft.key])
        changed = []
        for draft in drafts:
            trace = traces.get(draft.key)
            if trace:
                self._outcome.states_kept += state_is_kept(draft, trace.state, trace.sprint_id)
            if trace and trace.digest == draft.digest:
                self._outcome.unchanged += 1
            else:
                changed.append(draft)
        return changed

    async def settle(self, references: Sequence[Reference]) -> Outcome:
        """Look again for what was not there when its row was read; what is still missing, the next import looks for."""
        await count_up(self._tx, self._project_id)
        known = await self._keys.lock_tasks([reference.key for reference in references])
        referred = sorted(set().union(*(reference.keys for reference in references)))
        stories = await self._keys.lock_stories(referred)
        tasks = await self._keys.task_ids(referred)
        places = Places(tasks, {key: story.story_id for key, story in stories.items()})
        work = _Work(known=[item.task.task_id for item in known.values()])
        for reference in references:
            if item := known.get(reference.key):
                after = self._settled(item.task, reference, places)
                mark = replace(item.mark, digest="" if places.is_open(reference) else reference.digest)
                work.marks.append((after.task_id, mark))
                if after is not item.task:
                    work.changed.append(((item.task, after), mark, reference))
                work.links += [(story_id, after.task_id) for story_id in places.story_ids(reference)]
        changes = [change for change, _, _ in await self._without_circles(work)]
        await save_contents(self._tx, changes)
        self._tell(changes)
        await mark_imported(self._tx, work.marks)
        await self._relink(work.known, work.links)
        return self._outcome

    def _settled(self, task: Task, reference: Reference, places: Places) -> Task:
        """The task with the references that are there now; itself if it has them already."""
        content = replace(
            task.content,
            parent_task_id=places.parent(reference, task.content.parent_task_id),
            depends_on=places.depends_on(reference, task.content.depends_on),
        )
        return task if content == task.content else revised(task, self._now, content=content)

    async def _without_circles(self, work: _Work) -> list[Changed]:
        """The changes without those that would lead a task back to itself, which are refused.

        Looked at again without these, since a task that stays where it was may close another circle.
        """
        kept = work.changed
        while fields_at_fault := await self._circular([task for task, _ in work.made], kept):
            for (_, after), _, reference in kept:
                if field_name := fields_at_fault.get(after.task_id):
                    self._outcome.refused.append((reference.line, _refusal(reference, field_name)))
            kept = [changed for changed in kept if changed[0][1].task_id not in fields_at_fault]
        gone = {after.task_id for (_, after), _, _ in work.changed} - {after.task_id for (_, after), _, _ in kept}
        work.links = [link for link in work.links if link[1] not in gone]
        work.known = [task_id for task_id in work.known if task_id not in gone]
        work.marks = [(task_id, mark) for task_id, mark in work.marks if task_id not in gone]
        return kept

    async def _circular(self, made: Sequence[Task], changed: Sequence[Changed]) -> dict[str, str]:
        """Which of these tasks would lead back to themselves, and by which field."""
        afters = [after for (_, after), _, _ in changed]
        found: dict[str, str] = {}
        if any(grew(*change) for change, _, _ in changed):
            waits: Edges = {task.task_id: task.content.depends_on for task in (*made, *afters)}
            waits = {**await dependency_edges(self._tx, _targets(waits)), **waits}
            found |= {task.task_id: "depends_on" for task in afters if reaches_itself(waits, task.task_id)}
        if any(rose(*change) for change, _, _ in changed):
            above: Edges = {task.task_id: (task.content.parent_task_id,) for task in (*made, *afters)}
            above = {**await parent_edges(self._tx, _targets(above)), **above}
            found |= {task.task_id: "parent_key" for task in afters if reaches_itself(above, task.task_id)}
        return found

    async def _take_epics(self, epics: Sequence[Draft], known: Mapping[str, Story]) -> dict[str, str]:
        """Epics become stories; the ids of all stories at hand by key."""
        new = [draft for draft in epics if draft.key not in known]
        last = (await count_up(self._tx, self._project_id, stories=len(new))).last_story if new else 0
        made = [
            new_story(self._project_id, last - len(new) + index, imported_story(draft, None), self._now)
            for index, draft in enumerate(new, start=1)
        ]
        changes = []
        for draft in epics:
            if before := known.get(draft.key):
                content = imported_story(draft, before.content)
                if content != before.content:
                    changes.append((before, revised_story(before, self._now, content)))
        await insert_stories(self._tx, made)
        await save_stories(self._tx, [after for _, after in changes])
        for story in made:
            story_created(self._tx.emit, story)
        for before, after in changes:
            story_changed(self._tx.emit, before, after)
        self._outcome.stories += len(made) + len(changes)
        made_ids = {draft.key: story.story_id for draft, story in zip(new, made, strict=True) if draft.key}
        await self._keys.name_stories(made_ids)
        return {key: story.story_id for key, story in known.items()} | made_ids

    async def _take_tasks(
        self,
        drafts: Sequence[Draft],
        known: Mapping[str, Imported],
        elsewhere: Mapping[str, str],
        story_ids: Mapping[str, str],
    ) -> None:
        new = [draft for draft in drafts if draft.key not in known]
        last = await count_up(self._tx, self._project_id, tasks=len(new), step=RANK_STEP)
        first = last.last_task - len(new) + 1
        first_rank = last.last_rank - (len(new) - 1) * RANK_STEP
        numbers = {id(draft): index for index, draft in enumerate(new)}
        here = {d.key: task_id_of(self._project_id, first + numbers[id(d)]) for d in new if d.key}
        places = Places({**elsewhere, **{key: i.task.task_id for key, i in known.items()}, **here}, story_ids)
        work = _Work()
        for draft in drafts:
            item = known.get(draft.key)
            under = places.story_ids(draft.reference)
            mark, is_open = self._mark(draft, item), bool(draft.key) and places.is_open(draft.reference)
            if is_open:
                self._outcome.open.append(replace(draft.reference, digest=mark.digest))
                # Until it is settled, so that an import that breaks off before is made up for by the next.
                mark = replace(mark, digest="")
            if item is None:
                index = numbers[id(draft)]
                task = self._new(draft, first + index, first_rank + index * RANK_STEP, places)
                work.made.append((replace(task, story_ids=tuple(under)) if under else task, mark))
            else:
                task = item.task
                self._sort_in(work, draft, item, mark, places)
            work.links += [(story_id, task.task_id) for story_id in under]
        await self._store(work)
        if work.links or (work.known and any(draft.reference.story_keys is not None for draft in drafts)):
            await self._relink(work.known, work.links)

    def _sort_in(self, work: _Work, draft: Draft, item: Imported, mark: Mark, places: Places) -> None:
        """A task that is there: changed, or so already."""
        task = item.task
        work.known.append(task.task_id)
        after = self._changed(draft, item, places)
        if after is None:
            self._outcome.unchanged += 1
            work.marks.append((task.task_id, mark))
        else:
            work.changed.append(((task, after), mark, draft.reference))

    def _new(self, draft: Draft, number: int, rank: int, places: Places) -> Task:
        parent, waits = places.parent(draft.reference, ""), places.depends_on(draft.reference, ())
        content, course = imported_content(draft, None, parent, waits), imported_course(draft, None, None)
        return new_task(self._project_id, number, rank, content, self._now, course)

    def _changed(self, draft: Draft, item: Imported, places: Places) -> Task | None:
        """The task as its row has it now; None if it is so already."""
        task = item.task
        parent = places.parent(draft.reference, task.content.parent_task_id)
        waits = places.depends_on(draft.reference, task.content.depends_on)
        content = imported_content(draft, task.content, parent, waits)
        course = imported_course(draft, task.course, item.mark.state)
        # Only where it was exported does a rank mean the same.
        rank = draft.rank if draft.rank is not None and draft.key == task.task_id else task.rank
        if (content, course, rank) == (task.content, task.course, task.rank):
            return None
        return revised(task, self._now, content=content, course=course, rank=rank)

    def _mark(self, draft: Draft, item: Imported | None) -> Mark:
        """A row whose state was not taken keeps the mark of the state before, and is looked at again."""
        key = self._keys.mark(draft.key, item)
        if item and state_is_kept(draft, item.task.course.state, item.task.course.sprint_id):
            return Mark("", item.mark.state, key)
        return Mark(draft.digest, draft.state or "", key)

    async def _store(self, work: _Work) -> None:
        changed = await self._without_circles(work)
        await insert_imported(self._tx, [task for task, _ in work.made], [mark for _, mark in work.made])
        changes = [change for change, _, _ in changed]
        await save_imported(self._tx, changes, [mark for _, mark, _ in changed])
        await mark_imported(self._tx, work.marks)
        if any(before.rank != after.rank for before, after in changes):
            await raise_last_rank(self._tx, self._project_id, max(after.rank for _, after in changes))
        for task, _ in work.made:
            task_created(self._tx.emit, task)
        self._tell(changes)
        self._outcome.created += len(work.made)
        self._outcome.updated += len(changes)

    def _tell(self, changes: Iterable[Change]) -> None:
        for change in changes:
            task_changed(self._tx.emit, change)

    async def _relink(self, task_ids: Sequence[str], links: Sequence[Link]) -> None:
        """Under which stories the tasks are, told by the stories that gain or lose one."""
        made, undone = await replace_links(self._tx, task_ids, links)
        gained, lost = _by_story(made), _by_story(undone)
        before = await lock_stories(self._tx, sorted(gained.keys() | lost.keys())) if gained or lost else []
        after = [revised_story(story, self._now) for story in before]
        await save_stories(self._tx, after)
        for old, new in zip(before, after, strict=True):
            linked, unlinked = gained[new.story_id], lost[new.story_id]
            story_changed(self._tx.emit, old, new, linked=linked, unlinked=unlinked)


def _origin_keys(drafts: Iterable[Draft]) -> dict[str, str]:
    """The key of each draft's origin, by the draft's key."""
    return {draft.key: draft.origin.key if draft.origin else "" for draft in drafts}


def _refusal(reference: Reference, field_name: str) -> RowRefused:
    value = reference.parent_key or "" if field_name == "parent_key" else ", ".join(reference.depends_on or ())
    return RowRefused(field_name, _IN_CIRCLE, value, reference.key)


def _targets(edges: Edges) -> list[str]:
    return sorted({target for targets in edges.values() for target in targets if target})


def _by_story(links: Iterable[Link]) -> dict[str, list[str]]:
    by_story: dict[str, list[str]] = defaultdict(list)
    for story_id, task_id in links:
        by_story[story_id].append(task_id)
    return by_story
