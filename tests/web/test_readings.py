"""The status page says of a release and of losses what is known, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from manor.state import deliveries, operations, releases
from manor.state.deliveries import Wish
from manor.state.operations import NewOperation
from manor.state.receipts import ReceiptRow, add
from manor.state.releases import Certification, Deployment, SlotRow
from manor.state.store import Connection, Store
from manor.state.words import DeliveryState, Slot, Standing, Traffic
from manor.web.readings import EnvironmentFacts, Readings, service_view

CASES = Path(__file__).parents[1] / "rollout" / "receipt" / "cases"
RELEASE = "7017c718fb88" + "0" * 52


def test_a_certified_release_is_found_by_its_whole_id(monkeypatch: pytest.MonkeyPatch) -> None:
    def standing_of(_connection: Connection, environment: str, service: str, release: str) -> Certification | None:
        return Certification(1, environment, service, release, Standing.CERTIFIED, "operation", "", 0.0) if release == RELEASE else None

    monkeypatch.setattr(releases, "standing_of", standing_of)
    deployed = Deployment("prod", "shop", "shop@web-1#1", "web-1", Slot.A, "operation", 0.0)
    slot = SlotRow("prod", "shop", "shop@web-1#1", Slot.A, RELEASE, Traffic.READY, "operation", 0.0)
    view = service_view(None, EnvironmentFacts("prod"), "shop", [deployed], [slot])  # type: ignore[arg-type] # nothing is read
    assert (view.state, view.release) == ("certified", RELEASE[:12])


@pytest.mark.parametrize(("case", "was_probed", "ended"), [("nothing_seen", False, "rolled_back"), ("rolling_nothing_lost", True, "certified")])
async def test_a_receipt_tells_how_it_ended_and_whether_anything_was_probed(tmp_path: Path, case: str, was_probed: bool, ended: str) -> None:
    body = (CASES / case / "receipt.json").read_text()
    with Store.open(tmp_path / "state") as store:
        store.write_now(add, ReceiptRow("20260131t090000-aaaaaa", "prod", "shop", "0123456789ab", 0, body, 1_769_850_000.0))
        (row,) = await Readings(store, "acme", []).receipts(10)
        assert (row.sent > 0) is was_probed
        assert row.state == ended


async def test_a_delivery_that_stopped_between_environments_asks_for_a_person(tmp_path: Path) -> None:
    with Store.open(tmp_path / "state") as store:
        row = store.write_now(deliveries.write_down, Wish("ship", "shop", "a" * 64, "dev", actor="ada"), at=1.0)
        assert (await Readings(store, "acme", []).status()).problems == ()
        store.write_now(deliveries.end, row.id, DeliveryState.PAUSED, "prod/shop is held", at=2.0)
        (problem,) = (await Readings(store, "acme", []).status()).problems
        assert problem == f"ship shop is paused at dev (prod/shop is held): `manor resume {row.id}`, or `manor abandon {row.id} --reason …`"


async def test_a_rollout_that_was_turned_round_says_why(tmp_path: Path) -> None:
    body = (CASES / "rolling_nothing_lost" / "receipt.json").read_text()
    with Store.open(tmp_path / "state") as store:
        for state, summary in (("rolled_back", "web-1 does not stay up"), ("certified", "done")):
            made = store.write_now(operations.create, NewOperation("ship", "prod", "shop", "ada"), at=1.0)
            store.write_now(lambda connection, made=made, summary=summary: operations.change(connection, made.id, summary=summary))  # type: ignore[misc]
            store.write_now(add, ReceiptRow(made.id, "prod", "shop", "0123456789ab", 0, body.replace('"certified"', f'"{state}"'), 2.0))
        rows = {row.state: row.why for row in await Readings(store, "acme", []).receipts(10)}
        assert rows == {"rolled_back": "web-1 does not stay up", "certified": ""}
