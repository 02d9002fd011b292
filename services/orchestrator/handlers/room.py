"""What every handler of the service has at hand."""

from datetime import datetime

from services.kit.clock import Clock
from services.kit.data.database import Database
from services.orchestrator.advisor import Advisor
from services.orchestrator.domain.schedule import Keeping
from services.orchestrator.forecasting import Forecaster
from services.orchestrator.learning import Learner
from services.orchestrator.memory import Memory
from services.orchestrator.observe import Observer
from services.orchestrator.pipeline import Pipeline


class Room:
    """Database, the look at other services, memory, decisions, learning, forecasts, clock, what runs scrums."""

    def __init__(
        self,
        database: Database,
        observer: Observer,
        memory: Memory,
        pipeline: Pipeline,
        learner: Learner,
        forecaster: Forecaster,
        advisor: Advisor | None,
        clock: Clock,
        keeping: Keeping,
    ) -> None:
        self.db = database
        self.observer = observer
        self.memory = memory
        self.pipeline = pipeline
        self.learner = learner
        self.forecaster = forecaster
        self.advisor = advisor
        self.clock = clock
        self.keeping = keeping

    def now(self) -> datetime:
        """The present instant."""
        return self.clock()
