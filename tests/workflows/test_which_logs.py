"""Which logs a name means, and which of their lines are the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from manor.errors import UsageError
from manor.execution.base import Runner
from manor.execution.guard import Guard
from manor.execution.recording import RecordingRunner
from manor.execution.values import Act, Command, Completed, HostPath
from manor.state import releases
from manor.state.releases import SlotRow
from manor.state.words import Slot, Traffic
from manor.workflows.context import Context, open_context
from manor.workflows.log_lines import Line
from manor.workflows.logs import Reader, Source, Wanted, find_sources, last_lines
from tests.workflows.conftest import ESTATE


@pytest.fixture
def web(alone: Path, begin_state: Callable[[Path], Path]) -> Iterator[Context]:
    """An estate whose service has the name of a tier's role."""
    (alone / "estate.yaml").write_text(ESTATE.replace("shop:", "web:"))
    begin_state(alone / ".manor" / "state")
    with open_context(alone / "estate.yaml") as made:
        yield made


@pytest.mark.parametrize(
    ("wanted", "subjects"),
    [
        (Wanted("web"), {"service/web"}),
        (Wanted("web", slot="a"), {"service/web"}),
        (Wanted(tier="web"), {"tier"}),
        (Wanted("nginx"), {"tier"}),
        (Wanted(), {"service/web", "tier"}),
    ],
    ids=["service", "slot", "tier", "product", "all"],
)
def test_a_service_goes_before_a_tier(web: Context, wanted: Wanted, subjects: set[str]) -> None:
    found = {source.subject for source in find_sources(web.site("dev"), wanted)}
    assert {subject if subject.startswith("service") else subject.partition("/")[0] for subject in found} == subjects


def test_requests_of_a_service_are_in_the_first_tiers_log_and_of_a_tier_in_its_own(web: Context) -> None:
    site = web.site("dev")
    assert {(source.name[0], source.service) for source in find_sources(site, Wanted("web", access=True))} == {("0", "web")}
    (source,) = find_sources(site, Wanted(tier="web", access=True))
    assert "web" in source.name
    assert source.service == ""


def test_a_tier_that_there_is_not_is_refused(web: Context) -> None:
    with pytest.raises(UsageError, match="has no such log"):
        find_sources(web.site("dev"), Wanted(tier="shop"))


def test_which_slots_serve_is_known_from_the_store(web: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    row = SlotRow("dev", "web", "web@all-1#1", Slot.B, "r", Traffic.READY, "op", 0.0)
    monkeypatch.setattr(releases, "slots", lambda *_: [row])
    assert {source.name: source.is_serving for source in find_sources(web.site("dev"), Wanted("web"))} == {"web-a": False, "web-b": True}


def log(name: str, *times: float | None, is_serving: bool = False) -> tuple[Source, list[Line]]:
    """Return a log whose lines have these times."""
    source = Source("dev/all-1", name, HostPath("/log"), "service/web", cast(Runner, None), is_serving=is_serving)
    return source, [Line("dev/all-1", name, f"{name}{number}", time) for number, time in enumerate(times, 1)]


@pytest.mark.parametrize(
    ("logs", "shown"),
    [
        ([log("a", 1.0, 4.0), log("b", 2.0, 3.0)], "b2 a2"),
        ([log("a", None, 4.0), log("b", 2.0, 3.0)], "a1 a2"),
        ([log("a", 1.0, 2.0, 3.0), log("b", None, None, None)], "a2 a3 b2 b3"),
        ([log("a", None, None), log("b", None, None, None, is_serving=True)], "b2 b3 a1 a2"),
        ([log("a"), log("b", 1.0)], "b1"),
    ],
    ids=["by time", "before the first time", "of each", "serving slots first", "an empty one"],
)
def test_the_last_lines(logs: list[tuple[Source, list[Line]]], shown: str) -> None:
    assert " ".join(line.text for line in last_lines(logs, 2)) == shown
    assert last_lines(logs, 0) == []


async def test_a_log_that_is_renamed_while_its_files_are_listed_is_read_to_its_end() -> None:
    """The listing that falls into the rename knows only the new file."""
    log = "/srv/log/web-a.log"
    listings = iter([f"7 7 1 {log}", f"8 6 3 {log}", f"7 11 2 {log}.1\n8 6 3 {log}"])
    parts = {(log, "1", "7"): b"before\n", (f"{log}.1", "8", "4"): b"one\n", (log, "1", "6"): b"three\n"}

    def answer(act: Act) -> Completed:
        assert isinstance(act, Command)
        _, _, _, what, *words = map(str, act.argv)
        return Completed(0, next(listings).encode() if what == "list" else parts[words[0], words[1], words[2]])

    runner = RecordingRunner("prod/web-1", Guard("prod/web-1"))
    runner.reply("/bin/sh", answer)
    reader = Reader(Source("prod/web-1", "web-a", HostPath(log), "service/web", runner))
    assert [line.text for line in await reader.last(1)] == ["before"]
    assert [line.text for line in await reader.more()] == ["one", "three"]
