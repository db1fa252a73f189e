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
from manor.web.views import EnvironmentView, InstanceView, ServiceView, SlotView, StatusPage, Tone, slot_tone, slot_words
from manor.workflows.health import Health, SeenAt
from manor.workflows.needs import service_needs
from manor.workflows.status import ServiceStatus, SlotStatus, slot_status
from manor.workflows.watching import Seen

RELEASE = "7017c718fb88"
UP, DOWN, UNSURE, DRAIN, OUT = ("ready", True), ("ready", False), ("ready", None), ("drain", True), ("maint", None)


def slot(*edges: tuple[str, bool | None], name: str = "web-1-a") -> SlotStatus:
    """Return a slot that is to serve, as edge-1, edge-2, … treat it."""
    at = tuple(SeenAt(f"edge-{number}", *said) for number, said in enumerate(edges, 1))
    return slot_status(name, name[:-2], SlotRow("prod", "shop", f"shop@{name[:-2]}#1", Slot(name[-1]), RELEASE, Traffic.READY, "op", 1.0), at)


WELL, SICK, OTHER = slot(UP), slot(DOWN), slot(UP, name="web-2-a")
IDLE = replace(slot(OUT, name="web-1-b"), remembered="none")
VIEW = ServiceView(name="shop", state="certified", instances=(InstanceView(host="web-1", slots=(SlotView(slot="a", traffic="serving"),)),))


def seen(*slots: SlotStatus, problem: str = "") -> Seen:
    """Return what was seen of a shop with these slots."""
    return Seen(1.0, (ServiceStatus("shop", RELEASE, slots, problem),), ("shop serves nowhere",))


@pytest.mark.parametrize(
    ("slots", "health"),
    [
        ((WELL, IDLE, OTHER), "well"),
        ((SICK, IDLE, OTHER), "degraded"),
        ((SICK, slot(DOWN, name="web-2-a")), "outage"),
        ((slot(OUT),), "outage"),
        ((slot(UNSURE), OTHER), "unknown"),
        ((slot(),), "unknown"),
        ((slot(DRAIN, UP),), "partial"),
        ((slot(DOWN, UP),), "partial"),
        ((slot(DOWN, UP), slot(UP, UP, name="web-2-a")), "degraded"),
        ((slot(DRAIN, UP), slot(UP, DRAIN, name="web-2-a")), "well"),
        ((slot(DOWN, DRAIN),), "outage"),
        ((slot(DOWN, UNSURE),), "partial"),
    ],
)
def test_health_in_a_word(slots: tuple[SlotStatus, ...], health: Health) -> None:
    (status,) = seen(*slots).services
    assert health_of(status, is_at_work=False) == health


@pytest.mark.parametrize(("certified", "is_at_work", "health"), [(RELEASE, False, "outage"), (RELEASE, True, ""), ("", False, "")])
def test_what_is_not_to_serve_has_no_outage(certified: str, is_at_work: bool, health: Health) -> None:
    status = ServiceStatus("shop", certified, (IDLE,))
    assert health_of(status, is_at_work=is_at_work) == health
    needs = tuple(service_needs("prod", status, is_at_work=is_at_work))
    assert any("serves nowhere" in need for need in needs) is (health == "outage"), "the page and `manor status` say the same"


def test_a_slot_on_which_balancers_disagree_says_who_says_what() -> None:
    view = with_health(VIEW, seen(slot(DOWN, UP)))
    shown = view.instances[0].slots[0]
    assert (shown.is_healthy, shown.is_disputed, shown.detail) == (None, True, "unhealthy to edge-1, healthy to edge-2")
    assert (slot_tone(shown, view.health), slot_words(shown, view.health)) == ("bad", "serving · balancers disagree")


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


@pytest.mark.parametrize(
    ("found", "words"),
    [(SICK, "outage: nothing healthy serves"), (slot(DOWN, UP), "outage in part: not every balancer has something healthy")],
    ids=["outage", "partial"],
)
def test_the_page_says_an_outage_in_red_and_in_words(tmp_path: Path, found: SlotStatus, words: str) -> None:
    async def status() -> StatusPage:
        return StatusPage(estate="acme", at=1.0)

    with Store.open(tmp_path / "state") as store:
        pages = Pages(status, token_check(store), Sessions(session_key(tmp_path / "key")))
    down = with_health(VIEW, seen(found))
    page = StatusPage(estate="acme", at=1.0, environments=(EnvironmentView(name="prod", services=(down,)),))
    text = bytes(pages._render("status.html", page=page, who="ada", form_key="").body).decode()
    assert f'<strong class="state bad">{words}</strong>' in text
    assert '<span class="state">certified</span>' in text
    assert 'class="slot bad"' in text
    assert f"serving · {'unhealthy' if found is SICK else 'balancers disagree'}" in text
    assert "good" not in text.partition('<main id="main">')[2]
