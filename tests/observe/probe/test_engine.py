"""The engine against a server in memory, on a clock that jumps."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections import Counter
from typing import Any

import pytest

from manor.observe.probe import LossKind, Outcome, Probe, ProbeConfig
from tests.observe.probe.fake_loop import FakeLoop, run_fast
from tests.observe.probe.memory import OK, Reply, Server, target

CLOSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


async def probe_for(server: Server, seconds: float, **changes: Any) -> tuple[list[Outcome], Probe]:
    outcomes: list[Outcome] = []
    probe = Probe(ProbeConfig(targets=(target(**changes),)), outcomes.append, server.dial)
    await probe.start()
    await asyncio.sleep(seconds)
    probe.check()
    await probe.stop()
    return outcomes, probe


def probed(server: Server, seconds: float = 1.95, **changes: Any) -> list[Outcome]:
    outcomes, probe = run_fast(probe_for(server, seconds, **changes))
    assert (probe.in_flight, probe.unsent) == (0, 0)
    return sorted(outcomes, key=lambda outcome: outcome.due)


def kinds(outcomes: list[Outcome]) -> Counter[str | None]:
    return Counter(outcome.kind for outcome in outcomes)


def test_a_hanging_server_holds_no_request_back_and_latency_counts_from_the_due_time() -> None:
    server = Server(lambda number: Reply(seconds=3.0 if number == 0 else 0.01))
    outcomes = probed(server)
    assert len(outcomes) == 20
    dues = [round(outcome.due - outcomes[0].due, 3) for outcome in outcomes]
    assert dues == [pytest.approx(number / 10) for number in range(20)]
    assert outcomes[0].seconds == pytest.approx(3.001, abs=0.001)
    assert outcomes[5].seconds < 0.02
    assert kinds(outcomes) == {None: 20}


def test_kept_connections_are_used_again_and_new_ones_are_not() -> None:
    server = Server()
    assert kinds(probed(server, share_new=0.5)) == {None: 20}
    assert len(server.transports) == 1 + 10
    assert sum(b"Connection: close" in request for request in server.requests) == 10


def test_an_idle_connection_whose_end_was_seen_is_replaced_and_no_loss() -> None:
    server = Server()

    async def scenario() -> list[Outcome]:
        running = asyncio.ensure_future(probe_for(server, 1.95))
        await asyncio.sleep(0.55)
        server.transports[0].end()
        return (await running)[0]

    assert kinds(run_fast(scenario())) == {None: 20}
    assert len(server.transports) == 2


def test_a_connection_idle_for_too_long_is_closed_instead_of_used() -> None:
    server = Server()
    probed(server, seconds=4.5, rate=0.5, idle_seconds=1.0)
    assert len(server.transports) == len(server.requests) == 3
    assert server.transports[0].is_closed


def test_a_request_sent_and_not_answered_is_lost_and_not_sent_again() -> None:
    server = Server(lambda number: Reply(b"", ends=True) if number == 7 else Reply())
    outcomes = probed(server)
    assert kinds(outcomes) == {None: 19, LossKind.RESET: 1}
    assert len(server.requests) == 20
    assert outcomes[7].kind is LossKind.RESET


@pytest.mark.parametrize(
    ("reply", "kind", "status"),
    [
        (Reply(b"", ends=True), LossKind.RESET, 0),
        (Reply(OK[:-1], ends=True), LossKind.TRUNCATED, 200),
        (Reply(b"SSH-2.0\r\n\r\n"), LossKind.TRUNCATED, 0),
        (Reply(b""), LossKind.TIMED_OUT, 0),
        (Reply(OK, seconds=5.0), LossKind.TIMED_OUT, 0),
        (Reply(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n"), LossKind.BAD_STATUS, 503),
        (Reply(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n"), LossKind.BAD_STATUS, 404),
        (Reply(CLOSE), None, 200),
        (Reply(b"HTTP/1.1 200 OK\r\n\r\nx", ends=True), None, 200),
    ],
)
@pytest.mark.parametrize("share_new", [0.0, 1.0])
def test_each_kind_of_loss_is_counted_exactly(reply: Reply, kind: LossKind | None, status: int, share_new: float) -> None:
    outcomes = probed(Server(lambda number: reply if number % 4 == 3 else Reply()), share_new=share_new, timeout_seconds=2.0)
    assert kinds(outcomes)[kind] == (5 if kind else 20)
    assert {outcome.status for outcome in outcomes if outcome.kind} <= {status}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), LossKind.REFUSED),
        (OSError(errno.EHOSTUNREACH, "no route"), LossKind.REFUSED),
        (ConnectionResetError(errno.ECONNRESET, "reset"), LossKind.RESET),
        (ssl.SSLCertVerificationError(1, "unknown authority"), LossKind.TLS),
        (TimeoutError(), LossKind.TIMED_OUT),
    ],
)
def test_connections_that_do_not_come_about_are_losses(error: OSError, kind: LossKind) -> None:
    assert kinds(probed(Server(error=error))) == {kind: 20}


def test_a_connection_that_takes_for_ever_times_out() -> None:
    outcomes = probed(Server(dial_seconds=60.0), timeout_seconds=1.5)
    assert kinds(outcomes) == {LossKind.TIMED_OUT: 20}
    assert all(outcome.seconds == pytest.approx(1.5) for outcome in outcomes)


def test_what_this_machine_could_not_send_is_neither_sent_nor_lost() -> None:
    outcomes, probe = run_fast(probe_for(Server(error=OSError(errno.EMFILE, "too many open files")), 0.95))
    assert (outcomes, probe.unsent, probe.in_flight) == ([], 10, 0)


def test_what_was_due_when_it_is_stopped_is_sent_though_this_machine_was_busy() -> None:
    async def scenario() -> list[Outcome]:
        outcomes: list[Outcome] = []
        probe = Probe(ProbeConfig(targets=(target(),)), outcomes.append, Server().dial)
        await probe.start()
        await asyncio.sleep(0.95)
        loop = asyncio.get_running_loop()
        assert isinstance(loop, FakeLoop)
        loop.jumping.now += 5.0  # nobody else had a turn
        await probe.stop()
        return outcomes

    outcomes = sorted(run_fast(scenario()), key=lambda outcome: outcome.due)
    assert kinds(outcomes) == {None: 60}
    assert [round(outcome.due - outcomes[0].due, 3) for outcome in outcomes] == [pytest.approx(number / 10) for number in range(60)]


def test_expected_statuses_and_paths_in_turn() -> None:
    server = Server(lambda number: Reply(b"HTTP/1.1 401 X\r\nContent-Length: 0\r\n\r\n"))
    assert kinds(probed(server, expected=(401,), paths=("/a", "/b"))) == {None: 20}
    assert [request.split()[1] for request in server.requests[:3]] == [b"/a", b"/b", b"/a"]


def test_an_error_of_the_probe_itself_is_not_swallowed() -> None:
    async def scenario() -> None:
        def fail(outcome: Outcome) -> None:
            raise RuntimeError(outcome)

        probe = Probe(ProbeConfig(targets=(target(),)), fail, Server(error=ConnectionRefusedError()).dial)
        await probe.start()
        await asyncio.sleep(0.1)
        await probe.stop()

    with pytest.raises(RuntimeError, match="Outcome"):
        run_fast(scenario())
