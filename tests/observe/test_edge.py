"""What is counted, and what makes counts incomplete; on values and on real files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from manor.errors import ManorError, NotOurs
from manor.execution.guard import Guard, Manage
from manor.execution.local import LocalRunner
from manor.execution.values import Command, Completed, HostPath
from manor.observe import edge
from manor.observe.edge import EdgeCounts, LogFile, LogMark, Tally, missing_since, observe_edge, parse_files, restarts_within
from manor.observe.window import Window
from tests.observe.logs import line, parse

LOG = HostPath("/log/access.json")
OLD = HostPath("/log/access.json.1")
WINDOW = Window(100.0, 110.0)

TIER = "tier/0-router-haproxy"


def tallied(*lines: str) -> EdgeCounts:
    tally = Tally("shop", [WINDOW], parse)
    for each in lines:
        tally.take(each)
    return tally.counts(WINDOW)


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        (line(105), EdgeCounts(1, reached_slot=1)),
        (line(100, cache="hit", slot=""), EdgeCounts(1, cached=1)),
        (line(110), EdgeCounts()),
        (line(105, service="other"), EdgeCounts()),
        (line(105, status=503, upstream_status=None, slot=""), EdgeCounts(1, errors_without_upstream=1)),
        (line(105, status=500, upstream_status=500), EdgeCounts(1, errors_with_upstream=1, reached_slot=1)),
        (line(105, status=502, upstream_status=None, slot="", ended_by="us"), EdgeCounts(1, errors_without_upstream=1, ended_by_us=1)),
        (line(105, status=499, upstream_status=None, slot="", ended_by="client"), EdgeCounts(1, ended_by_client=1)),
        ("[notice] a tier's own message", EdgeCounts()),
        ('{"torn', EdgeCounts(incomplete=("1 lines not understood",))),
    ],
)
def test_each_line_counts_where_it_belongs(text: str, counts: EdgeCounts) -> None:
    assert tallied(text) == counts


def test_counts_of_several_hosts_add_up_with_their_reasons() -> None:
    both = EdgeCounts(1, 2, 3, 4, 5, 6, 7, ("x",)).plus(EdgeCounts(1, 1, 1, 1, 1, 1, 1, ("y",)))
    assert both == EdgeCounts(2, 3, 4, 5, 6, 7, 8, ("x", "y"))


CURRENT = LogFile(LOG, 1, 500, 100)
ROTATED = LogFile(OLD, 2, 900, 90)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([LogFile(LOG, 1, 600, 120), ROTATED], ""),
        ([LogFile(LOG, 3, 10, 130), LogFile(OLD, 1, 700, 120)], ""),
        ([LogFile(LOG, 3, 10, 130)], "rotated away"),
        ([LogFile(LOG, 1, 400, 130), ROTATED], "cut off"),
        ([LogFile(LOG, 1, 800, 130), LogFile(OLD, 4, 700, 120)], "cut off"),
    ],
    ids=["grew", "renamed", "rotated away", "truncated", "copied and truncated, and grown again"],
)
def test_what_happened_to_the_log_meanwhile(files: list[LogFile], reason: str) -> None:
    mark = edge.mark_of([CURRENT, ROTATED], LOG)
    assert mark == LogMark(1, 500, frozenset({1, 2}))
    assert missing_since(files, LOG, mark) == ((f"{LOG}: {reason} since the window began",) if reason else ())


def test_a_log_that_was_not_there_yet_misses_nothing() -> None:
    assert missing_since([CURRENT], LOG, edge.mark_of([], LOG)) == ()


def test_lists_of_files() -> None:
    listed = Completed(0, b"2 900 90 /log/access.json.1\n1 500 100 /log/access.json\n")
    assert parse_files(listed) == (ROTATED, CURRENT)
    assert edge.unreadable([LogFile(HostPath("/log/access.json.2.gz"), 9, 1, 1)]) == ("/log/access.json.2.gz: compressed, not read",)
    with pytest.raises(ManorError, match="not a list of files"):
        parse_files(Completed(0, b"what\n"))


def test_restarts_in_words() -> None:
    started = [("router on edge-1", 104.0), ("router on edge-2", 50.0), ("router on edge-3", None)]
    assert restarts_within(WINDOW, started) == ("router on edge-1: restarted 4 s into the window", "router on edge-3: not running")


@pytest.mark.native
async def test_a_window_is_found_in_a_long_log_across_a_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "CHUNK_BYTES", 5000)
    monkeypatch.setattr(edge, "LOOK_BYTES", 2000)
    base = 1_700_000_000
    log, old = tmp_path / "access.json", tmp_path / "access.json.1"
    old.write_text("".join(line(base + second) + "\n" for second in range(2000)))
    log.write_text("".join(line(base + second) + "\n" for second in range(2000, 2500)) + '{"not yet whol')
    os.utime(old, (base + 2000, base + 2000))
    os.utime(log, (base + 2500, base + 2500))
    runner = LocalRunner("prod/edge-1", Guard("prod/edge-1"))
    mark = await edge.mark_log(runner, HostPath(log), TIER)
    window = Window(base + 1950, base + 2100)
    commands = 0
    run = runner.run

    async def counting(command: Command) -> Completed:
        nonlocal commands
        commands += 1
        return await run(command)

    monkeypatch.setattr(runner, "run", counting)
    inside, before = await observe_edge(runner, HostPath(log), mark, parse, "shop", [window, window.before()], ("router: restarted",), subject=TIER)
    assert (inside.total, before.total) == (150, 150)
    assert inside.incomplete == ("router: restarted",)
    assert commands < 60, "most of the log was not read"


@pytest.mark.native
async def test_no_log_yet_counts_nothing(tmp_path: Path) -> None:
    runner = LocalRunner("prod/edge-1", Guard("prod/edge-1"))
    log = HostPath(tmp_path / "access.json")
    mark = await edge.mark_log(runner, log, TIER)
    assert await observe_edge(runner, log, mark, parse, "shop", [WINDOW], subject=TIER) == (EdgeCounts(),)


async def test_the_log_of_a_tier_that_is_never_touched_is_not_read() -> None:
    runner = LocalRunner("prod/edge-1", Guard("prod/edge-1", subjects={TIER: Manage.NEVER}))
    with pytest.raises(NotOurs, match="tier/0-router-haproxy: `manage: never`"):
        await edge.mark_log(runner, HostPath("/nowhere"), TIER)
    with pytest.raises(NotOurs, match="tier/0-router-haproxy: `manage: never`"):
        await observe_edge(runner, HostPath("/nowhere"), LogMark(), parse, "shop", [WINDOW], subject=TIER)
