"""Prometheus metrics of the kit; every name begins with dsm_."""

from prometheus_client import Counter, Gauge, Histogram, Info

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

CALLS = Counter("dsm_calls", "Calls answered.", ["method", "code"])
CALL_SECONDS = Histogram("dsm_call_seconds", "Time to answer a call.", ["method"], buckets=_LATENCY)
CALLS_IN_FLIGHT = Gauge("dsm_calls_in_flight", "Calls being answered.")
STREAMS_OPEN = Gauge("dsm_streams_open", "Streams of answers, such as watches, being sent.")
CALLEE_CALLS = Counter("dsm_callee_calls", "Calls to other services.", ["service", "callee", "code"])
CALLEE_SECONDS = Histogram(
    "dsm_callee_seconds",
    "Time of calls to other services, repetitions included.",
    ["service", "callee"],
    buckets=_LATENCY,
)
BREAKER_OPEN = Gauge(
    "dsm_breaker_open", "1 while a breaker is open, 0.5 when the next call is a probe.", ["service", "callee"]
)
EVENTS_PUBLISHED = Counter("dsm_events_published", "Events acknowledged by the stream.", ["service"])
OUTBOX_DEPTH = Gauge("dsm_outbox_depth", "Events committed and not published.", ["service"])
OUTBOX_LAG = Gauge("dsm_outbox_lag_seconds", "Age of the oldest unpublished event.", ["service"])
EVENTS_APPLIED = Counter("dsm_events_applied", "Events applied for the first time.", ["service", "consumer"])
EVENTS_REPEATED = Counter("dsm_events_repeated", "Events that had been applied before.", ["service", "consumer"])
APPLY_SECONDS = Histogram(
    "dsm_apply_seconds", "Time to apply a batch of events.", ["service", "consumer"], buckets=_LATENCY
)
DEAD_LETTERS = Counter("dsm_dead_letters", "Events given up.", ["service", "consumer"])
DEAD_LETTERS_WAITING = Gauge("dsm_dead_letters_waiting", "Dead letters not replayed yet.", ["service", "consumer"])
CONSUMER_PENDING = Gauge("dsm_consumer_pending", "Events not delivered yet.", ["service", "consumer"])
CONSUMER_UNACKNOWLEDGED = Gauge(
    "dsm_consumer_unacknowledged", "Events delivered and not applied yet.", ["service", "consumer"]
)
CONSUMER_LAG = Gauge(
    "dsm_consumer_lag_seconds", "How long ago the oldest event not applied yet was published.", ["service", "consumer"]
)
STREAM_CONNECTED = Gauge("dsm_stream_connected", "1 while NATS can be talked to.", ["service"])
SAGAS = Counter("dsm_sagas", "Sagas ended.", ["service", "kind", "outcome"])
SAGAS_RUNNING = Gauge("dsm_sagas_running", "Sagas that have not ended, in all processes.", ["service", "kind"])
SAGA_OLDEST = Gauge("dsm_saga_oldest_seconds", "Age of the oldest saga that has not ended.", ["service", "kind"])
SPANS = Counter("dsm_spans", "Spans of traces, sent to the collector or lost.", ["outcome"])
POOL_SIZE = Gauge("dsm_pool_size", "Most connections to the database.", ["service"])
POOL_IN_USE = Gauge("dsm_pool_in_use", "Database connections in use.", ["service"])
POOL_WAITING = Gauge("dsm_pool_waiting", "Calls waiting for a database connection.", ["service"])
BUILD = Info("dsm_build", "What runs in this process.")
READY = Gauge("dsm_ready", "1 while the service takes calls.", ["service"])
MIGRATIONS_BEHIND = Gauge(
    "dsm_migrations_behind", "Migrations that this code needs and the database has not had.", ["service"]
)
TLS_EXPIRY = Gauge(
    "dsm_tls_certificate_expiry_seconds", "Unix time until which the certificates of a file are valid.", ["file"]
)
TLS_RELOAD_FAILURES = Counter(
    "dsm_tls_reload_failures", "Changed TLS files that could not be used; the last ones stay."
)
