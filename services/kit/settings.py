"""Settings: one frozen model per service, read once from the environment.

A setting `pool_size` of the backlog service is looked up as DSM_BACKLOG_POOL_SIZE, then as DSM_POOL_SIZE. What is
missing, malformed or unknown stops the start with one sentence.
"""

from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

PREFIX = "DSM_"
# Read by others than the services: the command line's own wishes.
_FOREIGN = {
    "DSM_TLS_CA",
    "DSM_TLS_CERT",
    "DSM_TLS_KEY",
    "DSM_TOKEN",
    "DSM_TOKEN_FILE",
    "DSM_TARGET",
    "DSM_DATA_DIR",
    "DSM_POSTGRES_URL",
    "DSM_DEBUG",
}


class SettingsError(Exception):
    """The environment does not make up valid settings; the message is one sentence that says what to change."""


class Settings(BaseModel):
    """Base of all settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ProcessSettings(Settings):
    """What holds for a whole process, however many services it runs."""

    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    port: int = Field(default=7600, ge=0, le=65535, description="Port of gRPC; 0 = any free one.")
    metrics_port: int = Field(
        default=0, ge=-1, le=65535, description="Port of Prometheus metrics; 0 = any free one, -1 = none."
    )
    log_level: str = Field(
        default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Least level that is logged."
    )
    log_format: str = Field(
        default="json", pattern="^(json|console)$", description="json for machines, console for people."
    )
    grace_seconds: float = Field(
        default=10, ge=0, le=300, description="How long calls may go on once the process is to stop."
    )
    max_concurrent_calls: int = Field(default=256, ge=1, description="Calls in flight before the server sheds load.")
    max_open_streams: int = Field(
        default=1000, ge=1, description="Answers that stream (watches, exports) open at once before more are refused."
    )
    max_connection_calls: int = Field(
        default=1000, ge=1, description="Calls at once on one connection; the client holds further ones back."
    )
    max_connection_age_seconds: float = Field(
        default=0,
        ge=0,
        description="How long a client keeps a connection before it connects anew, and so finds replicas that were "
        "added; calls in flight go on; 0 = for ever.",
    )
    max_message_bytes: int = Field(default=4 * 1024 * 1024, ge=65536, description="Largest message taken or sent.")
    otlp_endpoint: str = Field(
        default="",
        pattern="^(https?://.+)?$",
        description="Collector that traces are sent to by OTLP over gRPC, as http://collector:4317; empty = no traces.",
    )
    trace_sample_ratio: float = Field(
        default=1, ge=0, le=1, description="Share of the traces that begin here to record; others say it themselves."
    )
    tls_cert_file: str = Field(
        default="", description="Certificate (PEM, with intermediates) to serve gRPC with over TLS; empty = plaintext."
    )
    tls_key_file: str = Field(default="", description="Its private key (PEM, RSA or EC on P-256 or P-384).")
    tls_client_ca_file: str = Field(
        default="", description="CA (PEM) of which clients must show a certificate (mTLS); empty = anybody may connect."
    )
    jwt_secret: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="Secret, at least 32 bytes, that callers' HS256 tokens are verified with; this, jwt_secret_file or "
        "jwt_jwks turns identity on. Better kept in a file.",
    )
    jwt_secret_file: str = Field(
        default="", description="File that holds the secret instead; read again when it changes."
    )
    jwt_jwks: str = Field(
        default="",
        description="Public keys (JWKS) that callers' RS256 and ES256 tokens are verified with: https address or file.",
    )
    jwt_issuer: str = Field(default="", description="Issuer (iss) that tokens must name; empty = any.")
    jwt_audience: str = Field(default="dsm", min_length=1, description="Audience (aud) that tokens must be meant for.")
    rate_limit_per_second: float = Field(
        default=0, ge=0, description="Calls a second that each caller may make in the long run; 0 = any number."
    )
    rate_limit_burst: int = Field(
        default=0, ge=0, description="Calls that a caller may make at once before that counts; 0 = a second's worth."
    )
    reflection: bool = Field(
        default=True, description="Answer gRPC reflection; with identity on, to callers with a token."
    )
    failpoints: str = Field(default="", description="Places where to fail, for tests only; see kit/failpoint.py.")


class ServiceSettings(Settings):
    """What every service needs; services add their own fields."""

    default_deadline_seconds: float = Field(default=30, gt=0, description="Deadline of a call whose caller gave none.")
    call_timeout_seconds: float = Field(
        default=5, gt=0, description="Longest wait for another service, within the deadline."
    )
    breaker_failures: int = Field(default=5, ge=1, description="Failures in a row that open a breaker.")
    breaker_reset_seconds: float = Field(
        default=2, gt=0, description="How long a breaker stays open before it is probed."
    )
    breaker_successes: int = Field(default=1, ge=1, description="Successes in a row that close a breaker again.")
    client_ca_file: str = Field(
        default="",
        description="CA (PEM) of the other services' certificates: they are called over TLS; empty = plaintext.",
    )
    client_cert_file: str = Field(default="", description="Certificate (PEM) to show to the other services (mTLS).")
    client_key_file: str = Field(default="", description="Its private key (PEM, RSA or EC on P-256 or P-384).")
    service_token_file: str = Field(
        default="",
        description="Token with the role service to send to the other services; read again when it changes; empty = "
        "one made with jwt_secret.",
    )


class StatefulSettings(ServiceSettings):
    """What a service with a database and events needs besides."""

    database_url: str = Field(description="PostgreSQL, for example postgresql://user:password@host:5432/dsm_backlog.")
    nats_url: str = Field(description="NATS, for example nats://host:4222; tls://host:4222 never speaks without TLS.")
    nats_ca_file: str = Field(
        default="", description="CA (PEM) of the NATS server's certificate, else the system's; given = as with tls://."
    )
    nats_cert_file: str = Field(default="", description="Certificate (PEM) to show to NATS.")
    nats_key_file: str = Field(default="", description="Its private key (PEM).")
    nats_credentials_file: str = Field(default="", description="Credentials file (.creds) of the NATS user.")
    pool_size: int = Field(default=8, ge=1, le=200, description="Most connections to the database.")
    pool_timeout_seconds: float = Field(default=3, gt=0, description="Longest wait for a connection.")
    retention_hours: float = Field(default=7 * 24, gt=0, description="How long published events stay replayable.")
    saga_lease_seconds: float = Field(default=5, gt=0, description="How long a silent process keeps its sagas.")
    consumer_batch: int = Field(default=200, ge=1, le=1000, description="Most events applied in one transaction.")
    max_deliveries: int = Field(default=5, ge=1, description="Tries before an event becomes a dead letter.")
    duplicate_window_seconds: float = Field(
        default=120,
        ge=0.1,
        description="How long a stream drops what is published twice; set when it is made. Consumers never rely on it.",
    )


S = TypeVar("S", bound=Settings)


def load(kind: type[S], environ: Mapping[str, str], service: str = "", **given: object) -> S:
    """Read the settings of a service, or of the process if no service is named; `given` wins over the environment."""
    values: dict[str, object] = {}
    names: dict[str, str] = {}
    for field in kind.model_fields:
        for prefix in (f"{PREFIX}{service.upper()}_", PREFIX) if service else (PREFIX,):
            if (name := prefix + field.upper()) in environ:
                values[field], names[field] = environ[name], name
                break
    try:
        return kind(**(values | given))
    except ValidationError as error:
        raise SettingsError(_sentence(error, service, names)) from None


def refuse_unknown(environ: Mapping[str, str], kinds: Mapping[str, type[Settings]]) -> None:
    """Raise if a DSM_ variable belongs to no setting; `kinds` maps a service ("" = the process) to its model."""
    known = set(_FOREIGN)
    for service, kind in kinds.items():
        for field in kind.model_fields:
            known |= {PREFIX + field.upper()} | ({f"{PREFIX}{service.upper()}_{field.upper()}"} if service else set())
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            raise SettingsError(f"{name} is not a setting of DSM: remove it, or correct its name.")


def _sentence(error: ValidationError, service: str, names: Mapping[str, str]) -> str:
    """`names` tells which variable a field was read from: the one to correct."""
    first = error.errors()[0]
    field = str(first["loc"][0]) if first["loc"] else "settings"
    name = names.get(field) or PREFIX + (f"{service.upper()}_" if service else "") + field.upper()
    if first["type"] == "missing":
        return f"{name} is not set: {service or 'the process'} cannot start without it."
    return f"{name} is not valid: {first['msg'].lower()}."
