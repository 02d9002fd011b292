"""Takes drafts into a project: what is new is made, what changed is changed, the rest is left alone."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime

from services.backlog.domain.course import Change
from services.backlog.domain.importing.drafts import (
    Draft,
    Mark,
    Reference,
    imported_content,
    imported_course,
    imported_story,
    state_is_kept,
)
from services.backlog.domain.story import Story, new_story, revised_story
from services.backlog.domain.task import RANK_STEP, Task, new_task, revised, task_id_of
from services.backlog.events import story_changed, story_created, task_changed, task_created
from services.backlog.store.imports import Imported, Link, find_traces, lock_imported, mark_imported, replace_links
from services.backlog.store.projects import count_up
from services.backlog.store.stories import insert_stories, lock_stories, lock_stories_by_key, save_stories
from services.backlog.store.tasks import holders_of_keys, insert_imported, save_contents, save_imported
from services.kit.database import WriteHandle


@dataclass
class Outcome:
    """What taking drafts did; `open` are references to what is not there yet."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    stories: int = 0
    states_kept: int = 0
    open: list[Reference] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        """Sum up."""
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))


@dataclass(frozen=True)
class Places:
    """Tasks and stories by the key of their origin."""

    tasks: Mapping[str, str]
    stories: Mapping[str, str]

    def parent(self, reference: Reference, before: str) -> str:
        """The parent task's id; a parent that is a story is none, one that is not there leaves what was."""
        key = reference.parent_key
        if key is None or (key and key not in self.tasks and key not in self.stories):
            return before
        return self.tasks.get(key, "")

    def story_ids(self, reference: Reference) -> list[str]:
        """The stories that the task belongs under: its epic, and a parent that is a story."""
        return sorted({self.stories[key] for key in reference.keys if key in self.stories})

    def is_open(self, reference: Reference) -> bool:
        """True if something that it refers to is not there."""
        return any(key not in self.tasks and key not in self.stories for key in reference.keys)


@dataclass
class _Work:
    """What there is to store: tasks made and changed, marks alone, links; and which tasks were there before."""

    made: list[tuple[Task, Mark]] = field(default_factory=list)
    changed: list[tuple[Change, Mark]] = field(default_factory=list)
    marks: list[tuple[str, Mark]] = field(default_factory=list)
    links: list[Link] = field(default_factory=list)
    known: list[str] = field(default_factory=list)


class Batch:
    """One batch of drafts in one transaction."""

    def __init__(self, tx: WriteHandle, project_id: str, now: datetime) -> None:
        self._tx = tx
        self._project_id = project_id
        self._now = now
        self._outcome = Outcome()

    async def take(self, drafts: Sequence[Draft]) -> Outcome:
        """Store the drafts. The project's counter is held first, so that imports into it take turns."""
        await count_up(self._tx, self._project_id)
        drafts = await self._changed_drafts(drafts)
        keys = [draft.key for draft in drafts if draft.key]
        referred = set().union(*(draft.reference.keys for draft in drafts))
        known = await lock_imported(self._tx, self._project_id, keys)
        stories = await lock_stories_by_key(self._tx, self._project_id, sorted({*keys, *referred}))
        epics = [d for d in drafts if d.key not in known and (d.is_epic or (d.key and d.key in stories))]
        story_ids = await self._take_epics(epics, stories)
        elsewhere = await holders_of_keys(self._tx, self._project_id, sorted(referred)) if referred else {}
        lines = {draft.line for draft in epics}
        await self._take_tasks([draft for draft in drafts if draft.line not in lines], known, elsewhere, story_ids)
        return self._outcome

    async def _changed_drafts(self, drafts: Sequence[Draft]) -> list[Draft]:
        """Those that are not as the import before took them; the others are counted."""
        traces = await find_traces(self._tx, self._project_id, [draft.key for draft in drafts if draft.key])
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

    async def settle(self, references: Sequence[Reference]) -> None:
        """Look again for what was not there when its row was read; what is still missing, the next import looks for."""
        await count_up(self._tx, self._project_id)
        known = await lock_imported(self._tx, self._project_id, [reference.key for reference in references])
        referred = sorted(set().union(*(reference.keys for reference in references)))
        stories = await lock_stories_by_key(self._tx, self._project_id, referred)
        tasks = await holders_of_keys(self._tx, self._project_id, referred)
        places = Places(tasks, {key: story.story_id for key, story in stories.items()})
        changes, marks, links = list[Change](), list[tuple[str, Mark]](), list[Link]()
        for reference in references:
            if item := known.get(reference.key):
                task = item.task
                parent = places.parent(reference, task.content.parent_task_id)
                if parent != task.content.parent_task_id:
                    after = revised(task, self._now, content=replace(task.content, parent_task_id=parent))
                    changes.append((task, after))
                if places.is_open(reference):
                    marks.append((task.task_id, replace(item.mark, digest="")))
                links += [(story_id, task.task_id) for story_id in places.story_ids(reference)]
        await save_contents(self._tx, changes)
        self._tell(changes)
        await mark_imported(self._tx, marks)
        await self._relink([item.task.task_id for item in known.values()], links)

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
        ids = {key: story.story_id for key, story in known.items()}
        return ids | {draft.key: story.story_id for draft, story in zip(new, made, strict=True) if draft.key}

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
        numbers = {draft.line: index for index, draft in enumerate(new)}
        here = {d.key: task_id_of(self._project_id, first + numbers[d.line]) for d in new if d.key}
        places = Places({**elsewhere, **{key: i.task.task_id for key, i in known.items()}, **here}, story_ids)
        work = _Work()
        for draft in drafts:
            item = known.get(draft.key)
            under = places.story_ids(draft.reference)
            if item is None:
                index = numbers[draft.line]
                task = self._new(draft, first + index, first_rank + index * RANK_STEP, places)
                work.made.append((replace(task, story_ids=tuple(under)) if under else task, _mark(draft)))
            else:
                task = item.task
                self._sort_in(work, draft, item, places)
            work.links += [(story_id, task.task_id) for story_id in under]
            if draft.key and places.is_open(draft.reference):
                self._outcome.open.append(draft.reference)
        await self._store(work)
        if work.links or (work.known and any(draft.reference.epic_key is not None for draft in drafts)):
            await self._relink(work.known, work.links)

    def _sort_in(self, work: _Work, draft: Draft, item: Imported, places: Places) -> None:
        """A task that is there: changed, or so already."""
        task, mark = item.task, _mark(draft, item)
        work.known.append(task.task_id)
        after = self._changed(draft, item, places)
        if after is None:
            self._outcome.unchanged += 1
            work.marks.append((task.task_id, mark))
        else:
            work.changed.append(((task, after), mark))

    def _new(self, draft: Draft, number: int, rank: int, places: Places) -> Task:
        content = imported_content(draft, None, places.parent(draft.reference, ""))
        return new_task(self._project_id, number, rank, content, self._now, imported_course(draft, None, None))

    def _changed(self, draft: Draft, item: Imported, places: Places) -> Task | None:
        """The task as its row has it now; None if it is so already."""
        task = item.task
        parent = places.parent(draft.reference, task.content.parent_task_id)
        content = imported_content(draft, task.content, parent)
        course = imported_course(draft, task.course, item.mark.state)
        if content == task.content and course == task.course:
            return None
        return revised(task, self._now, content=content, course=course)

    async def _store(self, work: _Work) -> None:
        await insert_imported(self._tx, [task for task, _ in work.made], [mark for _, mark in work.made])
        changes = [change for change, _ in work.changed]
        await save_imported(self._tx, changes, [mark for _, mark in work.changed])
        await mark_imported(self._tx, work.marks)
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


def _mark(draft: Draft, item: Imported | None = None) -> Mark:
    """A row whose state was not taken keeps the mark of the state before, and is looked at again."""
    if item and state_is_kept(draft, item.task.course.state, item.task.course.sprint_id):
        return Mark("", item.mark.state)
    return Mark(draft.digest, draft.state or "")


def _by_story(links: Iterable[Link]) -> dict[str, list[str]]:
    by_story: dict[str, list[str]] = defaultdict(list)
    for story_id, task_id in links:
        by_story[story_id].append(task_id)
    return by_story
