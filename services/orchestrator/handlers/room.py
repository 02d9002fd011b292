"""What every handler of the service has at hand."""

from datetime import datetime

from services.kit.clock import Clock
from services.kit.database import Database
from services.orchestrator.domain.schedule import Keeping
from services.orchestrator.learning import Learner
from services.orchestrator.memory import Memory
from services.orchestrator.observe import Observer
from services.orchestrator.pipeline import Pipeline


class Room:
    """Database, the look at other services, memory, decisions, learning, clock, and what runs daily scrums."""

    def __init__(
        self,
        database: Database,
        observer: Observer,
        memory: Memory,
        pipeline: Pipeline,
        learner: Learner,
        clock: Clock,
        keeping: Keeping,
    ) -> None:
        self.db = database
        self.observer = observer
        self.memory = memory
        self.pipeline = pipeline
        self.learner = learner
        self.clock = clock
        self.keeping = keeping

    def now(self) -> datetime:
        """The present instant."""
        return self.clock()
