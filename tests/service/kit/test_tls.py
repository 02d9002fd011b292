"""TLS of gRPC: who may connect, and files that change under running calls."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from dsm.project.v1 import project_service_pb2 as pb
from dsm.project.v1 import project_service_pb2_grpc
from prometheus_client import REGISTRY

from services.kit.calling.callee import Callee
from services.kit.errors import DependencyUnavailable
from services.kit.security.tls import PemFiles, TlsError, client_files, server_files
from services.kit.server import Server
from services.kit.service import Service
from services.kit.settings import ProcessSettings, ServiceSettings
from tests.certificates import Authority, Pair
from tests.harness import eventually


class Handlers(project_service_pb2_grpc.ProjectServiceServicer):
    """Answers at once, or when it is let."""

    def __init__(self) -> None:
        self.waiting = 0
        self.peer = ""
        self.let = asyncio.Event()

    async def GetProject(self, request: pb.GetProjectRequest, context: Any) -> pb.GetProjectResponse:
        self.peer = b"".join(context.auth_context().get("x509_common_name", [])).decode()
        if request.project_id == "SLOW":
            self.waiting += 1
            await self.let.wait()
        response = pb.GetProjectResponse()
        response.project.project_id = request.project_id
        return response


class Secured:
    """A service over TLS, and the files around it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = Authority(folder)
        self.pair = self.ca.sign()
        self.client = self.ca.sign("nobody.example")
        self.other = Authority(folder, "other")
        self.handlers = Handlers()  # type: ignore[abstract]
        self.server: Server
        self._callees: list[Callee] = []

    async def serve(self, **settings: Any) -> None:
        """Start it; `settings` beside the server's certificate."""
        service = Service("project", ServiceSettings())
        descriptor = pb.DESCRIPTOR.services_by_name["ProjectService"]
        add = project_service_pb2_grpc.add_ProjectServiceServicer_to_server
        service.serve(descriptor, add, self.handlers)
        given = {"tls_cert_file": str(self.pair.cert), "tls_key_file": str(self.pair.key)} | settings
        self.server = Server([service], ProcessSettings(port=0, metrics_port=-1, grace_seconds=1, **given))
        self.server.bind()
        await self.server.start()

    def callee(self, host: str = "127.0.0.1", *, ca: Authority | None = None, pair: Pair | None = None) -> Callee:
        """Somebody who calls it over TLS, with a certificate or without."""
        return self.callee_with(files_of(ca or self.ca, pair), host)

    def callee_with(self, files: PemFiles | None, host: str = "127.0.0.1") -> Callee:
        """Somebody who calls it with these files, or in plaintext."""
        settings = ServiceSettings(call_timeout_seconds=5, breaker_failures=1000)
        callee = Callee("test", "project", f"{host}:{self.server.port}", settings, files)
        self._callees.append(callee)
        return callee

    async def close(self) -> None:
        """Stop everything."""
        self.handlers.let.set()
        await asyncio.gather(*(callee.close() for callee in self._callees))
        if hasattr(self, "server"):
            await self.server.stop()

    async def served(self) -> int:
        """The serial number of the certificate that a new connection meets."""
        here = ("127.0.0.1", self.server.port)
        pem = await asyncio.to_thread(ssl.get_server_certificate, here, timeout=5)
        return x509.load_pem_x509_certificate(pem.encode()).serial_number


def files_of(ca: Authority, pair: Pair | None = None) -> PemFiles:
    """A client's files."""
    cert, key = (str(pair.cert), str(pair.key)) if pair else ("", "")
    files = client_files(ServiceSettings(client_ca_file=str(ca.file), client_cert_file=cert, client_key_file=key))
    assert files
    return files


def serial(pair: Pair) -> int:
    """The serial number of a certificate."""
    return x509.load_pem_x509_certificate(pair.cert.read_bytes()).serial_number


def name(pair: Pair) -> str:
    """The common name of a certificate."""
    subject = x509.load_pem_x509_certificate(pair.cert.read_bytes()).subject
    return subject.rfc4514_string().removeprefix("CN=")


async def ask(callee: Callee, project_id: str = "P") -> str:
    """A call."""
    stub = project_service_pb2_grpc.ProjectServiceStub(callee.channel)
    request = pb.GetProjectRequest(project_id=project_id)
    return (await callee.call(stub.GetProject, request, pb.GetProjectResponse)).project.project_id


async def is_refused(callee: Callee) -> bool:
    """Whether no call of it is answered, its health checks included."""
    with pytest.raises(DependencyUnavailable):
        await ask(callee)
    return await callee.check() is None


@pytest_asyncio.fixture
async def secured(tmp_path: Path) -> AsyncIterator[Secured]:
    made = Secured(tmp_path)
    yield made
    await made.close()


async def test_only_who_trusts_the_certificate_is_answered(secured: Secured) -> None:
    await secured.serve()
    callee = secured.callee()
    assert await ask(callee) == "P"
    assert await callee.check() is not None
    assert await ask(secured.callee("localhost")) == "P"
    assert await is_refused(secured.callee_with(None))
    assert await is_refused(secured.callee(ca=secured.other))


@pytest.mark.parametrize("signed", [{"days": -1}, {"hosts": ["elsewhere.example"]}], ids=["expired", "wrong name"])
async def test_a_certificate_that_does_not_hold_is_not_called(secured: Secured, signed: dict[str, Any]) -> None:
    secured.pair = secured.ca.sign(*signed.pop("hosts", ()), **signed)
    await secured.serve()
    with structlog.testing.capture_logs() as logs:
        assert await is_refused(secured.callee())
    assert [entry["event"] for entry in logs] == ["callee.is_not_trusted"]


async def test_mtls_demands_a_certificate(secured: Secured) -> None:
    await secured.serve(tls_client_ca_file=str(secured.ca.file))
    assert await ask(secured.callee(pair=secured.client)) == "P"
    assert await is_refused(secured.callee())
    assert await is_refused(secured.callee(pair=secured.other.sign()))
    assert await is_refused(secured.callee(pair=secured.ca.sign(days=-1)))
    assert await is_refused(secured.callee_with(None))


async def test_who_calls_over_tls_never_falls_back_to_plaintext(secured: Secured) -> None:
    await secured.serve(tls_cert_file="", tls_key_file="")
    assert await ask(secured.callee_with(None)) == "P"
    assert await is_refused(secured.callee())


async def test_the_servers_files_are_renewed_while_calls_run(secured: Secured) -> None:
    await secured.serve(tls_client_ca_file=str(secured.ca.file))
    former = secured.callee(pair=secured.client)
    slow = asyncio.create_task(ask(former, "SLOW"))
    await eventually(lambda: secured.handlers.waiting)
    for days in (10, 20, 30):
        new = secured.ca.sign(days=days)
        secured.pair.replace(new)
        assert await ask(former) == "P"
        assert await ask(secured.callee(pair=secured.client)) == "P"
        assert await secured.served() == serial(new)
        assert _metric("dsm_tls_certificate_expiry_seconds", file=str(secured.pair.cert)) == new.expiry()
    secured.handlers.let.set()
    assert await slow == "SLOW"


async def test_a_new_ca_of_clients_is_demanded_of_new_connections(secured: Secured) -> None:
    ca = secured.folder / "clients.crt"
    ca.write_bytes(secured.ca.file.read_bytes())
    await secured.serve(tls_client_ca_file=str(ca))
    former = secured.callee(pair=secured.client)
    assert await ask(former) == "P"
    ca.write_bytes(secured.other.file.read_bytes())
    assert await ask(secured.callee(pair=secured.other.sign())) == "P"
    assert await is_refused(secured.callee(pair=secured.client))
    assert await ask(former) == "P"


async def test_a_clients_files_are_renewed_while_calls_run(secured: Secured) -> None:
    trusted = secured.folder / "both.crt"
    trusted.write_bytes(secured.ca.file.read_bytes() + secured.other.file.read_bytes())
    await secured.serve(tls_client_ca_file=str(trusted))
    files = files_of(secured.ca, secured.client)
    callee = secured.callee_with(files)
    slow = asyncio.create_task(ask(callee, "SLOW"))
    await eventually(lambda: secured.handlers.waiting)
    stop = asyncio.Event()
    callers = [asyncio.create_task(_keep_asking(callee, stop)) for _ in range(4)]
    for new in (secured.other.sign(), secured.ca.sign(), secured.other.sign()):
        secured.client.replace(new)
        files.look()
        assert await ask(callee) == "P"
        assert secured.handlers.peer == name(new)
    stop.set()
    assert min(await asyncio.gather(*callers)) > 0
    secured.handlers.let.set()
    assert await slow == "SLOW"


async def test_a_running_server_takes_changed_files_that_nobody_asked_for(secured: Secured) -> None:
    await secured.serve()
    new = secured.ca.sign(days=7)
    secured.pair.replace(new)
    expiry = "dsm_tls_certificate_expiry_seconds"
    await eventually(lambda: _metric(expiry, file=str(secured.pair.cert)) == new.expiry())


async def test_broken_new_files_leave_the_old_ones_in_use(secured: Secured) -> None:
    await secured.serve(tls_client_ca_file=str(secured.ca.file))
    old, new, text = serial(secured.pair), secured.ca.sign(), secured.pair.cert.read_bytes()
    failures = _metric("dsm_tls_reload_failures_total") or 0
    with structlog.testing.capture_logs() as logs:
        # Half written; whole, while the key is still the old one's; gone.
        for content in (text[: len(text) // 2], new.cert.read_bytes(), None):
            if content is None:
                secured.pair.cert.unlink()
            else:
                secured.pair.cert.write_bytes(content)
            assert await secured.served() == old
            assert await ask(secured.callee(pair=secured.client)) == "P"
    told = [entry for entry in logs if entry["event"] == "tls.reload_failed"]
    assert [entry["log_level"] for entry in told] == ["warning"] * 3
    assert _metric("dsm_tls_reload_failures_total") == failures + 3
    assert not _holds_a_key(str(logs), secured.pair, new)
    secured.pair.replace(new)
    assert await ask(secured.callee(pair=secured.client)) == "P"
    assert await secured.served() == serial(new)


async def test_broken_files_of_a_client_leave_the_old_ones_in_use(secured: Secured) -> None:
    await secured.serve(tls_client_ca_file=str(secured.ca.file))
    files = files_of(secured.ca, secured.client)
    callee = secured.callee_with(files)
    former = files.look()
    secured.client.key.write_bytes(b"half a k")
    assert files.look() is former
    assert await ask(callee) == "P"


@pytest.mark.parametrize(
    ("given", "setting"),
    [
        ({"tls_cert_file": "cert"}, "DSM_TLS_KEY_FILE"),
        ({"tls_key_file": "key"}, "DSM_TLS_CERT_FILE"),
        ({"tls_client_ca_file": "ca"}, "DSM_TLS_CERT_FILE"),
        ({"tls_cert_file": "cert", "tls_key_file": "gone"}, "DSM_TLS_KEY_FILE"),
        ({"tls_cert_file": "gone", "tls_key_file": "key"}, "DSM_TLS_CERT_FILE"),
        ({"tls_cert_file": "cert", "tls_key_file": "other"}, "DSM_TLS_KEY_FILE"),
        ({"tls_cert_file": "key", "tls_key_file": "cert"}, "DSM_TLS_CERT_FILE"),
        ({"tls_cert_file": "ed25519_cert", "tls_key_file": "ed25519"}, "DSM_TLS_KEY_FILE"),
        ({"tls_cert_file": "cert", "tls_key_file": "key", "tls_client_ca_file": "key"}, "DSM_TLS_CLIENT_CA_FILE"),
        ({"client_cert_file": "cert", "client_key_file": "key"}, "DSM_CLIENT_CA_FILE"),
        ({"client_ca_file": "ca", "client_cert_file": "cert"}, "DSM_CLIENT_KEY_FILE"),
        ({"client_ca_file": "gone"}, "DSM_CLIENT_CA_FILE"),
    ],
)
def test_files_that_cannot_be_used_stop_the_start(tmp_path: Path, given: dict[str, str], setting: str) -> None:
    ca = Authority(tmp_path)
    pair, other, unspoken = ca.sign(), ca.sign(), ca.sign(key=Ed25519PrivateKey.generate())
    files = {"ca": ca.file, "cert": pair.cert, "key": pair.key, "other": other.key, "gone": tmp_path / "gone"}
    files |= {"ed25519_cert": unspoken.cert, "ed25519": unspoken.key}
    paths = {field: str(files[which]) for field, which in given.items()}
    with pytest.raises(TlsError) as failed:
        _use(paths)
    sentence = str(failed.value)
    assert setting in sentence
    assert len(sentence.splitlines()) == 1
    assert not _holds_a_key(sentence, pair, other, unspoken)


def _use(paths: dict[str, str]) -> None:
    if any(field.startswith("tls_") for field in paths):
        server_files(ProcessSettings(**paths))  # type: ignore[arg-type]
    else:
        client_files(ServiceSettings(**paths))  # type: ignore[arg-type]


async def _keep_asking(callee: Callee, stop: asyncio.Event) -> int:
    """Call, again and again; the number of answers. What is not answered fails the test."""
    answers = 0
    while not stop.is_set():
        answers += await ask(callee) == "P"
    return answers


def _metric(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def _holds_a_key(text: str, *pairs: Pair) -> bool:
    """Whether a line of a key is in a text."""
    lines = {line for pair in pairs if pair.key.exists() for line in pair.key.read_text().splitlines()}
    return any(line in text for line in lines)
