"""git's own client pushes, clones and fetches, and is told what it may not do."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import httpx2
import pytest

from tests.web.serving import Controller, commit, controller, end_group, git, head, refs, start_git, until

pytestmark = pytest.mark.e2e


def test_a_push_has_its_run_and_the_pusher_sees_it(tmp_path: Path, tree: Path) -> None:
    with controller(tmp_path / "state") as served:
        done = git(tree, "push", served.url(), "main")
        run = served.runs()[head(tree)]
        assert f"remote: main {head(tree)[:12]}: run {run.id}" in done.stderr
        assert "goes on without you" in done.stderr
        assert (run.ref, run.actor, run.repository) == ("refs/heads/main", "first-admin", "shop")
        assert refs(served.repository) == {"refs/heads/main": head(tree)}
        served.sound()


def test_detached_push_returns_at_once(served: Controller, tree: Path) -> None:
    git(tree, "push", served.url(), "main:detached-base")
    began = time.monotonic()
    done = git(tree, "push", "-o", "detach", served.url(), "+main:main")
    assert time.monotonic() - began < 2.0
    assert "goes on without you" not in done.stderr
    assert head(tree) in served.runs()


@pytest.mark.parametrize("extra", [[], ["--depth=1"], ["--filter=blob:none"], ["-c", "protocol.version=0"], ["-c", "protocol.version=1"]])
def test_clone(served: Controller, tree: Path, tmp_path: Path, extra: list[str]) -> None:
    git(tree, "push", "-o", "detach", served.url(), "main:cloned", "--force")
    leading = extra if extra[:1] == ["-c"] else []
    git(tmp_path, *leading, "clone", *([] if leading else extra), "--branch", "cloned", served.url(served.token("read")), "copy")
    assert head(tmp_path / "copy") == head(tree)
    assert (tmp_path / "copy" / "file").read_text() == "one"


def test_fetch_of_what_is_new(served: Controller, tree: Path, tmp_path: Path) -> None:
    git(tree, "push", served.url(), "main:fetched")
    git(tmp_path, "clone", "--branch", "fetched", served.url(), "copy")
    for number in range(100):
        git(tree, "commit", "--quiet", "--allow-empty", "--message", f"c{number}")
    git(tree, "push", served.url(), "main:fetched")
    for number in range(60):  # so many of its own make the client compress its request
        git(tmp_path / "copy", "commit", "--quiet", "--allow-empty", "--message", f"own {number}")
    git(tmp_path / "copy", "fetch", "origin")
    assert head(tmp_path / "copy", "origin/fetched") == head(tree)


@pytest.mark.parametrize(
    ("user_info", "words"),
    [("", "Authentication failed|could not read"), ("any:wrong@", "Authentication failed"), ("wrong@", "Authentication failed|could not read")],
)
def test_without_a_valid_token(served: Controller, tree: Path, user_info: str, words: str) -> None:
    refused = git(tree, "push", served.url().replace(f"any:{served.admin}@", user_info), "main:x", ok=False)
    assert refused.returncode != 0
    assert any(word in refused.stderr for word in words.split("|"))


def test_a_revoked_token(served: Controller, tree: Path) -> None:
    token = served.token("push")
    git(tree, "push", served.url(token), "main:before-revocation")
    served.revoke(token)
    assert "Authentication failed" in git(tree, "push", served.url(token), "main:after-revocation", ok=False).stderr
    assert "refs/heads/after-revocation" not in refs(served.repository)


@pytest.mark.parametrize("scope", ["read", "ship"])
def test_a_token_without_the_scope_cannot_push(served: Controller, tree: Path, scope: str) -> None:
    refused = git(tree, "push", served.url(served.token(scope)), "main:unscoped", ok=False)
    assert "lacks the scope `push`" in refused.stderr
    assert "refs/heads/unscoped" not in refs(served.repository)


HOSTILE = ["$(reboot)", "a;b", 'x"y', "-f", "`id`", "a&b", "a|b", "a'b", "<b>", "ü", "a{b}", "a!b", "%2e%2e", "x" * 220]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_branch_names(served: Controller, tree: Path, name: str) -> None:
    before = refs(served.repository)
    refused = git(tree, "push", served.url(), f"HEAD:refs/heads/{name}", ok=False)
    assert refused.returncode == 1
    assert "not a name for a branch or tag here" in refused.stderr
    assert refs(served.repository) == before


@pytest.mark.parametrize("ref", ["refs/notes/x", "refs/manor/x", "refs/replace/x"])
def test_other_refs(served: Controller, tree: Path, ref: str) -> None:
    assert "only branches and tags are kept here" in git(tree, "push", served.url(), f"HEAD:{ref}", ok=False).stderr


@pytest.mark.parametrize("name", ["feature/one", "v1.2.3", "fix_4", "a+b", "release@2", "JIRA-7"])
def test_usual_branch_names(served: Controller, tree: Path, name: str) -> None:
    done = git(tree, "push", served.url(), f"HEAD:refs/heads/{name}")
    assert "kept; this branch is not delivered" in done.stderr


def test_a_protected_branch_only_moves_forward(tmp_path: Path, tree: Path) -> None:
    with controller(tmp_path / "state") as served:
        kept = commit(tree, "two")
        git(tree, "push", "-o", "detach", served.url(), "main")
        git(tree, "reset", "--quiet", "--hard", "HEAD~1")
        commit(tree, "another two")
        forced = git(tree, "push", "--force", served.url(), "main", ok=False)
        assert f"'main' is protected: a forced push would drop {kept[:12]}" in forced.stderr
        gone = git(tree, "push", served.url(), ":main", ok=False)
        assert "'main' is protected: it can't be deleted" in gone.stderr
        assert refs(served.repository) == {"refs/heads/main": kept}
        git(tree, "push", "--force", served.url(), "main:other")
        git(tree, "push", served.url(), ":other")
        assert refs(served.repository) == {"refs/heads/main": kept}
        served.sound()


def test_two_pushes_at_once(served: Controller, tree: Path, tmp_path: Path) -> None:
    git(tree, "push", "-o", "detach", served.url(), "main:raced", "--force")
    trees = [tmp_path / name for name in ("left", "right")]
    for each in trees:
        git(tmp_path, "clone", "--quiet", "--branch", "raced", served.url(), each.name)
        commit(each, each.name, megabytes=2)
    both = [start_git(each, "push", "origin", "raced") for each in trees]
    codes = sorted([pusher.wait(60) for pusher in both])
    for pusher in both:
        pusher.communicate()
    assert codes == [0, 1]
    assert refs(served.repository)["refs/heads/raced"] in {head(each) for each in trees}
    served.sound()


def test_every_commit_that_was_pushed_has_its_run_even_when_pushes_overtake_the_ledger(tmp_path: Path, tree: Path) -> None:
    with controller(tmp_path / "state", "deaf") as served:
        pushed = []
        for number in range(3):
            pushed.append(commit(tree, f"c{number}"))
            pusher = start_git(tree, "push", "-o", "detach", served.url(), "main")
            until(lambda: refs(served.repository).get("refs/heads/main") == pushed[-1])
            end_group(pusher)
        assert served.runs() == {}
        served.stop(signal.SIGKILL)
        served.start()
        until(lambda: set(pushed) <= set(served.runs()))


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/git/none.git/info/refs?service=git-upload-pack", 404),
        ("/git/..%2f..%2fetc.git/info/refs?service=git-upload-pack", 404),
        ("/git/%2e%2e.git/info/refs?service=git-upload-pack", 404),
        ("/git/shop.git/info/refs", 403),
        ("/git/shop.git/info/refs?service=git-upload-archive", 403),
        ("/git/shop.git/HEAD", 405),
        ("/git/shop.git/objects/info/packs", 405),
        ("/git/shop.git/../../token", 404),
    ],
)
def test_nothing_else_can_be_read(served: Controller, path: str, status: int) -> None:
    url = f"http://127.205.0.1:{served.port}{path}"
    answer = httpx2.get(url, auth=("any", served.admin))
    assert answer.status_code == status, answer.text
