"""Runs real tiers and services for tests from the values that products give, as reconcile and rollout do.

Invariant: ends only what it started, and every wait has a limit.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from manor.errors import ManorError
from manor.estate.topology import ServiceView, TierNode, TlsFiles, TrafficState
from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import HostPath
from manor.integrations.proxies.base import Proxy, ServerView, TierProgram
from manor.reconcile.tiers import tell_reload
from manor.registry import product
from manor.state.clock import SystemClock

HERE = Path(__file__).parent
READY_SECONDS = 15.0


def runner() -> LocalRunner:
    """Return a runner for this machine."""
    return LocalRunner("test/here", Guard("test/here"))


def prepare(node: TierNode) -> None:
    """Make the folders, pages and certificate that reconcile makes before any check."""
    folders = node.folders
    for folder in (folders.etc, folders.run, folders.log, folders.sockets, folders.state, folders.slots, folders.pages):
        Path(folder).mkdir(parents=True, exist_ok=True)
    for page in ("404", "503", "maintenance"):
        (Path(folders.pages) / f"{page}.html").write_text(f"<h1>our page {page}</h1>\n")
    if node.tls:
        write_certificate(node.tls)


def write_certificate(tls: TlsFiles) -> None:
    """Write a self-signed certificate for tests."""
    if Path(tls.both).exists():
        return
    import datetime

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "acme.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
    made = made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
    certificate = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    Path(tls.certificate).parent.mkdir(parents=True, exist_ok=True)
    Path(tls.certificate).write_bytes(certificate)
    Path(tls.key).write_bytes(secret)
    Path(tls.both).write_bytes(certificate + secret)


def write(node: TierNode, etc: HostPath | None = None) -> None:
    """Write the tier's rendered files."""
    proxy: Proxy = product("proxies", node.product)
    for file in proxy.render(node):
        (Path(etc or node.folders.etc) / file.name).write_bytes(file.content)


async def check(node: TierNode) -> tuple[str, ...]:
    """Have the vendor check a staged copy; return what it refuses."""
    proxy: Proxy = product("proxies", node.product)
    prepare(node)
    staging = Path(node.folders.etc).with_name("staging")
    staging.mkdir(exist_ok=True)
    write(node, HostPath(staging))
    staged = replace(node, folders=node.folders.staged(HostPath(staging)))
    return proxy.parse_check(await runner().run(proxy.check(staged)))


class Tier:
    """One running tier."""

    def __init__(self, node: TierNode) -> None:
        self.node = node
        self.proxy: Proxy = product("proxies", node.product)
        self.runner = runner()
        self.processes: list[subprocess.Popen[bytes]] = []

    async def start(self) -> None:
        """Write, start, and wait until it works by its files."""
        prepare(self.node)
        write(self.node)
        self.processes = [self._start(program) for program in self.proxy.programs(self.node)]
        await self.loaded()

    def _start(self, program: TierProgram) -> subprocess.Popen[bytes]:
        log = Path(self.node.folders.log) / f"{program.name}.log"
        with log.open("ab") as own, Path(program.stdout or log).open("ab") as out:
            return subprocess.Popen(program.argv, stdout=out, stderr=own, stdin=subprocess.DEVNULL, cwd="/", start_new_session=True)

    async def loaded(self) -> None:
        """Wait until the process works by the node's files."""
        await self._until("works by its files", lambda: self._loaded())

    async def _loaded(self) -> bool:
        self.trouble = self.proxy.parse_loaded(self.node, await self.runner.carry_out(self.proxy.loaded(self.node)))
        return self.trouble is None

    async def _until(self, what: str, probe) -> None:  # type: ignore[no-untyped-def]
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while asyncio.get_running_loop().time() < deadline:
            try:
                if await probe():
                    return
            except ManorError as error:
                self.trouble = str(error)
            await asyncio.sleep(0.05)
        raise AssertionError(f"{self.node.key}: not in {READY_SECONDS} s: {what}; {getattr(self, 'trouble', '')}; {self.messages()[-800:]}")

    def messages(self) -> str:
        """Return what the programs wrote."""
        return "".join((Path(self.node.folders.log) / f"{program.name}.log").read_text() for program in self.proxy.programs(self.node))

    async def reload(self) -> None:
        """Reload, and wait until the files are taken over."""
        await tell_reload(self.proxy.reload(self.node), self.runner, SystemClock())
        await self.loaded()

    async def switch(self, service: ServiceView, traffic: Mapping[str, TrafficState]) -> None:
        """Bring it to a traffic, as a rollout does: state files first."""
        await self.runner.change(self.proxy.switch_files(self.node, service, traffic))
        for act in self.proxy.switch(self.node, service, traffic):
            await self.runner.carry_out(act)

    async def servers(self, service: ServiceView) -> Mapping[str, ServerView]:
        """Return how it treats the servers."""
        completed = await self.runner.carry_out(self.proxy.observe_switch(self.node, service))
        return {view.name: view for view in self.proxy.parse_switch(self.node, service, completed)}

    async def until_servers(self, service: ServiceView, wanted) -> Mapping[str, ServerView]:  # type: ignore[no-untyped-def]
        """Wait until the servers are as wanted."""

        async def probe() -> bool:
            self.trouble = str(await self.servers(service))
            return bool(wanted(await self.servers(service)))

        await self._until("servers as wanted", probe)
        return await self.servers(service)

    async def page(self, service: ServiceView, on: bool) -> None:
        """Show the maintenance page, or end it, and read that back as a rollout does."""
        for act in self.proxy.maintenance(self.node, service, on):
            await self.runner.carry_out(act)
        await self._until(f"maintenance page {on}", lambda: self._shows_page(service, on))

    async def _shows_page(self, service: ServiceView, on: bool) -> bool:
        completed = await self.runner.carry_out(self.proxy.observe_maintenance(self.node, service))
        return self.proxy.parse_maintenance(self.node, service, completed) is on

    def lines(self) -> list[str]:
        """Return its access log."""
        return Path(self.node.folders.access_log).read_text().splitlines()

    def stop(self) -> None:
        """End what was started."""
        for process in self.processes:
            end(process)
        self.processes = []


class Echo:
    """One running slot of the echo service."""

    def __init__(self, slot: str, address: str, port: int, *, keep_alive: int = 7, sick: bool = False) -> None:
        env = {"PATH": os.environ["PATH"], "MANOR_TEST_SLOT": slot} | ({"MANOR_TEST_SICK": "1"} if sick else {})
        line = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "echo:app", "--host", address, "--port", str(port)]
        line += ["--timeout-keep-alive", str(keep_alive), "--no-access-log", "--log-level", "warning"]
        self.process = subprocess.Popen(line, env=env, stdin=subprocess.DEVNULL, start_new_session=True)
        self.address, self.port = address, port

    async def up(self) -> None:
        """Wait until it accepts."""
        for _ in range(300):
            try:
                _, writer = await asyncio.open_connection(self.address, self.port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                await writer.wait_closed()
                return
        raise AssertionError(f"{self.address}:{self.port} does not accept")

    def stop(self) -> None:
        """End it."""
        end(self.process)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group: TERM, 5 s, KILL."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(5)


async def curl(*words: str) -> str:
    """Run curl and return what it writes."""
    process = await asyncio.create_subprocess_exec("curl", "-s", "--max-time", "10", "--noproxy", "*", *words, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    return out.decode()
