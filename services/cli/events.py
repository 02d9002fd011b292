"""`dsm events tail`: follows what happens, as every JetStream consumer can."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from dsm.events.v1 import event_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from rich.text import Text

from services.cli.data import DataOption, data_folder
from services.cli.errors import CliError
from services.cli.names import DEFAULT_NATS_URL
from services.cli.output import JsonOption, out, plain
from services.local.folder import read_state

if TYPE_CHECKING:
    from services.kit.events.stream import Stream

_CONNECT_SECONDS = 3.0
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST_VALUE = 40
_MOST_DETAILS = 8


@dataclass(frozen=True)
class Wanted:
    """Which events to show: their subjects by stream, from when (None = from now on), how many (None = all)."""

    subjects: dict[str, list[str]]
    since: datetime | None
    follow: bool
    count: int | None


@dataclass(frozen=True)
class Nats:
    """Where NATS is, and the files of TLS and of the user, as far as there are any."""

    url: str
    ca: str = ""
    cert: str = ""
    key: str = ""
    credentials: str = ""

    def stream(self) -> Stream:
        """A connection, not begun yet. Raises TlsError for files that cannot be used."""
        from services.kit.events.stream import Stream
        from services.kit.security.tls import PemFile, PemFiles

        named = (("--nats-ca", self.ca), ("--nats-cert", self.cert), ("--nats-key", self.key))
        files = PemFiles(*(PemFile(*it) for it in named), any_key=True) if any(path for _, path in named) else None
        return Stream("cli", self.url, files=files, credentials=self.credentials)


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Follow events: what every change leaves behind.", no_args_is_help=True)
    group.command()(tail)
    # With one command alone, typer would leave the command's name out.
    group.callback()(lambda: None)
    app.add_typer(group, name="events")


def tail(
    subject: Annotated[
        str,
        typer.Argument(help="Subject with wildcards: 'dsm.sprint.>', or short 'sprint.closed', 'task.*'."),
    ] = "dsm.>",
    since: Annotated[str, typer.Option(help="Begin in the past: 10m, 2h, 1d, or an ISO 8601 time.")] = "",
    follow: Annotated[bool, typer.Option(help="Go on with what happens; --no-follow ends at the present.")] = True,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    nats_url: Annotated[
        str,
        typer.Option(envvar="DSM_NATS_URL", metavar="URL", help="NATS.", show_default="what runs in the data folder"),
    ] = "",
    nats_ca: Annotated[
        str, typer.Option(envvar="DSM_NATS_CA_FILE", metavar="FILE", help="CA (PEM) of NATS: speak TLS.")
    ] = "",
    nats_cert: Annotated[
        str, typer.Option(envvar="DSM_NATS_CERT_FILE", metavar="FILE", help="Certificate (PEM) to show to NATS.")
    ] = "",
    nats_key: Annotated[str, typer.Option(envvar="DSM_NATS_KEY_FILE", metavar="FILE", help="Its key (PEM).")] = "",
    nats_credentials: Annotated[
        str, typer.Option(envvar="DSM_NATS_CREDENTIALS_FILE", metavar="FILE", help="Credentials (.creds) for NATS.")
    ] = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow the events live, one line each; with --json one JSON object per line."""
    from services.kit.telemetry import log

    state = read_state(data_folder(data))
    url = nats_url or (state.urls.get("nats") if state else None) or DEFAULT_NATS_URL
    begin = parse_since(since, datetime.now(UTC)) if since else None
    if begin is None and not follow:
        raise CliError("--no-follow needs --since: say from when.")
    log.configure("ERROR", "console")
    place = Nats(url, nats_ca, nats_cert, nats_key, nats_credentials)
    asyncio.run(_tail(place, Wanted(matching(subject), begin, follow, count), as_json))


def parse_since(text: str, now: datetime) -> datetime:
    """The instant that `10m` (ago) or an ISO 8601 time means; a time without a zone is local."""
    if match := re.fullmatch(r"(\d+)([smhd])", text):
        return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise CliError(f"--since {text!r} is no time: write 10m, 2h, 1d, or 2026-01-05T09:00:00Z.") from None


def matching(pattern: str) -> dict[str, list[str]]:
    """The subjects of the contract that a NATS pattern means, by stream. Without `dsm.` it is noun and verb only."""
    from services.kit.envelope import SUBJECTS, stream_of

    full = pattern if pattern.split(".")[0] in ("dsm", ">", "*") else f"dsm.*.v1.{pattern}"
    found: dict[str, list[str]] = {}
    for subject in sorted(set(SUBJECTS.values())):
        if matches(full, subject):
            found.setdefault(stream_of(subject), []).append(subject)
    if not found:
        raise CliError(f"No event has a subject like {pattern!r}: try 'dsm.sprint.>', 'task.*' or 'sprint.closed'.")
    return found


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject matches a NATS pattern: `*` is one token, `>` at the end one or more."""
    wanted, tokens = pattern.split("."), subject.split(".")
    if wanted[-1] == ">":
        if len(tokens) < len(wanted):
            return False
        wanted = wanted[:-1]
        tokens = tokens[: len(wanted)]
    return len(wanted) == len(tokens) and all(w in ("*", t) for w, t in zip(wanted, tokens, strict=True))


async def _tail(place: Nats, wanted: Wanted, as_json: bool) -> None:
    shown = 0
    async for subject, payload in _messages(place, wanted):
        if as_json:
            sys.stdout.write(json.dumps(plain(decode(payload)), ensure_ascii=False) + "\n")
            sys.stdout.flush()
        else:
            out.print(line(subject, decode(payload)), soft_wrap=True)
        shown += 1
        if shown == wanted.count:
            return


async def _messages(place: Nats, wanted: Wanted) -> AsyncIterator[tuple[str, bytes]]:
    """Subject and payload of each message, in the order of each stream."""
    from nats.aio.msg import Msg
    from nats.js.api import ConsumerConfig, DeliverPolicy

    arrived: asyncio.Queue[Msg] = asyncio.Queue()
    stream = place.stream()
    stream.start()
    try:
        try:
            await asyncio.wait_for(stream.wait_connected(), _CONNECT_SECONDS)
        except TimeoutError:
            raise CliError(
                f"NATS does not answer at {place.url}: start `dsm up`, or name it with --nats-url, and with "
                "--nats-ca and --nats-credentials what it asks for."
            ) from None
        backlog = 0
        for name, subjects in wanted.subjects.items():
            # Its publisher may not have made it yet, and what comes first is not to be missed.
            await stream.ensure(name)
            policy = DeliverPolicy.BY_START_TIME if wanted.since else DeliverPolicy.NEW
            config = ConsumerConfig(deliver_policy=policy, opt_start_time=wanted.since, filter_subjects=subjects)
            subscription = await stream.context.subscribe(
                "", stream=name, config=config, ordered_consumer=True, cb=arrived.put
            )
            info = await subscription.consumer_info()
            backlog += (info.num_pending or 0) + (info.delivered.consumer_seq if info.delivered else 0)
        while wanted.follow or backlog:
            message = await arrived.get()
            yield message.subject, message.data
            backlog -= 1
    finally:
        await stream.close()


def decode(payload: bytes) -> event_pb2.Event:
    """The event in a message; an empty one if it is none, for whoever published that must not end the tail."""
    try:
        return event_pb2.Event.FromString(payload)
    except DecodeError:
        return event_pb2.Event()


def line(subject: str, event: event_pb2.Event) -> Text:
    """An event in one line: local time, noun and verb, what it is about, the most telling fields, and by whom."""
    happened = event.event_time.ToDatetime(UTC).astimezone().strftime("%H:%M:%S")
    kind = ".".join(subject.split(".")[-2:])
    text = Text.assemble(
        (f"{happened}  ", "dim"), (f"{kind:<22}", "cyan"), (f" {event.aggregate_id} v{event.aggregate_version}", "bold")
    )
    payload = event.WhichOneof("payload")
    for name, value in list(_details(getattr(event, payload), event) if payload else ())[:_MOST_DETAILS]:
        text.append(f"  {name}=", "dim").append(value)
    return text.append(f"  by {event.actor}", "dim")


def _details(message: Message, event: event_pb2.Event) -> Iterator[tuple[str, str]]:
    """The set fields of a payload and of the resource inside of it that the line does not show already."""
    for field, value in message.ListFields():
        if field.is_repeated:
            yield field.name, _listed(field, value)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            if isinstance(value, Message) and value.DESCRIPTOR.full_name.startswith("dsm."):
                yield from _details(value, event)
        elif value not in (event.aggregate_id, event.project_id) and field.name not in ("etag", "version"):
            yield field.name, _shown(field, value)


def _listed(field: FieldDescriptor, values: object) -> str:
    items = list(values)  # type: ignore[call-overload]  # protobuf's own containers
    simple = field.type != FieldDescriptor.TYPE_MESSAGE
    return _cut(",".join(_shown(field, item) for item in items)) if simple else str(len(items))


def _shown(field: FieldDescriptor, value: object) -> str:
    if field.enum_type:
        name = field.enum_type.values_by_number[value].name if value in field.enum_type.values_by_number else str(value)  # type: ignore[index]
        return name.rsplit(f"{_screaming(field.enum_type.name)}_", 1)[-1]
    return _cut(" ".join(str(value).split()))


def _screaming(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).upper()


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
