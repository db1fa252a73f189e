"""A real supervisord under a test's folder: what it does when it, or what it runs, is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.integrations.supervisors.base import Program, ProgramStatus
from manor.integrations.supervisors.supervisor import product
from manor.reconcile.desired import DesiredHost, Material, base_files
from manor.reconcile.supervising import end_program
from manor.state.clock import SystemClock
from tests.integrations.supervisors.supervisor.acting import WRAPPER, Host, is_alive, local_host, marked, run, until
from tests.integrations.supervisors.supervisor.support import host_of

pytestmark = pytest.mark.native

RUNNING, STOPPED, FAILED = ProgramStatus.RUNNING, ProgramStatus.STOPPED, ProgramStatus.FAILED


@pytest.fixture
def host() -> Iterator[Host]:
    with tempfile.TemporaryDirectory(prefix="mw") as folder, local_host(host_of(Path(folder))) as made:
        yield made


def program(host: Host, name: str, script: str, **changes: object) -> Program:
    plain = Program(name, ("sh", "-c", script), f"service/{name}", host.declared.layout.program_log(name), stop_seconds=5.0)
    return replace(plain, **changes)  # type: ignore[arg-type]


def slot(host: Host, name: str, script: str = "exec sleep 60") -> Program:
    return program(host, name, script, wanted=host.declared.layout.root / f"{name}.wanted")


def test_its_own_parser_accepts_what_we_render_and_refuses_what_is_wrong(host: Host) -> None:
    host.write(program(host, "one", "exit 0"))
    etc = host.declared.layout.supervisor
    assert product.parse_check(run(product.check(host.declared, etc))) == ()
    with Path(etc / "supervisord.conf").open("a") as file:
        file.write("[program:two]\npriority = 1\n")
    (complaint,) = product.parse_check(run(product.check(host.declared, etc)))
    assert complaint.startswith("program section program:two does not specify a command")
    with Path(etc / "supervisord.conf").open("a") as file:
        file.write("not an ini line\n")
    assert len(product.parse_check(run(product.check(host.declared, etc)))) >= 1


def test_idle_slots_stay_down_crashed_programs_come_back_and_a_second_supervisord_is_refused(host: Host) -> None:
    host.write(program(host, "tier", "exec sleep 60"), slot(host, "idle"), program(host, "ends-well", "sleep 0.3"))
    pid = host.start()
    again = run(product.start(host.declared))
    assert (again.code, b"Another program is already listening" in again.err + again.out) == (2, True)
    assert product.parse_pid(host.carry_out(product.pid(host.declared))) == pid
    first = host.wait_for("tier", RUNNING)
    assert host.wait_for("idle", STOPPED).pid is None
    os.kill(first.pid or 0, signal.SIGKILL)
    assert until(lambda: (host.views()["tier"].pid or 0) not in {0, first.pid})
    ended = host.wait_for("ends-well", RUNNING)
    assert until(lambda: (host.views()["ends-well"].pid or 0) not in {0, ended.pid}), "a program without `wanted` runs always"
    socket = Path(host.declared.layout.sockets / "supervisor.sock")
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700


def test_a_slot_starts_when_wanted_and_stops_when_told(host: Host) -> None:
    host.write(slot(host, "shop-a"))
    host.start()
    host.wait_for("shop-a", STOPPED)
    Path(host.declared.layout.root / "shop-a.wanted").touch()
    host.carry_out(product.start_program(host.declared, "shop-a"))
    host.carry_out(product.start_program(host.declared, "shop-a"))
    (pid,) = until(lambda: marked(host.declared.layout.instance_mark("shop-a")))
    assert host.wait_for("shop-a", RUNNING).pid == pid
    host.carry_out(product.stop_program(host.declared, "shop-a", 10))
    assert not is_alive(pid)
    host.carry_out(product.stop_program(host.declared, "shop-a", 10))
    assert host.views()["shop-a"].status is STOPPED


def test_a_crash_loop_is_paced(host: Host) -> None:
    host.write(program(host, "loops", "echo began; exit 3"))
    host.start()
    time.sleep(2.5)
    began = Path(host.declared.layout.program_log("loops")).read_text().count("began")
    assert 2 <= began <= 4


def test_what_does_not_heed_the_stop_signal_is_killed_with_its_children(host: Host) -> None:
    stubborn = program(host, "stubborn", 'trap "" TERM; sleep 61 & while :; do sleep 62; done', stop_seconds=1.0)
    host.write(stubborn)
    host.start()
    mark = host.declared.layout.instance_mark("stubborn")
    pids = until(lambda: found if len(found := marked(mark)) == 3 else None)
    began = time.monotonic()
    host.carry_out(product.stop_program(host.declared, "stubborn", 10))
    assert 1.0 <= time.monotonic() - began < 5
    assert until(lambda: not any(is_alive(pid) for pid in pids))


def test_killed_supervisord_leaves_its_programs_and_the_next_one_takes_them_over(host: Host) -> None:
    host.write(program(host, "tier", "exec sleep 60"))
    supervisord = host.start()
    (orphan,) = until(lambda: marked(host.declared.layout.instance_mark("tier")))
    os.kill(supervisord, signal.SIGKILL)
    until(lambda: not is_alive(supervisord))
    assert is_alive(orphan)
    assert host.start() != supervisord
    log = Path(host.declared.layout.program_log("tier"))
    assert until(lambda: "waiting for its end" in log.read_text())
    assert host.views()["tier"].status is RUNNING
    assert marked(host.declared.layout.instance_mark("tier")) == [orphan], "nothing was started beside it"
    host.carry_out(product.stop_program(host.declared, "tier", 10))
    assert until(lambda: not is_alive(orphan))


def test_update_touches_only_what_changed(host: Host) -> None:
    stays, goes, changes = program(host, "stays", "exec sleep 60"), program(host, "goes", "exec sleep 60"), program(host, "changes", "exec sleep 60")
    host.write(changes, goes, stays)
    host.start()
    before = {name: host.wait_for(name, RUNNING).pid for name in ("stays", "goes", "changes")}
    host.write(replace(changes, argv=("sleep", "59")), program(host, "comes", "exec sleep 60"), stays)
    for _ in range(2):  # the second time nothing is left to do but a restart of what is named as changed
        for act in product.update(host.declared, ("comes",), ("changes",), ("goes",)):
            host.carry_out(act)
    host.wait_for("comes", RUNNING)
    assert host.wait_for("changes", RUNNING).pid != before["changes"]
    views = host.views()
    assert sorted(views) == ["changes", "comes", "stays"]
    assert views["stays"].pid == before["stays"]
    assert not is_alive(before["goes"] or 0)


def test_stop_ends_everything(host: Host) -> None:
    host.write(program(host, "tier", "exec sleep 60"), slot(host, "idle"))
    supervisord = host.start()
    pid = host.wait_for("tier", RUNNING).pid or 0
    host.stop()
    assert not is_alive(pid)
    assert until(lambda: not is_alive(supervisord))
    assert not Path(host.declared.layout.sockets / "supervisor.sock").exists()


def test_a_missing_wrapper_reads_as_failed(host: Host) -> None:
    host.write(program(host, "tier", "exit 0"))
    Path(host.declared.layout.exec).unlink()
    host.start()
    assert "can't find command" in host.wait_for("tier", FAILED).detail


def test_a_slot_that_is_no_longer_wanted_when_supervisord_comes_back_can_still_be_stopped(host: Host) -> None:
    wanted = Path(host.declared.layout.root / "shop-a.wanted")
    wanted.touch()
    host.write(slot(host, "shop-a"))
    supervisord = host.start()
    (orphan,) = until(lambda: marked(host.declared.layout.instance_mark("shop-a")))
    os.kill(supervisord, signal.SIGKILL)
    until(lambda: not is_alive(supervisord))
    wanted.unlink()
    host.start()
    log = Path(host.declared.layout.program_log("shop-a"))
    assert until(lambda: "waiting for its end" in log.read_text())
    host.carry_out(product.stop_program(host.declared, "shop-a", 10))
    assert until(lambda: not is_alive(orphan))
    assert host.wait_for("shop-a", STOPPED).pid is None


@pytest.mark.parametrize("after", [0.05, 0.5, 1.02, 1.06, 1.1, 1.3, 1.9])
async def test_a_slot_that_crashes_again_and_again_stays_stopped_whenever_it_is_told(host: Host, after: float) -> None:
    host.write(slot(host, "loops", "exit 3"))
    host.start()
    wanted = Path(host.declared.layout.root / "loops.wanted")
    wanted.touch()
    host.carry_out(product.start_program(host.declared, "loops"))
    await asyncio.sleep(after)
    wanted.unlink()
    layout = host.declared.layout
    whole = DesiredHost("web-1", layout, base_files(layout, Material(WRAPPER.read_bytes(), {}), "web-1"), (), host.declared, product, ())
    await end_program(whole, LocalRunner("prod/web-1", Guard("prod/web-1")), "loops", 5.0, SystemClock())
    for _ in range(15):
        assert host.views()["loops"].status is STOPPED
        await asyncio.sleep(0.1)
