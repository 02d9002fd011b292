"""What the demo sees of the system, and how it waits until services that follow by events have caught up."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from dsm.backlog.v1.backlog_service_pb2 import ListTasksRequest
from dsm.chronicle.v1.chronicle_service_pb2 import GetVelocityRequest, ListRetrospectivesRequest
from dsm.chronicle.v1.note_pb2 import Retrospective
from dsm.orchestrator.v1.episode_pb2 import EPISODE_EMBEDDING_STATE_EMBEDDED, Episode
from dsm.orchestrator.v1.orchestrator_service_pb2 import ListEpisodesRequest
from dsm.sprint.v1.sprint_pb2 import Sprint
from dsm.sprint.v1.sprint_service_pb2 import GetSprintRequest

from services.cli.client import Client
from services.cli.errors import CliError

_PATIENCE_SECONDS = 20.0
_POLL_SECONDS = 0.02
_PAGE = 250

T = TypeVar("T")
P = ParamSpec("P")


class Lookout:
    """Asks about one project, which is named once it is founded."""

    def __init__(self, dsm: Client) -> None:
        self.dsm = dsm
        self.project_id = ""

    def eventually(self, what: str, check: Callable[P, T | None], *args: P.args, **named: P.kwargs) -> T:
        """Wait until a check gives something true; raises CliError if it does not happen."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not (found := check(*args, **named)):
            if time.monotonic() > deadline:
                raise CliError(f"After {_PATIENCE_SECONDS:g} s it still does not hold that {what}: see `dsm status`.")
            time.sleep(_POLL_SECONDS)
        return found

    def sprint(self, sprint_id: str) -> Sprint:
        """A sprint with its tasks."""
        return self.dsm.sprint.GetSprint(GetSprintRequest(sprint_id=sprint_id)).sprint

    def states_in_sprint(self, sprint_id: str) -> Counter[int]:
        """States of the tasks of a sprint, as it has them itself."""
        return Counter(int(task.state) for task in self.sprint(sprint_id).tasks)

    def states_in_backlog(self, sprint_id: str) -> Counter[int]:
        """States of the tasks that the backlog sees in a sprint."""
        states: Counter[int] = Counter()
        token = ""
        while True:
            request = ListTasksRequest(
                project_id=self.project_id, sprint_id=sprint_id, page_size=_PAGE, page_token=token
            )
            answer = self.dsm.backlog.ListTasks(request)
            states.update(int(task.state) for task in answer.tasks)
            token = answer.next_page_token
            if not token:
                return states

    def backlog_agrees(self, sprint_id: str) -> bool:
        """Whether backlog and sprint say the same of the sprint's tasks."""
        return self.states_in_backlog(sprint_id) == self.states_in_sprint(sprint_id)

    def nothing_held(self, sprint_id: str) -> bool:
        """Whether the backlog sees no task in a sprint any more."""
        return not self.states_in_backlog(sprint_id)

    def retrospective(self, retrospective_id: str) -> Retrospective | None:
        """A retrospective, once the chronicle has it."""
        request = ListRetrospectivesRequest(project_id=self.project_id, retrospective_id=retrospective_id)
        found = self.dsm.chronicle.ListRetrospectives(request).retrospectives
        return found[0] if found else None

    def sprints_in_history(self, number: int) -> bool:
        """Whether the chronicle knows so many sprints."""
        velocity = self.dsm.chronicle.GetVelocity(GetVelocityRequest(project_id=self.project_id)).velocity
        return len(velocity.velocity_trend_data) == number

    def episode(self, sprint_id: str) -> Episode:
        """What the orchestrator remembers of the decision that a sprint came of."""
        request = ListEpisodesRequest(project_id=self.project_id)
        episodes = self.dsm.orchestrator.ListEpisodes(request).episodes
        return next(episode for episode in episodes if episode.sprint_id == sprint_id)

    def outcome_known(self, sprint_id: str) -> bool:
        """Whether the decision behind a sprint is remembered with what came of it, and can be found by likeness."""
        episode = self.episode(sprint_id)
        return episode.HasField("outcome") and episode.embedding_state == EPISODE_EMBEDDING_STATE_EMBEDDED
