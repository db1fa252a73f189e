"""`manor` with the order of removal broken on purpose: a slot's program is ended before anything takes it out of traffic.

Usage: python -m tests.e2e.wrong_order <words of a verb>
"""

from __future__ import annotations

from manor.cli.main import main
from manor.operations.step import Evidence, Here
from manor.rollout.fleet import Fleet
from manor.rollout.moving import DrainSlot

LATE_SECONDS = 1.0
in_order = DrainSlot.act


async def stop_then_drain(self: DrainSlot, ports: Fleet, here: Here) -> Evidence:
    """End the program, and drain it only a while later."""
    await ports.stop(self.ref, here)
    await ports.sleep(LATE_SECONDS)
    return await in_order(self, ports, here)


if __name__ == "__main__":
    DrainSlot.act = stop_then_drain  # type: ignore[method-assign]
    main()
