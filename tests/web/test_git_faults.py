"""Huge, refused and interrupted pushes: the repository stays sound, memory bounded, and nothing acknowledged is without its run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web.serving import ADDRESS, Controller, Stall, children, commit, controller, end_group, git, head, refs, start_git, until, work_tree

pytestmark = pytest.mark.e2e


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Controller]:
    with controller(tmp_path / "state") as running:
        yield running


def peak_kilobytes(pid: int) -> int:
    """Return the most memory that a process has used."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


def quarantines(served: Controller) -> list[Path]:
    """Return what pushes under way, or interrupted ones, have left."""
    return list(served.repository.glob("objects/tmp_objdir-*"))


def backend_of(served: Controller) -> int:
    """Return the pid of the running git backend."""
    assert served.process
    found = children(served.process.pid)
    assert len(found) == 1
    return found[0]


def test_a_large_push_streams(own: Controller, tree: Path, tmp_path: Path) -> None:
    assert own.process
    git(tree, "push", "-o", "detach", own.url(), "main:warm")
    before = peak_kilobytes(own.process.pid)
    commit(tree, "large", megabytes=50)
    git(tree, "push", "-o", "detach", own.url(), "main")
    git(tmp_path, "clone", "--quiet", "--branch", "main", own.url(), "copy")
    assert (tmp_path / "copy" / "large").stat().st_size == 50_000_000
    assert peak_kilobytes(own.process.pid) - before < 16_000
    own.sound()


def test_a_push_over_the_limit_is_refused_cleanly(own: Controller, tree: Path) -> None:
    commit(tree, "too large", megabytes=70)
    refused = git(tree, "push", own.url(), "main", ok=False)
    assert refused.returncode == 1
    assert "pack exceeds maximum allowed size" in refused.stderr
    assert "unpacker error" in refused.stderr
    assert (refs(own.repository), quarantines(own), own.runs()) == ({}, [], {})
    own.sound()


def test_a_damaged_object_is_refused(own: Controller, tree: Path) -> None:
    blob = git(tree, "hash-object", "-w", "file").stdout.strip()
    tree_name = git(tree, "rev-parse", "HEAD^{tree}").stdout.strip()
    raw = f"tree {tree_name}\nauthor Ann <ann@acme.example> 1 +0000\ncommitter Ann <ann@acme.example 1 +0000\n\nbad\n"
    (tree / "raw").write_text(raw)
    bad = git(tree, "hash-object", "-t", "commit", "-w", "--literally", "raw").stdout.strip()
    refused = git(tree, "push", own.url(), f"{bad}:refs/heads/bad", ok=False)
    assert blob
    assert "fsck error" in refused.stderr
    assert refs(own.repository) == {}
    own.sound()


@pytest.fixture
def stalled(own: Controller, tree: Path) -> Iterator[tuple[Controller, object]]:
    """A push of 30 MB of which 10 MB have arrived."""
    git(tree, "push", "-o", "detach", own.url(), "main")
    commit(tree, "large", megabytes=30)
    way = Stall(own, 10_000_000)
    pusher = start_git(tree, "push", own.url().replace(f"{ADDRESS}:{own.port}", f"{ADDRESS}:{way.port}"), "main")
    try:
        assert way.has_stalled.wait(20)
        until(lambda: quarantines(own))
        yield own, pusher
    finally:
        if pusher.poll() is None:
            end_group(pusher)
        way.close()


def assert_nothing_happened(served: Controller, tree: Path) -> None:
    """Assert that only the first commit is there, and that the same push then succeeds."""
    assert refs(served.repository) == {"refs/heads/main": head(tree, "HEAD~1")}
    served.sound()
    git(tree, "push", "-o", "detach", served.url(), "main")
    assert refs(served.repository) == {"refs/heads/main": head(tree)}
    assert set(served.runs()) == {head(tree), head(tree, "HEAD~1")}
    served.sound()


def test_the_client_is_killed_in_mid_pack(stalled: tuple[Controller, object], tree: Path) -> None:
    served, pusher = stalled
    assert served.process
    end_group(pusher)  # type: ignore[arg-type]
    pid = served.process.pid
    until(lambda: not children(pid))
    assert quarantines(served) == []
    assert_nothing_happened(served, tree)


def test_the_backend_is_killed_in_mid_pack(stalled: tuple[Controller, object], tree: Path) -> None:
    served, pusher = stalled
    assert served.process
    os.killpg(backend_of(served), signal.SIGKILL)
    pid = served.process.pid
    until(lambda: not children(pid))
    assert_nothing_happened(served, tree)
    assert pusher


def test_the_controller_is_killed_in_mid_pack(stalled: tuple[Controller, object], tree: Path) -> None:
    served, _ = stalled
    backend = backend_of(served)
    served.stop(signal.SIGKILL)
    until(lambda: not Path(f"/proc/{backend}").exists())
    served.start()
    assert_nothing_happened(served, tree)


def test_the_controller_is_killed_between_the_ref_and_the_ledger(tmp_path: Path, tree: Path) -> None:
    with controller(tmp_path / "state", "deaf") as served:
        pusher = start_git(tree, "push", served.url(), "main")
        until(lambda: refs(served.repository).get("refs/heads/main") == head(tree))
        assert served.runs() == {}
        served.stop(signal.SIGKILL)
        pusher.communicate(timeout=60)
        served.start()
        until(lambda: head(tree) in served.runs())
        served.sound()


def test_a_ref_that_moved_without_us_is_a_run_within_seconds(own: Controller, tree: Path) -> None:
    git(tree, "push", "-o", "detach", own.url(), "main:side")
    git(own.repository, "update-ref", "refs/heads/main", head(tree))
    until(lambda: head(tree) in own.runs())


def test_a_stop_lets_go_of_pushers_that_watch(tmp_path: Path, tree: Path) -> None:
    with controller(tmp_path / "state", "patient") as served:
        pusher = start_git(tree, "push", served.url(), "main")
        until(lambda: head(tree) in served.runs())
        assert served.stop() == 0
        _, told = pusher.communicate(timeout=30)
        assert pusher.returncode == 0, told


def test_a_pusher_that_watches_keeps_nobody_from_pushing(tmp_path: Path, tree: Path) -> None:
    with controller(tmp_path / "state", "patient", "narrow") as served:
        watcher = start_git(tree, "push", served.url(), "main")
        try:
            until(lambda: head(tree) in served.runs())
            second = commit(tree, "second")
            git(tree, "push", "-o", "detach", served.url(), "main")
            assert refs(served.repository) == {"refs/heads/main": second}
            assert watcher.poll() is None, "it watches no more"
        finally:
            end_group(watcher)


def test_a_second_tree_is_unrelated(own: Controller, tree: Path, tmp_path: Path) -> None:
    git(tree, "push", "-o", "detach", own.url(), "main")
    other = work_tree(tmp_path / "other")
    commit(other, "unrelated")
    refused = git(other, "push", own.url(), "main", ok=False)
    assert refused.returncode == 1
    assert refs(own.repository) == {"refs/heads/main": head(tree)}
