"""The probe over real connections: each loss made on purpose is counted once, and a killed probe keeps what it saw."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from manor.observe.probe import Lane, LossKind, Outcome, Probe, ProbeConfig, Recording, Target, argv, read_results, summarize
from manor.observe.window import Window
from tests.observe.probe.lossy import HOST, LossyServer, make_certificate, serving

pytestmark = pytest.mark.native

ADDRESS = "127.204.1.1"
SECONDS = 1.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tls")


@pytest.fixture(scope="module")
def server_tls(folder: Path) -> ssl.SSLContext:
    return make_certificate(folder)


def target(port: int, folder: Path, **changes: Any) -> Target:
    plain: dict[str, Any] = {
        "name": "t",
        "address": ADDRESS,
        "port": port,
        "host": HOST,
        "rate": 50.0,
        "ca_file": str(folder / "ca.pem"),
        "timeout_seconds": 0.7,
    }
    return Target(**plain | changes)


async def probe_for(seconds: float, *targets: Target) -> list[Outcome]:
    outcomes: list[Outcome] = []
    probe = Probe(ProbeConfig(targets=targets), outcomes.append)
    await probe.start()
    await asyncio.sleep(seconds)
    await probe.stop()
    assert probe.unsent == 0
    return outcomes


def kinds(outcomes: list[Outcome]) -> Counter[tuple[str, str | None]]:
    return Counter((outcome.lane, outcome.kind) for outcome in outcomes)


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize(
    ("path", "kind"),
    [("/reset", LossKind.RESET), ("/cut", LossKind.TRUNCATED), ("/503", LossKind.BAD_STATUS), ("/hang", LossKind.TIMED_OUT)],
)
async def test_every_loss_is_counted_once(folder: Path, server_tls: ssl.SSLContext, path: str, kind: LossKind, tls: bool) -> None:
    server = LossyServer()
    async with serving(server, ADDRESS, server_tls if tls else None) as port:
        outcomes = await probe_for(SECONDS, target(port, folder, paths=("/", path, "/", "/"), method="POST", body="x", tls=tls))
    lost = [outcome for outcome in outcomes if outcome.kind]
    assert {outcome.kind for outcome in lost} == {kind}
    assert len(lost) == server.seen[path] > 8
    assert len(outcomes) == sum(server.seen.values())


async def test_half_of_the_requests_come_on_connections_of_their_own(folder: Path, server_tls: ssl.SSLContext) -> None:
    server = LossyServer()
    async with serving(server, ADDRESS, server_tls) as port:
        outcomes = await probe_for(SECONDS, target(port, folder))
    counted = kinds(outcomes)
    assert abs(counted[(Lane.NEW, None)] - counted[(Lane.KEPT, None)]) <= 1
    assert counted[(Lane.NEW, None)] < server.connections <= counted[(Lane.NEW, None)] + 5
    assert sum(counted.values()) == len(outcomes) == server.seen["/"]


async def test_a_closed_port_refuses(folder: Path) -> None:
    with socket.socket() as held:
        held.bind((ADDRESS, 0))
        outcomes = await probe_for(SECONDS, target(held.getsockname()[1], folder))
    assert {outcome.kind for outcome in outcomes} == {LossKind.REFUSED}
    assert len(outcomes) >= 45


async def test_another_name_or_authority_is_a_tls_loss(folder: Path, server_tls: ssl.SSLContext) -> None:
    async with serving(LossyServer(), ADDRESS, server_tls) as port:
        outcomes = await probe_for(0.3, target(port, folder, host="other.localhost"), target(port, folder, ca_file=None))
    assert {outcome.kind for outcome in outcomes} == {LossKind.TLS}


def write_config(folder: Path, name: str, *targets: Target) -> ProbeConfig:
    config = ProbeConfig(targets=targets, results=str(folder / f"{name}.jsonl"), stop_file=str(folder / f"{name}.stop"), deadline=time.time() + 20)
    (folder / f"{name}.json").write_text(config.model_dump_json())
    return config


async def start_process(folder: Path, name: str) -> asyncio.subprocess.Process:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return await asyncio.create_subprocess_exec(*argv(str(folder / f"{name}.json")), env=environment)


def recording_of(path: Path) -> Recording | None:
    return read_results(path) if path.exists() and path.stat().st_size else None


def stop(config: ProbeConfig) -> None:
    Path(config.stop_file or "").touch()


async def recorded(path: Path, count: int) -> Recording:
    for _ in range(100):
        recording = recording_of(path)
        if recording and len(recording.outcomes) >= count:
            return recording
        await asyncio.sleep(0.1)
    raise AssertionError("the probe process recorded nothing")


async def test_a_probe_process_ends_in_order_by_its_stop_file(tmp_path: Path, folder: Path, server_tls: ssl.SSLContext) -> None:
    server = LossyServer()
    async with serving(server, ADDRESS, server_tls) as port:
        config = write_config(tmp_path, "probe", target(port, folder, paths=("/", "/503")))
        process = await start_process(tmp_path, "probe")
        await recorded(tmp_path / "probe.jsonl", 20)
        stop(config)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    recording = read_results(tmp_path / "probe.jsonl")
    result = summarize(recording.outcomes, recording.config, Window(0, time.time()))
    assert (recording.ended, recording.in_flight, recording.unsent) == (True, 0, 0)
    assert (result.sent, result.lost) == (sum(server.seen.values()), server.seen["/503"])


async def test_a_killed_probe_process_keeps_what_it_saw_and_does_not_claim_to_be_complete(tmp_path: Path, folder: Path, server_tls: ssl.SSLContext) -> None:
    async with serving(LossyServer(), ADDRESS, server_tls) as port:
        write_config(tmp_path, "killed", target(port, folder))
        process = await start_process(tmp_path, "killed")
        before = await recorded(tmp_path / "killed.jsonl", 20)
        process.send_signal(signal.SIGKILL)
        await process.wait()
    recording = read_results(tmp_path / "killed.jsonl")
    assert not recording.ended
    assert len(recording.outcomes) >= len(before.outcomes)


async def test_a_term_signal_ends_it_in_order(tmp_path: Path, folder: Path, server_tls: ssl.SSLContext) -> None:
    async with serving(LossyServer(), ADDRESS, server_tls) as port:
        write_config(tmp_path, "ended", target(port, folder))
        process = await start_process(tmp_path, "ended")
        await recorded(tmp_path / "ended.jsonl", 10)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    assert read_results(tmp_path / "ended.jsonl").ended
