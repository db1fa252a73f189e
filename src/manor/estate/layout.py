"""Where things are on a host, and what they are called: the one function for each name.

Invariant: every path that Manor writes on a host comes from here (docs/host-layout.md).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from manor.execution.values import HostPath

SLOTS = ("a", "b")


@dataclass(frozen=True)
class TierFolders:
    """The folders of one tier on one host."""

    etc: HostPath
    """Rendered files; replaced by a staging folder while they are checked."""
    run: HostPath
    """Pid files and what the process needs at run time."""
    log: HostPath
    sockets: HostPath
    """Short enough for a Unix socket's 107 bytes."""
    state: HostPath
    """`<service>` and what a product needs beside it: which slot takes traffic. Outside hash, plan and drift."""
    slots: HostPath
    """`<service>/a` and `<service>/b`: links to releases."""
    pages: HostPath
    """Our own pages: 404.html, 503.html, maintenance.html."""

    @property
    def access_log(self) -> HostPath:
        """One JSON object a line (docs/access-log.md)."""
        return self.log / "access.json"

    def staged(self, etc: HostPath) -> TierFolders:
        """Return the same folders with rendered files elsewhere, for the vendor's checker."""
        return replace(self, etc=etc)


@dataclass(frozen=True)
class HostLayout:
    """One host's folder."""

    root: HostPath
    sockets: HostPath

    def tier(self, key: str) -> TierFolders:
        """Return the folders of the tier with this key."""
        return TierFolders(
            etc=self.root / "etc" / key,
            run=self.root / "run" / key,
            log=self.root / "log" / key,
            sockets=self.sockets,
            state=self.root / "state" / key,
            slots=self.root / "slots",
            pages=self.root / "etc" / "pages",
        )

    @property
    def manifest(self) -> HostPath:
        """Which state folder has charge of the host."""
        return self.root / "manifest.json"

    def token(self, lease: str) -> HostPath:
        """Return the file with the newest fencing token of a lease."""
        return self.root / "fence" / lease.replace("/", "+")

    @property
    def exec(self) -> HostPath:
        """The wrapper that every program starts through."""
        return self.root / "run" / "exec"

    @property
    def tls(self) -> HostPath:
        """Certificates and keys of the first tier."""
        return self.root / "tls"

    @property
    def pages(self) -> HostPath:
        """Our own pages."""
        return self.root / "etc" / "pages"

    @property
    def readme(self) -> HostPath:
        """Paths of the host, and the commands to work it by hand."""
        return self.root / "README.md"

    @property
    def beside(self) -> HostPath:
        """The list of Manor's files that lie in other people's folders."""
        return self.root / "beside"

    def loaded(self, key: str) -> HostPath:
        """Return the file that says which files a running process has taken over: sha256 over them."""
        return self.root / "run" / f"{key}.loaded"

    def restart_due(self, key: str) -> HostPath:
        """Return the file that is there while a tier has to be restarted for what lies on disk."""
        return self.root / "run" / f"{key}.restart"

    @property
    def supervisor(self) -> HostPath:
        """The supervisor's own files."""
        return self.root / "etc" / "supervisor"

    def release(self, service: str, release: str) -> HostPath:
        """Return the folder of an unpacked release; `release` is its short id."""
        return self.root / "releases" / service / release

    def slot(self, service: str, slot: str) -> HostPath:
        """Return the link that tiers and programs name."""
        return self.root / "slots" / service / slot

    def slot_env(self, service: str, slot: str) -> HostPath:
        """Return the environment of the slot's program, mode 0600."""
        return self.root / "slots" / service / f"{slot}.env"

    def slot_start(self, service: str, slot: str) -> HostPath:
        """Return the script that execs the slot's program: its command and limits come with the release."""
        return self.root / "slots" / service / f"{slot}.start"

    def slot_wanted(self, service: str, slot: str) -> HostPath:
        """Return the file whose being there says that the slot's program is to run."""
        return self.root / "slots" / service / f"{slot}.wanted"

    def shared(self, service: str) -> HostPath:
        """Return the folder that survives releases."""
        return self.root / "shared" / service

    def program_log(self, program: str) -> HostPath:
        """Return what a program writes to its standard output and error."""
        return self.root / "log" / f"{program}.log"

    def program_log_from(self, program: str) -> HostPath:
        """Return the note of how long the log was when the program was first started since a rollout removed the note; the wrapper writes it."""
        return self.root / "log" / f".{program}.log.from"

    def program_log_start(self, program: str) -> HostPath:
        """Return the note of a program's last start, which the wrapper writes: pid, start in ticks after boot, and more (docs/execution.md)."""
        return self.root / "log" / f".{program}.log.start"

    def operation(self, operation: str) -> HostPath:
        """Return the folder of an operation's detached steps and staged files."""
        return self.root / "ops" / operation

    def guard(self, service: str) -> HostPath:
        """Return the folder of the marks on a service's servers, and of the guards that watch them."""
        return self.root / "guards" / service

    def instance_mark(self, program: str) -> str:
        """Return the value of MANOR_INSTANCE for a program: unique on this machine."""
        return f"{self.root}:{program}"


def sockets_folder(user_id: int, root: HostPath) -> HostPath:
    """Return a short folder for a host's sockets, unique to its root."""
    return HostPath(f"/var/tmp/manor-{user_id}") / hashlib.sha256(str(root).encode()).hexdigest()[:10]  # noqa: S108 - made 0700 and owner-checked


def slot_program(service: str, slot: str) -> str:
    """Return the name of a slot's program in the supervisor."""
    return f"{service}-{slot}"


def tier_program(key: str) -> str:
    """Return the name of a tier's program in the supervisor."""
    return f"tier-{key}"


def server_name(host: str, slot: str) -> str:
    """Return the name of a slot in the switching tier."""
    return f"{host}-{slot}"


def instance_name(service: str, host: str, number: int = 1) -> str:
    """Return an instance's name."""
    return f"{service}@{host}#{number}"


def short(digest: str) -> str:
    """Return the 12 hex digits that people see of a release or digest."""
    return digest[:12]
