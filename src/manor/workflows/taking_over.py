"""Goes on with what an executor that is gone left behind, before a verb does its own (docs/operations.md, adoption)."""

from __future__ import annotations

from manor.errors import FencedOff, ManorError
from manor.operations.adoption import find_orphans
from manor.operations.events import Event, What
from manor.state.leases import exclude
from manor.workflows.context import Context
from manor.workflows.resuming import resume_operation
from manor.workflows.rolling import Carrying


async def take_over(context: Context, name: str, carrying: Carrying) -> None:
    """Go on with the operations that nobody carries out and whose leases exclude the lease `name`; what fails is told.

    What was paused waits for a person, and what could not be ended stands in the way of whatever comes next. Raises FencedOff.
    """
    for operation in await find_orphans(context.store):
        if not exclude(operation.lease, name):
            continue

        def say(text: str, identifier: str = operation.id) -> None:
            carrying.tell(Event(What.SAID, context.store.clock.now(), identifier, text))

        say(f"{operation.verb} {operation.lease}, operation {operation.id}: nobody carries it out any more; it is gone on with first")
        try:
            await resume_operation(context, operation, carrying)
        except FencedOff:
            raise
        except ManorError as error:
            say(f"{operation.verb} {operation.lease}, operation {operation.id}: {error}")
