"""What a killed test run left is ended by the next one; a living run's estates, and people who look into a dead one's, are left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.estates import ROOT, wait_until
from tests.e2e.sweeping import marked, sweep

RUN = """\
import os, subprocess, sys, time
from pathlib import Path
from tests.e2e.sweeping import Run
folder = Path(sys.argv[2])
Run(Path(sys.argv[1])).note(folder, {})
mark = {**os.environ, "MANOR_INSTANCE": f"{folder}/.manor/state/hosts/dev/all-1:echo-a"}
child = subprocess.Popen(["sleep", "300"], env=mark, start_new_session=True)
print(child.pid, flush=True)
time.sleep(300)
"""
UP = """\
import sys, time
from pathlib import Path
from tests.e2e import estates
from tests.e2e.sweeping import Run
estates.THIS_RUN = Run(Path(sys.argv[1]))
made = estates.LiveEstate(Path(sys.argv[2]), Path(sys.argv[3]).read_text(), {"MANOR_MACHINE_FILE": sys.argv[4]})
made.up()
print("up", flush=True)
time.sleep(300)
"""
ESTATE = """\
estate: left
services:
  echo:
    run: {command: "python3 -m echo --bind {address}:{port}", port: 8300}
    health: {http: /healthz}
    routes: [{host: echo}]
traffic: {chain: [{balancer: haproxy}, {web: nginx}]}
environments: {dev: {}}
"""


@contextmanager
def a_run(code: str, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start another test run; return it and its first word."""
    environ = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), *words], env=environ, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait(10)
        if process.stdout:
            process.stdout.close()


def is_alive(pid: str) -> bool:
    """Tell whether a process lives and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_only_what_a_dead_run_left_is_ended(tmp_path: Path) -> None:
    lists, dead, living = tmp_path / "lists", tmp_path / "estate1", tmp_path / "estate10"
    for folder in (dead, living):
        folder.mkdir()
    with a_run(RUN, str(lists), str(dead)) as (killed, left), a_run(RUN, str(lists), str(living)) as (_, other):
        looking = subprocess.Popen(["tail", "-f", str(dead / "estate.log")], cwd=dead, stderr=subprocess.DEVNULL)
        (dead / "estate.log").touch()
        try:
            assert sweep(lists) == []
            assert is_alive(left)
            killed.kill()
            killed.wait(10)
            assert is_alive(left), "it would not have outlived its run"
            assert sweep(lists) == [str(dead)]
            assert not is_alive(left)
            assert is_alive(other), "a living run's was ended"
            assert looking.poll() is None, "a person's was ended"
            assert len(list(lists.glob("*.json"))) == 1
        finally:
            looking.kill()
            looking.wait(10)
            for pid in marked(living):
                os.kill(pid, 9)
    assert sweep(lists) == [str(living)]


def test_an_estate_that_was_left_up_is_taken_down(tmp_path: Path) -> None:
    lists, folder, machine = tmp_path / "lists", tmp_path / "estate", tmp_path / "machine"
    (tmp_path / "text").write_text(ESTATE)
    machine.write_text(json.dumps({str(tmp_path): {"network": 199, "fronts": list(range(160))}}))
    with a_run(UP, str(lists), str(folder), str(tmp_path / "text"), str(machine)) as (killed, said):
        assert said == "up"
        killed.kill()
        killed.wait(10)
        assert len(list(marked(folder))) >= 3, "supervisor and both tiers"
        assert sweep(lists) == [str(folder)]
    wait_until(lambda: not list(marked(folder)), 10, "the end of what was left")
    assert str(folder) not in machine.read_text()
