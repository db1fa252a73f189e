"""Holds a lease while a body runs: waits for it, renews it, and stops the body when it was lost.

Invariant: after the lease is known to be lost, nothing of the body goes on (docs/operations.md, leases).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from manor.errors import Busy, FencedOff, ManorError
from manor.state import leases
from manor.state.holder import Holder, is_gone, this_process
from manor.state.leases import LIFETIME_SECONDS, RENEW_SECONDS, IsGone, Lease
from manor.state.store import Store

POLL_SECONDS = 0.5


def no_word(_busy: Busy) -> None:
    """Say nothing while waiting."""


@asynccontextmanager
async def hold(
    store: Store,
    name: str,
    operation: str = "",
    *,
    wait_seconds: float = 0.0,
    on_wait: Callable[[Busy], None] = no_word,
    holder: Holder | None = None,
    is_gone: IsGone = is_gone,
) -> AsyncIterator[Lease]:
    """Hold the lease `<environment>` or `<environment>/<service>` for the body.

    Raises Busy if it is not free within `wait_seconds` (told to `on_wait` once at the start of waiting), FencedOff if it was lost
    meanwhile: then the body is cancelled first.
    """
    lease = await take(store, name, operation, wait_seconds, on_wait, holder or this_process(), is_gone)
    body = asyncio.current_task()
    lost: list[ManorError] = []
    renewing = asyncio.create_task(renew_until_lost(store, lease, lost, body))
    try:
        try:
            yield lease
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            if not lost:
                await store.write(leases.release, name, lease.token)
    except asyncio.CancelledError:
        if lost and body is not None and body.uncancel() == 0:
            raise lost[0] from None
        raise


async def take(store: Store, name: str, operation: str, wait_seconds: float, on_wait: Callable[[Busy], None], holder: Holder, is_gone: IsGone) -> Lease:
    """Acquire the lease, asking again until `wait_seconds` are over. Raises Busy."""
    clock = store.clock
    limit = clock.now() + wait_seconds
    told = False
    while True:
        try:
            return await store.write(leases.acquire, name, operation, holder=holder, now=clock.now(), is_gone=is_gone)
        except Busy as busy:
            if clock.now() >= limit:
                raise
            if not told:
                on_wait(busy)
                told = True
        await clock.sleep(min(POLL_SECONDS, max(limit - clock.now(), 0.0)))


async def renew_until_lost(store: Store, lease: Lease, lost: list[ManorError], body: asyncio.Task[object] | None) -> None:
    """Renew on time; when the lease is lost, note why and cancel the body."""
    renewed_at = lease.renewed_at
    while not lost:
        await store.clock.sleep(RENEW_SECONDS)
        try:
            renewed_at = (await store.write(leases.renew, lease.name, lease.token, now=store.clock.now())).renewed_at
        except FencedOff as fenced:
            lost.append(fenced)
        except ManorError as error:
            if store.clock.now() >= renewed_at + LIFETIME_SECONDS:
                lost.append(FencedOff(f"{lease.name}: the lease could not be renewed for {LIFETIME_SECONDS:.0f} s ({error}); this executor stops"))
    if body is not None:
        body.cancel()
