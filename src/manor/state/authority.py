"""The local certificate authority: keeps its key in the state folder and issues the first tiers' certificates.

Key identifiers are in every certificate: clients that verify strictly, e.g. Python 3.13, refuse those without (RFC 5280, 4.2.1.1).

Invariant: a certificate is issued again only when its names changed or less than 30 days of it are left; the key never leaves the folder.
"""

from __future__ import annotations

import datetime
import fcntl
import ipaddress
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from manor.errors import ManorError
from manor.execution.durable import write_durably

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 365
RENEW_DAYS = 30
Clock = Callable[[], datetime.datetime]


@dataclass(frozen=True)
class IssuedCertificate:
    """A certificate and its key, in PEM."""

    certificate: bytes
    """The certificate itself; clients trust the authority's."""
    key: bytes = field(repr=False)

    @property
    def both(self) -> bytes:
        """Certificate and key in one file."""
        return self.certificate + self.key


@dataclass(frozen=True)
class Authority:
    """The authority of one state folder."""

    folder: Path
    estate: str
    now: Clock

    @property
    def certificate_file(self) -> Path:
        """The authority's own certificate: what clients have to trust."""
        return self.folder / "authority.pem"

    @property
    def key_file(self) -> Path:
        """The authority's own key."""
        return self.folder / "authority.key"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes out, so that a key and its certificate are always of one make."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(number, fcntl.LOCK_EX)
            yield
        finally:
            os.close(number)

    def prepare(self) -> None:
        """Make the authority's key and certificate unless they are there. Raises ManorError if the certificate has lost its key."""
        with self._alone():
            self._prepare()

    def _prepare(self) -> None:
        if self.certificate_file.exists():
            self._require_key()
            return
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{self.estate} local authority (Manor)")])
        builder = self._builder(name, name, key.public_key(), AUTHORITY_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(AUTHORITY_USAGE, critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        certificate = builder.sign(key, hashes.SHA256())
        write_durably(self.key_file, key_pem(key), 0o600)
        write_durably(self.certificate_file, certificate.public_bytes(serialization.Encoding.PEM), 0o644)

    def _require_key(self) -> None:
        if not self.key_file.exists():
            raise ManorError(
                f"{self.key_file}: is gone, and nothing can be signed without it; put it back from a backup, "
                f"or remove {self.certificate_file.name} beside it for a new authority, which clients must then trust anew"
            )

    def issue(self, label: str, names: Iterable[str]) -> IssuedCertificate:
        """Return the certificate kept under `label` for these DNS names and addresses; a new one if need be."""
        with self._alone():
            self._prepare()
            return self._issue(label, tuple(sorted(set(names))))

    def _issue(self, label: str, wanted: tuple[str, ...]) -> IssuedCertificate:
        kept = self._kept(label)
        if kept is not None and self._still_good(kept, wanted):
            return kept
        issued = self._sign(label, wanted)
        write_durably(self.folder / f"{label}.key", issued.key, 0o600)
        write_durably(self.folder / f"{label}.pem", issued.certificate, 0o644)
        return issued

    def _kept(self, label: str) -> IssuedCertificate | None:
        paths = (self.folder / f"{label}.pem", self.folder / f"{label}.key")
        return IssuedCertificate(paths[0].read_bytes(), paths[1].read_bytes()) if all(path.exists() for path in paths) else None

    def _still_good(self, kept: IssuedCertificate, wanted: tuple[str, ...]) -> bool:
        certificate = x509.load_pem_x509_certificate(kept.certificate)
        key = serialization.load_pem_private_key(kept.key, None)
        left = certificate.not_valid_after_utc - self.now()
        return names_of(certificate) == wanted and left.days >= RENEW_DAYS and certificate.public_key() == key.public_key()

    def _sign(self, label: str, names: tuple[str, ...]) -> IssuedCertificate:
        own_key = serialization.load_pem_private_key(self.key_file.read_bytes(), None)
        own = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])
        builder = self._builder(subject, own.subject, key.public_key(), CERTIFICATE_DAYS)
        builder = builder.add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own.public_key()), critical=False)  # type: ignore[arg-type]  # as below
        certificate = builder.sign(own_key, hashes.SHA256())  # type: ignore[arg-type]  # it is the elliptic key made in prepare()
        return IssuedCertificate(certificate.public_bytes(serialization.Encoding.PEM), key_pem(key))

    def _builder(self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
        start = self.now() - datetime.timedelta(hours=1)
        return x509.CertificateBuilder(
            issuer_name=issuer,
            subject_name=subject,
            public_key=key,
            serial_number=x509.random_serial_number(),
            not_valid_before=start,
            not_valid_after=start + datetime.timedelta(days=days),
        )


AUTHORITY_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key in PEM, unencrypted; its file's mode protects it."""
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def general_name(name: str) -> x509.GeneralName:
    """Return a name of a certificate: an address where it is one, else a DNS name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the names that a certificate is for, sorted."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return tuple(sorted(str(name.value) for name in names))
