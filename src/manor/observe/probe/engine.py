"""The engine: sends each request at its due time, and tells what came of it.

Invariant: one loop, no locks; no request waits for another, and none is sent twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain, takewhile

from manor.observe.probe.connection import Connection, Exchange
from manor.observe.probe.dial import dial, loss_of
from manor.observe.probe.model import Lane, LossKind, Outcome, ProbeConfig, Target
from manor.observe.probe.schedule import Tick, all_ticks
from manor.observe.probe.wire import request_bytes

BURST = 20
"""Overdue requests that are sent before answers are looked at again."""

Record = Callable[[Outcome], None]
Dial = Callable[[Target, Callable[[], Connection]], Awaitable[Connection]]


class Probe:
    """Sends a configuration's requests from `start` until `stop`; `record` is called with each outcome."""

    def __init__(self, config: ProbeConfig, record: Record, dialler: Dial = dial) -> None:
        """Prepare; nothing is sent yet. `dialler` opens connections, another one in tests."""
        self.config = config
        self.unsent = 0
        """Requests that were due and could not be sent for reasons of this machine (out of files or ports)."""
        self._failures: list[BaseException] = []
        self._lanes = [TargetLane(index, target, dialler, record, self._count_unsent, self._failures.append) for index, target in enumerate(config.targets)]
        self._sender: asyncio.Task[None] | None = None
        self._ticks: Iterator[Tick] = iter(())
        self._next: Tick | None = None
        """The tick that is waited for."""

    @property
    def in_flight(self) -> int:
        """Requests that were sent and have not ended."""
        return sum(lane.in_flight for lane in self._lanes)

    async def start(self) -> None:
        """Begin to send."""
        loop = asyncio.get_running_loop()
        epoch = time.time() - loop.time()
        for lane in self._lanes:
            lane.epoch = epoch
        self._ticks = all_ticks(self.config.targets, loop.time())
        self._sender = loop.create_task(self._send_all(loop))

    async def stop(self) -> None:
        """Send what is due by now and no more, wait for what is in flight (at most its timeout), close every connection."""
        until = asyncio.get_running_loop().time()
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
            if self._sender.cancelled():
                await self._catch_up(until)
        for lane in self._lanes:
            await lane.finish()
        self.check()

    def check(self) -> None:
        """Raise what went wrong inside the probe itself, if anything did."""
        for failure in self._failures:
            raise failure
        if self._sender is not None and self._sender.done() and not self._sender.cancelled():
            self._sender.result()

    def _count_unsent(self) -> None:
        self.unsent += 1

    async def _send_all(self, loop: asyncio.AbstractEventLoop) -> None:
        overdue = 0
        for tick in self._ticks:
            self._next = tick
            delay = tick.due - loop.time()
            overdue = 0 if delay > 0 else overdue + 1
            if delay > 0 or overdue % BURST == 0:
                await asyncio.sleep(max(delay, 0))
            self._lanes[tick.target].send(tick)
            self._next = None

    async def _catch_up(self, until: float) -> None:
        """Send what was due by a moment and is not sent yet, because this machine was busy."""
        left = chain([self._next] if self._next else [], self._ticks)
        for number, tick in enumerate(takewhile(lambda tick: tick.due <= until, left), 1):
            self._lanes[tick.target].send(tick)
            if number % BURST == 0:
                await asyncio.sleep(0)


class TargetLane:
    """The connections of one target."""

    def __init__(self, index: int, target: Target, dialler: Dial, record: Record, unsent: Callable[[], None], failed: Callable[[BaseException], None]) -> None:
        """Prepare the requests' bytes."""
        self.epoch = 0.0
        self._index = index
        self._target = target
        self._dial = dialler
        self._record = record
        self._unsent = unsent
        self._failed = failed
        self._requests = {lane: [request_bytes(target, path, lane) for path in target.paths] for lane in Lane}
        self._idle: deque[Connection] = deque()
        self._attempts: set[Attempt] = set()
        self._quiet = asyncio.Event()
        """Set when nothing is in flight any more."""
        self._dialling: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """Requests that have not ended."""
        return len(self._attempts)

    def send(self, tick: Tick) -> None:
        """Send one request now: on an idle kept connection if it is for one and there is one, else on a new one."""
        loop = asyncio.get_running_loop()
        attempt = Attempt(self, tick, loop.time())
        self._attempts.add(attempt)
        self._quiet.clear()
        connection = self._take_idle(loop.time()) if tick.lane is Lane.KEPT else None
        if connection:
            attempt.go(connection, self._target.timeout_seconds)
        else:
            task = loop.create_task(self._dial_and_go(attempt))
            self._dialling.add(task)
            task.add_done_callback(partial(self._dialled, attempt))

    async def finish(self) -> None:
        """Wait until nothing is in flight, then close the idle connections."""
        if self._attempts:
            await self._quiet.wait()
        for connection in self._idle:
            connection.close()
        await asyncio.sleep(0)

    def exchange(self, attempt: Attempt) -> Exchange:
        """Return what an attempt sends."""
        choices = self._requests[attempt.tick.lane]
        return Exchange(choices[attempt.tick.number % len(choices)], self._target.method == "HEAD", attempt.finish)

    def ended(self, attempt: Attempt, status: int, kind: LossKind | None) -> None:
        """Record how an attempt ended."""
        self._drop(attempt)
        done = asyncio.get_running_loop().time()
        if kind is None and not is_expected(self._target, status):
            kind = LossKind.BAD_STATUS
        tick = attempt.tick
        self._record(Outcome(self._index, tick.lane, tick.due + self.epoch, attempt.sent + self.epoch, done + self.epoch, status, kind))

    def release(self, connection: Connection) -> None:
        """Keep a connection whose answer is whole for the next request."""
        self._idle.append(connection)

    def _take_idle(self, now: float) -> Connection | None:
        while self._idle:
            connection = self._idle.popleft()
            if connection.is_open and now - connection.idle_since <= self._target.idle_seconds:
                return connection
            connection.close()
        return None

    def _dialled(self, attempt: Attempt, task: asyncio.Task[None]) -> None:
        self._dialling.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:  # a mistake of ours, not an answer of theirs
            self._drop(attempt)
            self._failed(error)

    def _drop(self, attempt: Attempt) -> None:
        self._attempts.discard(attempt)
        if not self._attempts:
            self._quiet.set()

    def _new_connection(self) -> Connection:
        return Connection(self.release, asyncio.get_running_loop().time)

    async def _dial_and_go(self, attempt: Attempt) -> None:
        deadline = attempt.sent + self._target.timeout_seconds
        try:
            async with asyncio.timeout_at(deadline):
                connection = await self._dial(self._target, self._new_connection)
        except OSError as error:
            self._not_connected(attempt, loss_of(error))
        else:
            attempt.go(connection, deadline - asyncio.get_running_loop().time())

    def _not_connected(self, attempt: Attempt, kind: LossKind | None) -> None:
        if kind is None:
            self._drop(attempt)
            self._unsent()
        else:
            attempt.finish(0, kind)


@dataclass(eq=False)
class Attempt:
    """One request on its way."""

    lane: TargetLane
    tick: Tick
    sent: float
    timer: asyncio.TimerHandle | None = None

    def go(self, connection: Connection, seconds: float) -> None:
        """Send it on this connection, and give it so long."""
        self.timer = asyncio.get_running_loop().call_later(seconds, connection.give_up)
        connection.send(self.lane.exchange(self))

    def finish(self, status: int, kind: LossKind | None) -> None:
        """Take its end in."""
        if self.timer is not None:
            self.timer.cancel()
        self.lane.ended(self, status, kind)


def is_expected(target: Target, status: int) -> bool:
    """Tell whether a status is no loss."""
    return status in target.expected if target.expected is not None else 200 <= status < 400
