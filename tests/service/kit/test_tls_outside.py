"""TLS everywhere: six services call each other with certificates, on a PostgreSQL and a NATS that speak TLS too."""

import asyncio
import base64
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import nkeys  # type: ignore[import-untyped]
import pytest
import pytest_asyncio
from dsm.chronicle.v1 import chronicle_service_pb2, chronicle_service_pb2_grpc
from dsm.common.v1 import status_service_pb2
from dsm.common.v1.status_service_pb2_grpc import StatusServiceStub
from dsm.sprint.v1 import sprint_pb2

from services.cli.main import app
from services.kit.data.database import Database
from services.kit.errors import DatabaseUnavailable
from services.kit.events.stream import Stream
from services.kit.security.tls import PemFiles, TlsError, nats_files
from services.kit.settings import StatefulSettings
from services.local.nats import NatsServer
from services.local.postgres import SUPERUSER, Postgres
from services.local.stack import Stack
from tests.certificates import Authority, Pair
from tests.harness import SERVICES, World, eventually
from tests.service.cli.commands import invoke
from tests.service.kit.tls_front import TlsFront
from tests.service.sprint.sprints import make

_UNLIMITED = dict.fromkeys(
    ("subs", "data", "payload", "imports", "exports", "conn", "leaf", "mem_storage", "disk_storage", "streams"), -1
)


class Operator:
    """Who says, in NATS' way, which accounts and users there are."""

    def __init__(self) -> None:
        self._key = _key_pair(nkeys.PREFIX_BYTE_OPERATOR)
        self._system, self._account = (_key_pair(nkeys.PREFIX_BYTE_ACCOUNT) for _ in range(2))

    def settings(self) -> dict[str, object]:
        """What a server has to know."""
        limits: dict[str, object] = {"limits": _UNLIMITED | {"wildcards": True, "consumer": -1}}
        accounts: tuple[tuple[Any, dict[str, object]], ...] = ((self._system, {}), (self._account, limits))
        return {
            "operator": _signed(self._key, self._key, "operator"),
            "system_account": _public(self._system),
            "resolver": "MEMORY",
            "resolver_preload": {_public(it): _signed(self._key, it, "account", **claims) for it, claims in accounts},
        }

    def credentials(self, file: Path) -> str:
        """The file of a new user."""
        seed = _seed(nkeys.PREFIX_BYTE_USER)
        user = nkeys.from_seed(bytearray(seed))
        jwt = _signed(self._account, user, "user", pub={}, sub={}, subs=-1, data=-1, payload=-1)
        parts = (("NATS USER JWT", jwt), ("USER NKEY SEED", seed.decode()))
        file.write_text("\n".join(f"-----BEGIN {what}-----\n{it}\n------END {what}------\n" for what, it in parts))
        return str(file)


def _seed(kind: int) -> bytes:
    return bytes(nkeys.encode_seed(os.urandom(32), kind))


def _key_pair(kind: int) -> Any:
    return nkeys.from_seed(bytearray(_seed(kind)))


def _public(pair: Any) -> str:
    return bytes(pair.public_key).decode()


def _signed(issuer: Any, subject: Any, kind: str, **claims: object) -> str:
    """A JWT of NATS."""
    body: dict[str, object] = {"iat": int(time.time()), "iss": _public(issuer), "sub": _public(subject), "name": kind}
    body |= {"nats": claims | {"type": kind, "version": 2}}
    body["jti"] = base64.b32encode(hashlib.sha256(json.dumps(body).encode()).digest()).decode().rstrip("=")
    text = ".".join(_encoded(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, body))
    return f"{text}.{_encoded(issuer.sign(text.encode()))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class SecurePostgres(Postgres):
    """Reached over TLS only, by clients that insist on it and on the name in the certificate."""

    front: TlsFront | None = None
    ca: Path

    def url(self, database: str = "postgres", host: str = "127.0.0.1", ca: Path | None = None) -> str:
        """As a user of DSM_…_DATABASE_URL writes it."""
        if not self.front:
            return super().url(database)
        query = f"sslmode=verify-full&sslrootcert={ca or self.ca}"
        return f"postgresql://{SUPERUSER}@{host}:{self.front.port}/{database}?{query}"


class Outside:
    """Certificates, credentials and servers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = Authority(folder)
        self.stranger = Authority(folder, "stranger")
        self.pair = self.ca.sign()
        self.operator = Operator()
        self.creds = self.operator.credentials(folder / "dsm.creds")
        self.postgres = SecurePostgres.start(folder / "postgres", 0, durable=False)
        self.postgres.ca = self.ca.file
        self.postgres.front = TlsFront(self.ca.sign("127.0.0.1"), self.postgres.port)
        self.nats = NatsServer.start(
            folder / "nats",
            0,
            monitor_port=0,
            durable=False,
            settings=_nats_tls(self.pair, self.ca) | self.operator.settings(),
        )

    def stop(self) -> None:
        """Stop the servers."""
        self.nats.stop()
        if self.postgres.front:
            self.postgres.front.stop()
        self.postgres.stop()

    @property
    def nats_url(self) -> str:
        """As a user writes it."""
        return self.nats.url.replace("nats://", "tls://")

    def settings(self) -> dict[str, str]:
        """Of every process."""
        ca, cert, key = map(str, (self.ca.file, self.pair.cert, self.pair.key))
        named = {"DSM_TLS_CERT_FILE": cert, "DSM_TLS_KEY_FILE": key, "DSM_TLS_CLIENT_CA_FILE": ca}
        for use in ("CLIENT", "NATS"):
            named |= {f"DSM_{use}_CA_FILE": ca, f"DSM_{use}_CERT_FILE": cert, f"DSM_{use}_KEY_FILE": key}
        return named | {"DSM_NATS_URL": self.nats_url, "DSM_NATS_CREDENTIALS_FILE": self.creds}


class SecureWorld(World):
    """A world whose services take calls from those who have a certificate."""

    def __init__(self, outside: Outside) -> None:
        super().__init__(Stack(outside.folder, outside.postgres, outside.nats), **outside.settings())
        self._outside = outside

    async def channel(self, name: str) -> grpc.aio.Channel:
        """A channel with a certificate."""
        await self.start(name)
        if name not in self._channels:
            pems = (self._outside.ca.file, self._outside.pair.key, self._outside.pair.cert)
            credentials = grpc.ssl_channel_credentials(*(pem.read_bytes() for pem in pems))
            self._channels[name] = grpc.aio.secure_channel(self.address(name), credentials)
        return self._channels[name]

    def renewed(self) -> bool:
        """Whether the services call each other with the newest certificate."""
        newest = self._outside.pair.cert.read_bytes()
        services = (service for server in self._servers.values() for service in server._services)
        return all(files.material.chain == newest for service in services for files in service.files)


def _nats_tls(pair: Pair, ca: Authority) -> dict[str, object]:
    return {"tls": {"cert_file": str(pair.cert), "key_file": str(pair.key), "ca_file": str(ca.file), "verify": True}}


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    made = Outside(tmp_path_factory.mktemp("outside"))
    yield made
    made.stop()


@pytest_asyncio.fixture(scope="module")
async def world(outside: Outside) -> AsyncIterator[SecureWorld]:
    made = SecureWorld(outside)
    yield made
    await made.close()


async def test_a_sprint_is_planned_with_tls_on_every_line(world: SecureWorld) -> None:
    await world.start(*SERVICES)
    scene = await make(world)
    sprint = await scene.started()
    assert sprint.state == sprint_pb2.SPRINT_STATE_IN_PROGRESS
    # By the stream, from the sprint service to the chronicle and to the backlog.
    chronicles = chronicle_service_pb2_grpc.ChronicleServiceStub(await world.channel("chronicle"))
    wanted = chronicle_service_pb2.ListSprintPlanningsRequest(project_id=scene.project_id)

    async def noted() -> bool:
        return bool((await chronicles.ListSprintPlannings(wanted)).planning_notes)

    await eventually(noted)
    for name in SERVICES:
        async with grpc.aio.insecure_channel(world.address(name)) as channel:
            status = StatusServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError):
                await status.GetStatus(status_service_pb2.GetStatusRequest(), timeout=3)


async def test_certificates_are_renewed_while_sprints_are_planned(outside: Outside, world: SecureWorld) -> None:
    scenes = [await make(world) for _ in range(9)]
    for together in (scenes[:3], scenes[3:6], scenes[6:]):
        planning = [asyncio.create_task(scene.started()) for scene in together]
        outside.pair.replace(outside.ca.sign())
        assert all(sprint.state == sprint_pb2.SPRINT_STATE_IN_PROGRESS for sprint in await asyncio.gather(*planning))
        await eventually(world.renewed)


async def test_events_are_followed_over_tls(outside: Outside, world: SecureWorld) -> None:
    await make(world)
    words = ["events", "tail", "task.created", "--since", "1h", "--no-follow", "--json", "--nats-url", outside.nats_url]
    shown = {"ca": outside.ca.file, "cert": outside.pair.cert, "key": outside.pair.key, "credentials": outside.creds}
    words += [word for name, file in shown.items() for word in (f"--nats-{name}", str(file))]

    async def told() -> bool:
        result = await invoke(app, *words)
        assert result.exception is None
        return "task_created" in result.stdout or "taskCreated" in result.stdout

    await eventually(told)


async def test_a_database_whose_certificate_does_not_hold_is_not_used(outside: Outside) -> None:
    outside.postgres.ensure_database("tls_test")
    good = outside.postgres.url("tls_test")
    wrong_name = outside.postgres.url("tls_test", host="localhost")
    wrong_ca = outside.postgres.url("tls_test", ca=outside.stranger.file)
    no_tls = good.replace("verify-full", "disable")
    found = await asyncio.gather(*map(_answers, (good, wrong_name, wrong_ca, no_tls)))
    assert found == [True, False, False, False]


async def test_nats_takes_certificates_and_credentials(outside: Outside) -> None:
    ca, pair, creds = outside.ca, outside.pair, outside.creds
    nobody = Operator().credentials(outside.folder / "nobody.creds")
    found = await asyncio.gather(
        _connects(outside, ca, pair, creds),
        _connects(outside, ca, pair, ""),
        _connects(outside, ca, pair, nobody),
        _connects(outside, ca, None, creds),
        _connects(outside, ca, outside.stranger.sign(), creds),
        _connects(outside, outside.stranger, pair, creds),
    )
    assert list(found) == [True, False, False, False, False, False]


async def test_a_lost_connection_to_nats_is_made_again_with_the_newest_files(outside: Outside) -> None:
    trusted, pair = outside.folder / "trusted.crt", outside.stranger.sign()
    trusted.write_bytes(outside.stranger.file.read_bytes())
    stream = _stream(outside.nats_url, _files(trusted, pair), outside.creds)
    stream.start()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stream.wait_connected(), 1)
    trusted.write_bytes(outside.ca.file.read_bytes())
    pair.replace(outside.ca.sign())
    await asyncio.wait_for(stream.wait_connected(), 10)
    # Broken files do no harm to who has connected before.
    pair.key.write_text("half a k")
    await asyncio.to_thread(outside.nats.restart)
    await eventually(lambda: stream.connected)
    await stream.close()


@pytest.mark.parametrize("asked", ["by the URL", "by a CA"])
async def test_nothing_is_sent_in_the_clear_when_tls_is_asked_for(outside: Outside, asked: str) -> None:
    """A server, or somebody between, who says that no TLS is needed gets the beginning of a handshake and no more."""
    heard: list[bytes] = []

    async def pretend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.12.0","max_payload":1048576,"headers":true}\r\n')
        heard.append(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(pretend, "127.0.0.1", 0)
    place = f"somebody:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}"
    url, files = (
        (f"tls://{place}", None) if asked == "by the URL" else (f"nats://{place}", _files(outside.ca.file, None))
    )
    stream = _stream(url, files, outside.creds)
    stream.start()
    await eventually(lambda: len(heard) > 1)
    assert not stream.connected
    await stream.close()
    server.close()
    handshake = b"\x16\x03"
    assert all(data.startswith(handshake) for data in heard if data)
    assert not any(b"CONNECT" in data or b"secret" in data for data in heard)


def test_credentials_that_cannot_be_read_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(TlsError) as failed:
        _stream("tls://127.0.0.1:1", None, str(tmp_path / "gone.creds"))
    assert "DSM_NATS_CREDENTIALS_FILE" in str(failed.value)


def _files(ca: Path, pair: Pair | None) -> PemFiles | None:
    cert, key = (str(pair.cert), str(pair.key)) if pair else ("", "")
    named = {"nats_ca_file": str(ca), "nats_cert_file": cert, "nats_key_file": key}
    return nats_files(StatefulSettings.model_validate({"database_url": "", "nats_url": ""} | named))


def _stream(url: str, files: PemFiles | None, credentials: str) -> Stream:
    return Stream("tls-test", url, files=files, credentials=credentials)


async def _connects(outside: Outside, ca: Authority, pair: Pair | None, credentials: str) -> bool:
    stream = _stream(outside.nats_url, _files(ca.file, pair), credentials)
    stream.start()
    try:
        await asyncio.wait_for(stream.wait_connected(), 2)
        await stream.ensure("DSM_TLS")
    except TimeoutError:
        return False
    finally:
        await stream.close()
    return True


async def _answers(url: str) -> bool:
    """Whether a service whose database is there would be ready."""
    database = Database("project", url, pool_size=1, pool_timeout=2)
    await database.open()
    try:
        return bool(await database.read.value("SELECT true"))
    except DatabaseUnavailable:
        return False
    finally:
        await database.close()
