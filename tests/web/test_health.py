"""What the status page says of health: nothing is called healthy that nobody saw to be so, and an outage can't be overlooked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from manor.state import releases
from manor.state.releases import Deployment, SlotRow
from manor.state.store import Store
from manor.state.words import Slot, Traffic
from manor.web.health import health_of, with_health
from manor.web.pages import Pages
from manor.web.readings import EnvironmentFacts, Readings
from manor.web.sessions import Sessions, session_key
from manor.web.tokens import token_check
from manor.web.views import EnvironmentView, Health, InstanceView, ServiceView, SlotView, StatusPage, Tone, slot_tone, slot_words
from manor.workflows.status import ServiceStatus, SlotStatus
from manor.workflows.watching import Seen

RELEASE = "7017c718fb88"
WELL = SlotStatus("web-1-a", "web-1", RELEASE, "ready", "ready", True, 0)
SICK, UNSURE, UNSEEN = replace(WELL, is_healthy=False), replace(WELL, is_healthy=None), replace(WELL, seen="", is_healthy=None)
IDLE = SlotStatus("web-1-b", "web-1", "", "none", "maint", None, 0)
OTHER = replace(WELL, server="web-2-a", host="web-2")
VIEW = ServiceView(name="shop", state="certified", instances=(InstanceView(host="web-1", slots=(SlotView(slot="a", traffic="serving"),)),))


def seen(*slots: SlotStatus, problem: str = "") -> Seen:
    """Return what was seen of a shop with these slots."""
    return Seen(1.0, (ServiceStatus("shop", RELEASE, slots, problem),), ("shop serves nowhere",))


@pytest.mark.parametrize(
    ("slots", "health"),
    [
        ((WELL, IDLE, OTHER), "well"),
        ((SICK, IDLE, OTHER), "degraded"),
        ((SICK, replace(OTHER, is_healthy=False)), "outage"),
        ((replace(WELL, seen="maint", is_healthy=None),), "outage"),
        ((UNSURE, OTHER), "unknown"),
        ((UNSEEN,), "unknown"),
    ],
)
def test_health_in_a_word(slots: tuple[SlotStatus, ...], health: Health) -> None:
    (status,) = seen(*slots).services
    assert health_of(status) == health


@pytest.mark.parametrize(("found", "health"), [(None, "unknown"), (Seen(1.0), "unknown"), (seen(WELL, problem="edge-2 is silent"), "degraded")])
def test_what_could_not_be_seen_is_not_called_well(found: Seen | None, health: Health) -> None:
    assert with_health(VIEW, found).health == health


def test_what_has_no_traffic_has_no_health() -> None:
    idle = ServiceView(name="shop", instances=(InstanceView(host="web-1", slots=(SlotView(slot="a", traffic="idle"),)),))
    assert with_health(idle, None) == idle


@pytest.mark.parametrize(
    ("is_healthy", "health", "tone", "words"),
    [
        (True, "well", "good", "serving · healthy"),
        (False, "outage", "bad", "serving · unhealthy"),
        (None, "unknown", "quiet", "serving · health not known"),
        (None, "", "good", "serving"),
    ],
)
def test_a_slot_that_serves_bears_its_health(is_healthy: bool | None, health: Health, tone: Tone, words: str) -> None:
    slot = SlotView(slot="a", traffic="serving", is_healthy=is_healthy)
    assert (slot_tone(slot, health), slot_words(slot, health)) == (tone, words)


async def test_an_outage_is_in_the_readings_and_at_the_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [SlotRow("prod", "shop", "shop@web-1#1", Slot.A, RELEASE, Traffic.READY, "op", 1.0)]
    monkeypatch.setattr(releases, "deployments", lambda *_: [Deployment("prod", "shop", "shop@web-1#1", "web-1", Slot.A, "op", 1.0)])
    monkeypatch.setattr(releases, "slots", lambda *_: rows)
    with Store.open(tmp_path / "state") as store:
        page = await Readings(store, "acme", [EnvironmentFacts("prod")], lambda: {"prod": seen(SICK)}).status()
    (service,) = page.environments[0].services
    assert (service.health, service.instances[0].slots[0].is_healthy) == ("outage", False)
    assert page.problems == ("prod: shop serves nowhere",)


def test_the_page_says_an_outage_in_red_and_in_words(tmp_path: Path) -> None:
    async def status() -> StatusPage:
        return StatusPage(estate="acme", at=1.0)

    with Store.open(tmp_path / "state") as store:
        pages = Pages(status, token_check(store), Sessions(session_key(tmp_path / "key")))
    down = with_health(VIEW, seen(SICK))
    page = StatusPage(estate="acme", at=1.0, environments=(EnvironmentView(name="prod", services=(down,)),))
    text = bytes(pages._render("status.html", page=page, who="ada", form_key="").body).decode()
    assert '<strong class="state bad">outage: nothing healthy serves</strong>' in text
    assert '<span class="state">certified</span>' in text
    assert 'class="slot bad"' in text
    assert "serving · unhealthy" in text
    assert "good" not in text.partition('<main id="main">')[2]
