"""The hosted product: pure parts, and git's own reading of what it renders."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manor.errors import UsageError
from manor.execution.guard import Guard
from manor.execution.local import LocalRunner
from manor.execution.values import Command, HostPath
from manor.integrations.repositories.base import GitRequest, Pusher, RepositoryRules, Source
from manor.integrations.repositories.hosted import commands, parse, product, render
from manor.integrations.repositories.hosted.hooks import pre_receive
from manor.integrations.repositories.hosted.hooks.pre_receive import Update

OLD, NEW, ZERO = "a" * 40, "b" * 40, "0" * 40
PUSH = {"push"}
SOURCE = Source("shop", HostPath("/state/repositories/shop.git"))


@pytest.mark.parametrize(
    ("updates", "scopes", "is_ancestor", "words"),
    [
        ([Update(ZERO, NEW, "refs/heads/main")], PUSH, False, []),
        ([Update(OLD, NEW, "refs/heads/main")], PUSH, True, []),
        ([Update(OLD, NEW, "refs/heads/main")], PUSH, False, ["forced push would drop aaaaaaaaaaaa"]),
        ([Update(OLD, ZERO, "refs/heads/main")], PUSH, True, ["can't be deleted"]),
        ([Update(OLD, ZERO, "refs/heads/release/1")], PUSH, True, ["can't be deleted"]),
        ([Update(OLD, NEW, "refs/heads/side")], PUSH, False, []),
        ([Update(OLD, ZERO, "refs/heads/a;b")], PUSH, False, []),
        ([Update(ZERO, NEW, "refs/tags/v1")], PUSH, False, []),
        ([Update(ZERO, NEW, "refs/tags/$(reboot)")], PUSH, False, ["not a name"]),
        ([Update(ZERO, NEW, "refs/heads/ok"), Update(ZERO, NEW, "refs/pull/1")], PUSH, False, ["only branches and tags"]),
        ([Update(ZERO, NEW, "refs/heads/ok")], {"read"}, True, ["may not push"]),
        ([Update(ZERO, NEW, "refs/heads/ok")], {"admin"}, True, []),
        ([Update(ZERO, NEW, f"refs/heads/b{n}") for n in range(1001)], PUSH, True, ["1001 refs at once"]),
    ],
)
def test_judging(updates: list[Update], scopes: set[str], is_ancestor: bool, words: list[str]) -> None:
    found = pre_receive.problems(updates, ["main", "release/*"], scopes, lambda _old, _new: is_ancestor)
    assert len(found) == len(words)
    assert all(word in text for word, text in zip(words, found, strict=True))


@given(st.text(min_size=1, max_size=60))
def test_whatever_passes_as_a_branch_needs_no_quoting(name: str) -> None:
    if not pre_receive.name_problems(Update(ZERO, NEW, f"refs/heads/{name}")):
        assert name[0].isalnum()
        assert not set(name) & set(" \t\n\r\"'`$;&|<>(){}[]*?!\\~^:%")


def test_messages_show_names_as_data() -> None:
    [text] = pre_receive.problems([Update(ZERO, NEW, "refs/heads/\x1b[31m\n" + "x" * 500)], [], PUSH, lambda _o, _n: True)
    assert "\x1b" not in text
    assert "\n" not in text
    assert len(text) < 400


def test_backend_gets_a_clean_environment() -> None:
    headers = {"content-type": "application/x-git-upload-pack-request", "git-protocol": "version=2", "authorization": "Basic c2VjcmV0", "x-evil": "1"}
    program = product.backend(SOURCE, GitRequest("POST", "git-upload-pack", "", headers, "127.0.0.1"), Pusher("ann", frozenset({"push", "read"})))
    assert program.argv == ("git", "http-backend")
    assert program.env["PATH_INFO"] == "/shop.git/git-upload-pack"
    assert program.env["GIT_PROTOCOL"] == "version=2"
    assert program.env["GIT_CONFIG_NOSYSTEM"] == "1"
    assert program.env["MANOR_SCOPES"] == "push read"
    assert "CONTENT_LENGTH" not in program.env
    assert not any("c2VjcmV0" in value or "evil" in name.lower() for name, value in program.env.items())


@pytest.mark.parametrize("protocol", ["version=2\nGIT_DIR=/", "$(id)", "x" * 65, "VERSION=2"])
def test_strange_protocols_are_dropped(protocol: str) -> None:
    request = GitRequest("GET", "info/refs", "service=git-upload-pack", {"git-protocol": protocol}, "127.0.0.1")
    assert "GIT_PROTOCOL" not in product.backend(SOURCE, request, Pusher("ann", frozenset())).env


@pytest.mark.parametrize("commit", ["HEAD", "--output=/etc/passwd", "abc", "g" * 40, "A" * 40, ""])
def test_only_whole_commits_are_checked_out(commit: str) -> None:
    with pytest.raises(UsageError):
        commands.checkout(SOURCE.place, commit, HostPath("/x"))


def test_refs_and_history() -> None:
    assert parse.parse_refs(f"{OLD} refs/heads/main\n{NEW} refs/heads/a b\n") == {"refs/heads/main": OLD, "refs/heads/a b": NEW}
    assert parse.parse_history(f"{NEW}\n{OLD}\n") == (OLD, NEW)


def test_url() -> None:
    assert product.url(SOURCE, "http://127.0.0.1:7000/") == "http://127.0.0.1:7000/git/shop.git"


def test_the_same_rules_give_the_same_files() -> None:
    rules = RepositoryRules(protected=("main",), largest_push_bytes=5)
    assert render.files(SOURCE.place, rules) == render.files(SOURCE.place, rules)


@pytest.mark.native
async def test_git_reads_what_is_rendered_and_checks_out_a_commit(tmp_path: Path) -> None:
    runner = LocalRunner("controller", Guard("controller"))
    source = Source("shop", HostPath(tmp_path / "with space" / "shop.git"))
    (tmp_path / "with space").mkdir()
    for _ in range(2):
        for act in product.create(source, RepositoryRules(largest_push_bytes=12345)):
            await runner.carry_out(act)
    config = await runner.run(commands.git(source.place, "config", "--list"))
    assert {"receive.maxinputsize=12345", "core.fsync=all", "transfer.fsckobjects=true", "core.bare=true"} <= set(config.text.split())
    blob = (await runner.run(Command((*commands.git(source.place, "hash-object", "-w", "--stdin").argv,), stdin=b"hello"))).text.strip()
    made = await runner.run(Command((*commands.git(source.place, "mktree").argv,), stdin=f"100755 blob {blob}\tsay\n".encode()))
    who = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in (("NAME", "Ann"), ("EMAIL", "ann@acme.example"))}
    commit = (await runner.run(Command(commands.git(source.place, "commit-tree", "-m", "one", made.text.strip()).argv, env=who))).text.strip()
    await runner.run(Command(commands.git(source.place, "update-ref", "refs/heads/main", commit).argv, env=who))
    assert product.parse_refs(await runner.run(product.refs(source))) == {"refs/heads/main": commit}
    assert list(product.parse_history(await runner.run(product.history(source, "refs/heads/main")))) == [commit]
    folder = HostPath(tmp_path / "out" / "tree")
    for act in product.checkout(source, commit, folder):
        await runner.carry_out(act)
    assert Path(folder, "say").read_text() == "hello"
    assert Path(folder, "say").stat().st_mode & 0o111
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tree"]
    for act in product.housekeeping(source):
        await runner.carry_out(act)
    assert (await runner.run(commands.git(source.place, "fsck", "--full", "--strict"))).code == 0
