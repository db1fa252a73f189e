"""How long until it is decided what becomes of a rollout whose executor was killed: by `manor resume`, and by a running `manor serve`."""

from __future__ import annotations

import os
import signal
import sqlite3
import statistics
import time

from bench.results import Result
from bench.rollouts import ESTATE
from bench.stage import Stage, wait_for
from tests.e2e.estates import LiveEstate

GOAL_SECONDS = 5
KILLED_IN = ("warm", "drain")
"""Kinds of step in whose act the executor is killed: the new slot is being checked; the old one is being drained."""


def measure(stage: Stage) -> list[Result]:
    """Kill the executor in mid-rollout, again and again."""
    estate = stage.estate("crash", ESTATE.replace("rollouts", "crash"))
    releases = [str(one) for one in stage.artifacts(2)]
    estate.up()
    estate.run("ship", "echo", "--artifact", releases[0], "--commit", "c0")
    times = stage.choose(len(KILLED_IN), 1)
    resumed = [kill_and_resume(stage, estate, releases[(number + 1) % 2], KILLED_IN[number % 2]) for number in range(times)]
    begin = time.monotonic()
    estate.run("resume", "echo", "-e", "prod", ok=(2,))
    bare = time.monotonic() - begin
    serving = stage.program(estate.command("serve"), "serve", cwd=estate.folder)
    wait_for((estate.folder / ".manor" / "state" / "controller.json").exists, 30, "manor serve")
    adopted = [kill_and_wait(stage, estate, releases[(number + times + 1) % 2], KILLED_IN[number % 2]) for number in range(times)]
    assert serving.poll() is None, "manor serve ended"
    return [
        result("`manor resume` given at once", resumed, f"With the start of the command: one that finds nothing unfinished takes {bare:.2f} s."),
        result("a running `manor serve`, by itself", adopted, "It looks for orphans every 2 s."),
    ]


def result(who: str, seconds: list[float], note: str) -> Result:
    """Return the longest time."""
    return Result(
        benchmark="crash",
        name=f"decision after `kill -9` of the executor in mid-rollout, same machine: {who}",
        value=round(max(seconds), 2),
        unit="s",
        goal=f"< {GOAL_SECONDS} s",
        met=max(seconds) < GOAL_SECONDS,
        note=(
            f"The longest of {len(seconds)} kills (median {statistics.median(seconds):.2f} s) in the steps {' and '.join(KILLED_IN)}, "
            f"until the journal has the first entry under the next token; each rollout then ended as if nothing had happened. {note}"
        ),
    )


def kill_and_resume(stage: Stage, estate: LiveEstate, artifact: str, kind: str) -> float:
    """Kill in a step of that kind, resume at once; return seconds from the kill to the first entry of the successor."""
    killed, token = kill_in(estate, artifact, kind)
    estate.run("resume", "echo", "-e", "prod")
    return decided(stage, estate, killed, token)


def kill_and_wait(stage: Stage, estate: LiveEstate, artifact: str, kind: str) -> float:
    """Kill in a step of that kind, wait until the controller has brought it to its end; return likewise."""
    killed, token = kill_in(estate, artifact, kind)
    wait_for(lambda: ask(estate, "SELECT count(*) FROM operations WHERE state = 'done' AND token > ?", token) > 0, 90, "the controller")
    return decided(stage, estate, killed, token)


def kill_in(estate: LiveEstate, artifact: str, kind: str) -> tuple[float, int]:
    """Start a rollout and kill its executor when it has begun a step of that kind; return when (since 1970), and its token."""
    before = int(ask(estate, "SELECT coalesce(max(token), 0) FROM journal"))
    process = estate.start("ship", "echo", "--artifact", artifact, "--commit", "c1")
    steps = "journal JOIN steps ON steps.operation = journal.operation AND steps.seq = journal.seq"
    begun = f"SELECT count(*) FROM {steps} WHERE journal.token > ? AND kind LIKE ? AND event = 'intent'"
    wait_for(lambda: ask(estate, begun, before, f"%{kind}%") > 0, 60, f"a step of kind {kind}")
    killed = time.time()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return killed, int(ask(estate, "SELECT max(token) FROM journal"))


def decided(stage: Stage, estate: LiveEstate, killed: float, token: int) -> float:
    """Return seconds from the kill to the first entry under a newer token."""
    seconds = ask(estate, "SELECT min(at) FROM journal WHERE token > ?", token) - killed
    stage.say(f"decided after {seconds:.2f} s")
    return seconds


def ask(estate: LiveEstate, query: str, *values: object) -> float:
    """Return one number of the store, read beside whoever writes."""
    connection = sqlite3.connect(f"file:{estate.folder / '.manor' / 'state' / 'state.db'}?mode=ro", uri=True, timeout=5)
    try:
        (found,) = connection.execute(query, values).fetchone()
    finally:
        connection.close()
    return float(found)
