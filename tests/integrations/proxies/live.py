"""Runs tiers for real from their rendered files, under a folder and on loopback addresses of the test's own.

Invariant: ends just the processes that it started, by their ids, and every wait has a limit.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from manor.estate.topology import TierNode
from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import Command, Completed, HostPath, HttpRequest
from manor.integrations.proxies.base import Proxy, RenderedFile

NUMBERS = count(1)
BIN = Path(sys.executable).parent


def fresh_address() -> str:
    """Return an address of 127.203.0.0/16 that nobody listens on, different each time and in each process."""
    number = (os.getpid() * 16 + next(NUMBERS)) % 60_000 + 256
    return f"127.203.{number // 250}.{number % 250 + 1}"


def with_path() -> str:
    """Return a PATH in which the products are found."""
    return f"{BIN}:{os.environ['PATH']}:/usr/sbin:/sbin"


def write_files(folder: Path, files: Sequence[RenderedFile]) -> None:
    """Write rendered files under a folder."""
    for file in files:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(file.mode)


def prepare(node: TierNode, product: Proxy) -> None:
    """Make the tier's folders, our pages and its files."""
    for folder in (node.folders.etc, node.folders.run, node.folders.log, node.folders.sockets, node.folders.state, node.folders.pages):
        Path(folder).mkdir(parents=True, exist_ok=True)
    for page in ("404", "503", "maintenance"):
        (Path(node.folders.pages) / f"{page}.html").write_text(f"<h1>our {page}</h1>\n")
    write_files(Path(node.folders.etc), product.render(node))


@dataclass
class Tier:
    """A tier that runs."""

    node: TierNode
    product: Proxy
    runner: LocalRunner
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    async def observe(self) -> str | None:
        """Return what is missing until it is ready."""
        act = self.product.ready(self.node)
        if isinstance(act, HttpRequest):
            act = replace(act, timeout_seconds=1.0)
        try:
            completed: Completed = await self.runner.carry_out(act)
        except Exception as error:  # noqa: BLE001 - not there yet
            return str(error)
        return self.product.parse_ready(completed)

    def log_lines(self) -> list[str]:
        """Return its access log."""
        path = Path(self.node.folders.access_log)
        return path.read_text().splitlines() if path.exists() else []

    def own_log(self) -> str:
        """Return what its processes wrote."""
        return "\n".join(f"== {path}\n{path.read_text()}" for path in sorted(Path(self.node.folders.log).glob("*.log")))


def runner_for(node: TierNode) -> LocalRunner:
    """Return a runner whose commands find the products."""
    os.environ["PATH"] = with_path()
    return LocalRunner(f"{node.environment}/{node.host}", Guard(f"{node.environment}/{node.host}"))


def start(node: TierNode, product: Proxy) -> Tier:
    """Start all programs of a tier."""
    tier = Tier(node, product, runner_for(node))
    for program in product.programs(node):
        with (Path(node.folders.log) / f"{program.name}.log").open("ab") as log:
            tier.processes.append(subprocess.Popen(program.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True))
    return tier


def stop(tier: Tier) -> None:
    """End its processes."""
    for process in reversed(tier.processes):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in tier.processes:
        try:
            process.wait(8)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(5)


@contextmanager
def running(node: TierNode, product: Proxy) -> Iterator[Tier]:
    """Run a tier until the block ends; its log is in the error when it does not come up."""
    prepare(node, product)
    tier = start(node, product)
    try:
        for listener in node.listeners:
            wait_for(lambda at=(listener.address, listener.port): is_open(*at), f"{node.key} does not listen\n{tier.own_log()}")  # type: ignore[misc]
        yield tier
    finally:
        stop(tier)
        shutil.rmtree(node.folders.sockets, ignore_errors=True)


def files_under(folder: HostPath) -> dict[str, Path]:
    """Return the files of a folder by their name in it."""
    return {str(path.relative_to(folder)): path for path in Path(folder).rglob("*") if path.is_file()}


def is_open(address: str, port: int) -> bool:
    """Tell whether something accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((address, port)) == 0


def wait_for(holds: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Wait until it holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def curl(*arguments: str, seconds: int = 10) -> subprocess.CompletedProcess[str]:
    """Run curl."""
    return subprocess.run(["curl", "-s", "--noproxy", "*", "-m", str(seconds), *arguments], capture_output=True, text=True, check=False, timeout=seconds + 5)


def sockets_under(folder: Path) -> HostPath:
    """Return a short folder for sockets: pytest's own is too long for them."""
    return HostPath(f"/var/tmp/mt-{os.getpid()}-{next(NUMBERS)}") if len(str(folder)) > 40 else HostPath(folder)


async def until_ready(tier: Tier, seconds: float = 10.0) -> None:
    """Wait until its product says that it is ready."""
    end = time.monotonic() + seconds
    while (problem := await tier.observe()) is not None:
        assert time.monotonic() < end, f"{problem}\n{tier.own_log()}"
        await asyncio.sleep(0.02)


def command(*argv: str) -> Command:
    """Return a command that only reads."""
    return Command(argv)


async def loaded(tier: Tier) -> str | None:
    """Return what differs between the files that a tier works by and its node's."""
    return tier.product.parse_loaded(tier.node, await tier.runner.carry_out(tier.product.loaded(tier.node)))
