"""The status page says of a release and of losses what is known, and no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from manor.state import releases
from manor.state.receipts import ReceiptRow, add
from manor.state.releases import Certification, Deployment, SlotRow
from manor.state.store import Connection, Store
from manor.state.words import Slot, Standing, Traffic
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


@pytest.mark.parametrize(("case", "was_probed"), [("nothing_seen", False), ("rolling_nothing_lost", True)])
async def test_a_receipt_tells_whether_anything_was_probed(tmp_path: Path, case: str, was_probed: bool) -> None:
    body = (CASES / case / "receipt.json").read_text()
    with Store.open(tmp_path / "state") as store:
        store.write_now(add, ReceiptRow("20260131t090000-aaaaaa", "prod", "shop", "0123456789ab", 0, body, 1_769_850_000.0))
        (row,) = await Readings(store, "acme", []).receipts(10)
        assert (row.sent > 0) is was_probed
