"""What the controller saw of the environments lately, for whoever asks and must not wait for hosts (docs/controller.md).

Invariant: reads only. An answer is what was seen, with its time; a look is bounded, and one that fails says why instead of what was seen before.
Invariant: one environment that can't be looked at, whatever the reason, hides no other; and no clock that is set makes an old look a new one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from manor.errors import ManorError
from manor.reconcile.site import Site
from manor.state import places
from manor.state.places import EnvironmentPlace, HostPlace
from manor.workflows.context import Context, has_place
from manor.workflows.needs import at_work, live_needs
from manor.workflows.status import ServiceStatus, environment_status

log = logging.getLogger(__name__)

REST_SECONDS = 30.0
"""So long after a look the next one comes, while nobody asks."""
ASKED_SECONDS = 60.0
"""Somebody who asked so lately is still there, and the next look comes at once."""
LOOK_SECONDS = 10.0
OLD_SECONDS = REST_SECONDS + LOOK_SECONDS + 20.0
"""What was seen so long ago says nothing of now."""

SiteKey = tuple[str, EnvironmentPlace | None, tuple[HostPlace, ...]]


@dataclass(frozen=True)
class Seen:
    """One environment as it was seen."""

    at: float
    """When, in seconds of a clock that nobody sets."""
    services: tuple[ServiceStatus, ...] = ()
    needs: tuple[str, ...] = ()
    """What of its hosts and services needs a person."""
    at_work: frozenset[str] = frozenset()
    """The services of which an operation is unfinished."""
    problem: str = ""
    """Why nothing was seen."""


@dataclass
class Watching:
    """Looks at environments now and then, and more often while somebody asks."""

    context: Callable[[], Context]
    _now: Callable[[], float] = time.monotonic
    _seen: dict[str, Seen] = field(default_factory=dict)
    _sites: dict[str, tuple[SiteKey, Site]] = field(default_factory=dict)
    _unforeseen: dict[str, str] = field(default_factory=dict)
    """What was last logged of each environment: it is said once, not at every look."""
    _asked_at: float = -math.inf
    _looked_at: float = -math.inf

    def seen(self) -> Mapping[str, Seen]:
        """Return what was seen last, by environment, unless it is too old to say anything; an environment that is not up is not in it."""
        self._asked_at = self._now()
        return {name: seen for name, seen in self._seen.items() if self._asked_at - seen.at <= OLD_SECONDS}

    async def look(self) -> None:
        """Look at every environment that is up, if it is time to."""
        now = self._now()
        if now - self._looked_at < REST_SECONDS and now - self._asked_at > ASKED_SECONDS:
            return
        self._looked_at = now
        context = self.context()
        names = [name for name in context.estate.environments if await has_place(context, name)]
        found = await asyncio.gather(*map(self._look_at, names))
        self._seen = dict(zip(names, found, strict=True))

    async def _look_at(self, name: str) -> Seen:
        """Look at one environment; that it can't be seen in time is an answer too."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                status = await environment_status(self.context(), name, await self._site(name))
        except TimeoutError:
            return Seen(self._now(), problem=f"{name} could not be looked at within {LOOK_SECONDS:.0f} s")
        except ManorError as error:
            return Seen(self._now(), problem=f"{name} could not be looked at: {error}")
        except Exception as error:  # noqa: BLE001 -- a product's answer that its parser does not know hides no other environment
            self._log(name, error)
            return Seen(self._now(), problem=f"{name} could not be looked at: something unforeseen happened; it is in the controller's log")
        self._unforeseen.pop(name, None)
        return Seen(self._now(), status.services, live_needs(status), at_work(status))

    async def _site(self, name: str) -> Site:
        """Return an environment's site; it is worked out anew only when the estate or its addresses changed."""
        context = self.context()
        place, hosts = await context.store.read(places.find_environment, name), await context.store.read(places.hosts, name)
        key, (known, site) = (context.estate.digest, place, hosts), self._sites.get(name, (None, None))
        if known != key or site is None:
            site = context.site(name)
            self._sites[name] = (key, site)
        return site

    def _log(self, name: str, error: Exception) -> None:
        """Write into the log what nobody foresaw, with its trace, unless it is there already."""
        if self._unforeseen.get(name) == (told := repr(error)):
            return
        self._unforeseen[name] = told
        way = f"see whether `manor status -e {name}` says the same, and report it with these lines; until then its health is not known"
        log.error("%s could not be looked at: %s; %s", name, told, way, exc_info=error)
