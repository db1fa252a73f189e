"""The local certificate authority: chains verify by other people's code, keys are ours alone, certificates are kept as long as they hold."""

from __future__ import annotations

import datetime
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from manor.errors import ManorError
from manor.state.authority import Authority, IssuedCertificate, names_of

NAMES = ("127.16.1.1", "localhost", "shop.dev.localhost", "shop.dev.acme.example")


@dataclass
class Time:
    """A time of its own."""

    now: datetime.datetime = field(default_factory=lambda: datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC))

    def __call__(self) -> datetime.datetime:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def authority(tmp_path: Path, time: Time) -> Authority:
    return Authority(tmp_path / "ca", "acme-health", time)


def verify(authority: Authority, issued: IssuedCertificate, name: str, at: datetime.datetime) -> None:
    """Verify as a client does, by cryptography's own rules of the web."""
    root = x509.load_pem_x509_certificate(authority.certificate_file.read_bytes())
    leaf = x509.load_pem_x509_certificate(issued.certificate)
    PolicyBuilder().store(Store([root])).time(at).build_server_verifier(x509.DNSName(name)).verify(leaf, [])


def test_a_certificate_is_for_its_names_and_its_key(authority: Authority) -> None:
    issued = authority.issue("dev", NAMES)
    leaf = x509.load_pem_x509_certificate(issued.certificate)
    assert names_of(leaf) == tuple(sorted(NAMES))
    assert load_pem_private_key(issued.key, None).public_key() == leaf.public_key()
    assert issued.both == issued.certificate + issued.key
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate_file.read_bytes()))


@pytest.mark.parametrize("name", ["shop.dev.localhost", "shop.dev.acme.example"])
def test_a_strict_client_accepts_it(authority: Authority, time: Time, name: str) -> None:
    verify(authority, authority.issue("dev", NAMES), name, time.now)


def test_a_strict_client_refuses_another_name_another_time_and_another_authority(authority: Authority, time: Time, tmp_path: Path) -> None:
    issued, other = authority.issue("dev", NAMES), Authority(tmp_path / "other", "acme-health", time)
    other.prepare()
    for against, name, at in (
        (authority, "crm.dev.localhost", time.now),
        (authority, NAMES[2], time.now + datetime.timedelta(days=366)),
        (other, NAMES[2], time.now),
    ):
        with pytest.raises(VerificationError):
            verify(against, issued, name, at)


def test_the_authority_signs_and_nothing_else(authority: Authority) -> None:
    authority.prepare()
    root = x509.load_pem_x509_certificate(authority.certificate_file.read_bytes())
    assert root.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(ca=True, path_length=0)
    assert "acme-health" in root.subject.rfc4514_string()
    leaf = x509.load_pem_x509_certificate(authority.issue("dev", NAMES).certificate)
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_only_we_read_the_keys(authority: Authority) -> None:
    authority.issue("dev", NAMES)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in authority.folder.iterdir()}
    assert modes == {"authority.key": 0o600, "authority.pem": 0o644, "dev.key": 0o600, "dev.pem": 0o644}
    assert stat.S_IMODE(authority.folder.stat().st_mode) == 0o700


def test_it_is_kept_while_it_holds(authority: Authority, time: Time) -> None:
    first, root = authority.issue("dev", NAMES), authority.certificate_file.read_bytes()
    time.now += datetime.timedelta(days=334)
    assert authority.issue("dev", reversed(NAMES)) == first
    time.now += datetime.timedelta(days=2)
    assert authority.issue("dev", NAMES) != first
    assert authority.certificate_file.read_bytes() == root


def test_other_names_need_another_one(authority: Authority) -> None:
    first = authority.issue("dev", NAMES)
    assert authority.issue("dev", NAMES[:2]) != first
    assert authority.issue("prod", NAMES) != first


@pytest.mark.parametrize("lost", ["dev.key", "dev.pem"])
def test_half_of_one_is_none(authority: Authority, lost: str) -> None:
    first = authority.issue("dev", NAMES)
    (authority.folder / lost).unlink()
    assert authority.issue("dev", NAMES) != first


def test_a_key_of_another_certificate_is_noticed(authority: Authority) -> None:
    first, other = authority.issue("dev", NAMES), authority.issue("prod", NAMES)
    (authority.folder / "dev.key").write_bytes(other.key)
    again = authority.issue("dev", NAMES)
    assert again.certificate != first.certificate
    assert again.key != other.key


def test_the_key_does_not_show(authority: Authority) -> None:
    assert "PRIVATE" not in repr(authority.issue("dev", NAMES))


@pytest.mark.native
def test_openssl_accepts_the_chain_strictly(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca", "acme-health", lambda: datetime.datetime.now(datetime.UTC))
    authority.issue("dev", NAMES)
    words = ["openssl", "verify", "-x509_strict", "-verify_hostname", NAMES[2], "-CAfile", str(authority.certificate_file), str(authority.folder / "dev.pem")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_authority_without_its_key_says_so_and_makes_no_other(authority: Authority) -> None:
    authority.prepare()
    before = authority.certificate_file.read_bytes()
    authority.key_file.unlink()
    with pytest.raises(ManorError, match=r"authority\.key: is gone"):
        authority.issue("dev", NAMES)
    assert authority.certificate_file.read_bytes() == before


def test_who_comes_at_the_same_time_gets_one_authority(authority: Authority) -> None:
    with ThreadPoolExecutor(8) as threads:
        issued = list(threads.map(lambda number: authority.issue(f"dev-{number % 2}", NAMES), range(16)))
    assert len({one.certificate for one in issued}) == 2
    key = load_pem_private_key(authority.key_file.read_bytes(), None)
    assert x509.load_pem_x509_certificate(authority.certificate_file.read_bytes()).public_key() == key.public_key()
