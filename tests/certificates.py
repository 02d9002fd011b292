"""Certificates of a test's own: a CA, and what it signed."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

# Under which everything in a test listens.
HERE = ("127.0.0.1", "localhost")
_DAY = timedelta(days=1)

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Pair:
    """A certificate and its key as files."""

    def __init__(self, cert: Path, key: Path) -> None:
        self.cert = cert
        self.key = key

    def replace(self, other: "Pair") -> None:
        """Write another pair over this one, as a renewal does; the key comes after the certificate."""
        self.cert.write_bytes(other.cert.read_bytes())
        self.key.write_bytes(other.key.read_bytes())

    def expiry(self) -> float:
        """Until when the certificate is valid, as Unix time."""
        return x509.load_pem_x509_certificate(self.cert.read_bytes()).not_valid_after_utc.timestamp()


class Authority:
    """A CA that keeps its files, and those of what it signs, in a folder."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._name = _named(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._signed = 0
        certificate = _builder(self._name, self._name, self._key, 30).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        self.file = folder / f"{name}.crt"
        self.file.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def sign(self, *hosts: str, days: float = 30, key: Key | None = None) -> Pair:
        """A certificate for hosts (default: here) that is valid for so many days from now; below 0 = it was."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        self._signed += 1
        name = f"{self._name.rfc4514_string().removeprefix('CN=')}-{self._signed}"
        names = x509.SubjectAlternativeName([_general(host) for host in hosts or HERE])
        certificate = _builder(_named(name), self._name, key, days).add_extension(names, critical=False)
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        pair.cert.write_bytes(certificate.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        pair.key.touch(mode=0o600)  # PostgreSQL takes no key that others may read.
        pair.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return pair


def _builder(subject: x509.Name, issuer: x509.Name, key: Key, days: float) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 30 * _DAY)
        .not_valid_after(now + days * _DAY)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
