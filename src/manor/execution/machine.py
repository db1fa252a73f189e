"""Which loopback addresses and front ports of this machine belong to which state folder (docs/local-hosts.md).

Invariant: the file is changed only under its lock and replaced by rename; a number is given only after a bind has shown that nobody uses it.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from manor.errors import ApplyFailed
from manor.execution.durable import Disk
from manor.execution.files import carry_out
from manor.execution.values import HostPath, PutFile

MACHINE_FILE = Path("/var/tmp/manor-addresses")  # noqa: S108 - shared by all users of the machine on purpose
MACHINE_FILE_VARIABLE = "MANOR_MACHINE_FILE"
"""Names another file, so that tests and demonstrations leave the machine's own alone."""
NETWORKS = range(16, 200)
FRONTS = range(200)
LISTENERS = Path("/proc/net/tcp")
LISTENING = "0A"


@dataclass(frozen=True)
class Claim:
    """What one state folder has on this machine."""

    network: int
    """E of its addresses 127.E.V.H."""
    fronts: tuple[int, ...] = ()
    """Numbers of its pairs of front ports."""


def machine_file() -> Path:
    """Return the machine-wide file, or the one that MANOR_MACHINE_FILE names."""
    return Path(os.environ.get(MACHINE_FILE_VARIABLE) or MACHINE_FILE)


def is_there(folder: Path) -> bool:
    """Tell whether a folder exists; one that another user keeps from our sight does."""
    try:
        return folder.exists()
    except PermissionError:
        return True


@dataclass(frozen=True)
class Machine:
    """The machine-wide file."""

    file: Path = field(default_factory=machine_file)
    is_kept: Callable[[Path], bool] = is_there
    """Whose claims stand; those of other folders are left out."""

    @property
    def claims(self) -> Mapping[str, Claim]:
        """What each state folder has; folders that are gone are left out. Raises ApplyFailed for a file that can't be understood."""
        return self._read()

    def claim_network(self, folder: Path) -> int:
        """Return E for a state folder: the one it has, or the first that is free. Raises ApplyFailed if none is."""
        with self._locked() as claims:
            own = claims.get(str(folder))
            if own is not None:
                return own.network
            taken = {claim.network for claim in claims.values()} | networks_listening(LISTENERS.read_text())
            number = first_free((n for n in NETWORKS if n not in taken), lambda n: (f"127.{n}.1.1", 8080))
            claims[str(folder)] = Claim(number)
            return number

    def claim_front(self, folder: Path, ports: tuple[tuple[int, int], ...]) -> int:
        """Return the number of a pair of front ports for a state folder that has a network: the first whose pair in `ports` nobody uses."""
        with self._locked() as claims:
            own = claims[str(folder)]
            taken = {number for claim in claims.values() for number in claim.fronts}
            free = (n for n in range(len(ports)) if n not in taken and can_bind("127.0.0.1", ports[n][1]))
            number = first_free(free, lambda n: ("127.0.0.1", ports[n][0]))
            claims[str(folder)] = Claim(own.network, tuple(sorted((*own.fronts, number))))
            return number

    def copy_to(self, file: Path) -> Machine:
        """Return a copy in another file, for whoever only wants to know what would be claimed."""
        rows = {folder: {"network": claim.network, "fronts": list(claim.fronts)} for folder, claim in self.claims.items()}
        file.write_text(json.dumps(rows))
        return Machine(file, lambda _folder: True)

    def release(self, folder: Path) -> None:
        """Give back what a state folder has; the file goes with its last line."""
        with self._locked() as claims:
            claims.pop(str(folder), None)

    @contextmanager
    def _locked(self) -> Iterator[dict[str, Claim]]:
        lock = os.open(self.file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            claims = self._read()
            before = dict(claims)
            yield claims
            if claims != before:
                self._write(claims)
        finally:
            os.close(lock)

    def _read(self) -> dict[str, Claim]:
        if not self.file.exists():
            return {}
        try:
            rows = json.loads(self.file.read_text() or "{}")
            return {folder: Claim(row["network"], tuple(row["fronts"])) for folder, row in rows.items() if self.is_kept(Path(folder))}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ApplyFailed(
                f"{self.file}: is not what Manor writes there ({type(error).__name__}: {error}); "
                "end this machine's estates and remove the file, `manor up` writes it anew"
            ) from error

    def _write(self, claims: dict[str, Claim]) -> None:
        if not claims and self._unlinked():
            return
        rows = {folder: {"network": claim.network, "fronts": list(claim.fronts)} for folder, claim in sorted(claims.items())}
        content = (json.dumps(rows, indent=1) + "\n").encode()
        try:
            carry_out(Disk(), PutFile(HostPath(self.file), content, 0o666))
        except PermissionError:
            self._overwrite(content)

    def _unlinked(self) -> bool:
        try:
            self.file.unlink(missing_ok=True)
        except PermissionError:
            return False
        return True

    def _overwrite(self, content: bytes) -> None:
        """Write into another user's file, which the sticky folder does not let us replace; readers wait for the lock."""
        with self.file.open("r+b") as file:
            file.write(content)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())


def networks_listening(table: str) -> set[int]:
    """Return the second numbers of the loopback addresses that somebody listens on, from the text of /proc/net/tcp (proc(5))."""
    rows = [line.split() for line in table.splitlines()[1:]]
    local = [bytes.fromhex(row[1].partition(":")[0])[::-1] for row in rows if len(row) > 3 and row[3] == LISTENING]
    return {address[1] for address in local if address[0] == 127}


def first_free(numbers: Iterable[int], place: Callable[[int], tuple[str, int]]) -> int:
    """Return the first number whose address and port can be bound. Raises ApplyFailed if none can."""
    for number in numbers:
        address, port = place(number)
        if can_bind(address, port):
            return number
    raise ApplyFailed("no free loopback addresses or front ports are left on this machine; end estates that are no longer used with `manor down`")


def can_bind(address: str, port: int) -> bool:
    """Tell whether nobody listens on an address and port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True
