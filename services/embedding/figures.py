"""What a process counts of its embeddings, for GetMetrics and for Prometheus."""

from collections import deque
from dataclasses import dataclass, field

from prometheus_client import Counter, Histogram

LATENCIES_KEPT = 1000

TEXTS = Counter("dsm_embedding_texts", "Texts embedded.", ["backend", "model"])
ERRORS = Counter("dsm_embedding_backend_errors", "Calls that failed by the backend.", ["backend", "model"])
SECONDS = Histogram(
    "dsm_embedding_seconds",
    "Time to embed the texts of a call.",
    ["backend", "model"],
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


@dataclass
class Figures:
    """Counts since the start of the process; times in milliseconds."""

    backend: str
    model: str
    requests: int = 0
    texts: int = 0
    errors: int = 0
    total_ms: float = 0.0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT))

    def __post_init__(self) -> None:
        """Let counters begin at 0, so that the first count is seen as an increase."""
        TEXTS.labels(self.backend, self.model)
        ERRORS.labels(self.backend, self.model)

    def embedded(self, texts: int, elapsed_ms: float) -> None:
        """Count a call that was answered."""
        self.texts += texts
        self._took(elapsed_ms)
        TEXTS.labels(self.backend, self.model).inc(texts)

    def failed(self, elapsed_ms: float) -> None:
        """Count a call that the backend failed."""
        self.errors += 1
        self._took(elapsed_ms)
        ERRORS.labels(self.backend, self.model).inc()

    @property
    def average_ms(self) -> float | None:
        """Mean time of a call; None before the first."""
        return self.total_ms / self.requests if self.requests else None

    def _took(self, elapsed_ms: float) -> None:
        self.requests += 1
        self.total_ms += elapsed_ms
        self.latencies_ms.append(elapsed_ms)
        SECONDS.labels(self.backend, self.model).observe(elapsed_ms / 1000)
