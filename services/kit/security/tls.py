"""TLS: a CA, a certificate and its key as PEM files, which are looked at again and again, and taken when they changed.

Whoever renews certificates (cert-manager, certbot, a person) replaces files under a running process, and not always all
at once. What is broken or half written is never used: the last whole files stay in use until the new ones are whole.
No sentence, log or repr here holds a byte of a key.
"""

import ssl
import threading
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.kit.settings import PREFIX, ProcessSettings, ServiceSettings, Settings, StatefulSettings
from services.kit.telemetry import metrics

log = structlog.get_logger()


class TlsError(Exception):
    """Files of TLS cannot be used; one sentence that names the setting and says what to do."""


@dataclass(frozen=True)
class Material:
    """What a handshake needs, in PEM: the CA's certificates, the own chain, leaf first, and its key. Empty = none."""

    roots: bytes = b""
    chain: bytes = b""
    key: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class PemFile:
    """A setting that names a file; no path = no file."""

    setting: str
    path: str

    def read(self) -> bytes:
        """The file's bytes. Raises TlsError if it cannot be read."""
        try:
            return Path(self.path).read_bytes() if self.path else b""
        except OSError as error:
            raise TlsError(
                f"{self.setting} names {self.path}, which cannot be read ({error.strerror}): correct it."
            ) from None


class PemFiles:
    """A CA file, a certificate file and its key file, in use together; any may be absent. Raises TlsError."""

    def __init__(self, ca: PemFile, cert: PemFile, key: PemFile, *, any_key: bool = False) -> None:
        """`any_key`: the key may also be of a kind that gRPC does not speak."""
        for given, missing in ((cert, key), (key, cert)):
            if given.path and not missing.path:
                raise TlsError(f"{given.setting} is set and {missing.setting} is not: set both, or neither.")
        self.ca, self.cert, self.key = ca, cert, key
        self._any_key = any_key
        self._complaint = ""
        # Handshakes look from threads of gRPC's own.
        self._lock = threading.Lock()
        self.material = self._read()
        self._check(self.material)

    def look(self) -> Material:
        """The newest material that is whole; also `material` from now on. The same object while nothing changed."""
        with self._lock:
            try:
                found = self._read()
                if found != self.material:
                    self._check(found)
                    self.material = found
                    log.info("tls.reloaded", files=self._paths())
                self._complaint = ""
            except TlsError as error:
                self._complain(str(error))
            return self.material

    def _read(self) -> Material:
        return Material(self.ca.read(), self.cert.read(), self.key.read())

    def _check(self, found: Material) -> None:
        if self.ca.path:
            _certificates(self.ca, found.roots)
        if not self.cert.path:
            return
        chain, key = _certificates(self.cert, found.chain), _private_key(self.key, found.key)
        if not self._any_key and not _is_spoken(key):
            raise TlsError(
                f"{self.key.setting} names a key that gRPC does not speak: use RSA, or EC on P-256 or P-384."
            )
        if key.public_key() != chain[0].public_key():
            raise TlsError(
                f"{self.key.setting} names {self.key.path}, which is not the key of the certificate {self.cert.path}."
            )
        expiry = min(certificate.not_valid_after_utc for certificate in chain)
        metrics.TLS_EXPIRY.labels(self.cert.path).set(expiry.timestamp())

    def _complain(self, sentence: str) -> None:
        """Once for each fault, however often it is met."""
        if sentence != self._complaint:
            self._complaint = sentence
            metrics.TLS_RELOAD_FAILURES.inc()
            log.warning("tls.reload_failed", error=sentence, still_used="the files as they were before")

    def _paths(self) -> list[str]:
        return [file.path for file in (self.ca, self.cert, self.key) if file.path]


def server_files(settings: ProcessSettings) -> PemFiles | None:
    """The files to serve with; None = in plaintext."""
    files = _files(settings, "tls_client_ca_file", "tls_cert_file", "tls_key_file")
    if files.ca.path and not files.cert.path:
        raise TlsError(f"{files.ca.setting} is set and {files.cert.setting} is not: without TLS no client is asked.")
    return files if files.cert.path else None


def client_files(settings: ServiceSettings) -> PemFiles | None:
    """The files to call other services with; None = in plaintext."""
    files = _files(settings, "client_ca_file", "client_cert_file", "client_key_file")
    if files.cert.path and not files.ca.path:
        raise TlsError(f"{files.cert.setting} is set and {files.ca.setting} is not: name the CA of who is called.")
    return files if files.ca.path else None


def nats_files(settings: StatefulSettings) -> PemFiles | None:
    """The files to connect to NATS with; None = there are none."""
    files = _files(settings, "nats_ca_file", "nats_cert_file", "nats_key_file", any_key=True)
    return files if files.ca.path or files.cert.path else None


def _files(settings: Settings, ca: str, cert: str, key: str, *, any_key: bool = False) -> PemFiles:
    named = (PemFile(PREFIX + name.upper(), getattr(settings, name)) for name in (ca, cert, key))
    return PemFiles(*named, any_key=any_key)


def server_credentials(files: PemFiles) -> grpc.ServerCredentials:
    """Credentials that follow their files from handshake to handshake; connections that stand are left alone.

    With a CA, clients must show a certificate that it signed.
    """
    used = files.look()

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        found = files.look()
        if found is used:
            return None
        used = found
        return _configuration(found)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(used),
        renewed,  # type: ignore[arg-type]  # None means that nothing changed
        require_client_authentication=bool(files.ca.path),
    )


def channel_credentials(material: Material) -> grpc.ChannelCredentials:
    """Credentials of a client; the name in the server's certificate is always checked."""
    return grpc.ssl_channel_credentials(material.roots, material.key or None, material.chain or None)


def client_context(files: PemFiles | None) -> ssl.SSLContext:
    """What libraries want that speak TLS by Python's ssl. Without a CA, those of the system are trusted.

    Raises OSError if the files cannot be used, for example because they are just being written.
    """
    roots = files.look().roots.decode() if files else ""
    context = ssl.create_default_context(cadata=roots or None)
    if files and files.cert.path:
        # The password keeps OpenSSL from asking for one on the terminal.
        context.load_cert_chain(files.cert.path, files.key.path, password="")
    return context


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.key, material.chain)], material.roots or None)


def _certificates(file: PemFile, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise TlsError(f"{file.setting} names {file.path}, which holds no certificate in PEM.") from None


def _private_key(file: PemFile, pem: bytes) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise TlsError(
            f"{file.setting} names {file.path}, which holds no private key in PEM, or one with a passphrase."
        ) from None


def _is_spoken(key: PrivateKeyTypes) -> bool:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1)
    return isinstance(key, rsa.RSAPrivateKey)
