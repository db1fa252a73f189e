"""What a backup holds comes back as it was, and nothing else is believed."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from manor.errors import Busy, ManorError, Refused, UsageError
from manor.state import audit, leases
from manor.state.backup import Entry, add_bytes, add_link_or_file, backup, restore
from manor.state.store import Store
from tests.operations.model import FakeClock, take

NEEDED = (
    "artifacts/d1.junit.xml",
    "estates/e1/estate.yaml",
    "probes/o1/config.json",
    "probes/o1/marks.json",
    "probes/o1/results.jsonl",
    "repositories/incoming-orders.git/HEAD",
    "repositories/incoming-orders.git/logs/refs/heads/incoming-fix",
    "repositories/incoming-orders.git/objects/cc/dd",
    "repositories/incoming-orders.git/refs/heads/incoming-fix",
    "repositories/incoming-orders.git/refs/heads/objects/incoming-fix",
    "repositories/incoming-orders.git/refs/heads/tmp_obj_/tmp_pack_",
    "runs/.outputs/d2.tar",
    "runs/r1/.source/.manor/pipeline.yaml",
    "runs/r1/.source/.removed/app.py",
    "runs/r1/.source/a/b/uv.lock",
    "runs/r1/build/1/log",
    "runs/r1/deliver.log",
)
"""What rows speak of, and what goes on from it: gates, receipts, runs that are done again, `manor run log`."""
LEFT_OUT = (
    ".removed/x",
    "artifacts/..removed.manor-1-1/d0.tar",
    "artifacts/.removed/d0.tar",
    "controller.json",
    "repositories/incoming-orders.git/index.lock",
    "repositories/incoming-orders.git/objects/aa/tmp_obj_x",
    "repositories/incoming-orders.git/objects/incoming-x/aa/bb",
    "repositories/incoming-orders.git/objects/pack/tmp_pack_x",
    "repositories/incoming-orders.git/objects/tmp_objdir-incoming-x/aa/bb",
    "runs/..removed.manor-1-1/x",
    "runs/.cache/shop/wheel",
    "runs/.removed/x",
    "runs/r1/build/1/home/x",
    "runs/r1/build/1/pid",
    "runs/r1/build/1/workspace/x",
    "web.key",
)


@pytest.fixture
def filled(store: Store) -> Store:
    store.write_now(audit.record, "ann", "ship", "prod/shop", at=1.0)
    (store.folder.artifacts / "d1.tar").write_bytes(b"artifact" * 1000)
    git = store.folder.repositories / "shop.git"
    for name, content in [
        ("HEAD", "ref: refs/heads/main"),
        ("refs/heads/main", "c1"),
        ("objects/aa/bb", "blob"),
        ("objects/tmp_obj_x", "half"),
        ("main.lock", ""),
    ]:
        (git / name).parent.mkdir(parents=True, exist_ok=True)
        (git / name).write_text(content)
    (git / "hooks").mkdir()
    (git / "hooks" / "pre-receive").symlink_to("../../hook")
    key = store.folder.ca / "authority.key"
    key.write_text("key")
    key.chmod(0o600)
    (store.folder.hosts / "live").write_text("not part of it")
    (git / "refs" / "tags").mkdir()
    for name in (*NEEDED, *LEFT_OUT):
        (store.folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        (store.folder.path / name).write_text(name)
    return store


def test_everything_comes_back(filled: Store, tmp_path: Path, clock: FakeClock) -> None:
    made = backup(filled, tmp_path / "b.tar")
    assert (tmp_path / "b.tar").stat().st_mode & 0o777 == 0o600
    names = [entry.path for entry in made.entries]
    assert names.index("repositories/shop.git/refs/heads/main") < names.index("repositories/shop.git/objects/aa/bb"), "a ref came after its objects"
    restore(tmp_path / "b.tar", tmp_path / "other", clock=clock)
    with Store.open(tmp_path / "other", clock) as other:
        assert other.state_id == filled.state_id == made.state_id
        assert [line.actor for line in other.read_now(audit.lines)] == ["ann"]
        assert (other.folder.artifacts / "d1.tar").read_bytes() == b"artifact" * 1000
        git = other.folder.repositories / "shop.git"
        assert sorted(path.relative_to(git).as_posix() for path in git.rglob("*") if not path.is_dir()) == [
            "HEAD",
            "hooks/pre-receive",
            "objects/aa/bb",
            "refs/heads/main",
        ]
        assert (git / "hooks" / "pre-receive").readlink() == Path("../../hook")
        assert (other.folder.ca / "authority.key").stat().st_mode & 0o777 == 0o600
        assert list(other.folder.hosts.iterdir()) == []
        assert [name for name in NEEDED if not (other.folder.path / name).is_file() or (other.folder.path / name).read_text() != name] == []
        assert [name for name in LEFT_OUT if (other.folder.path / name).exists()] == []
        assert (git / "refs" / "tags").is_dir(), "git knows no repository without its empty folders"
    assert not (tmp_path / "other" / "restoring").exists()


def test_tokens_go_on_above_those_given_out_since_the_backup(filled: Store, tmp_path: Path, clock: FakeClock) -> None:
    take(filled, "prod")
    backup(filled, tmp_path / "b.tar")
    restore(tmp_path / "b.tar", tmp_path / "other", clock=clock)
    with Store.open(tmp_path / "other", clock) as other:
        assert other.read_now(leases.standing) == ()
        assert take(other, "prod").token == int(clock.now()) + 1


def test_a_state_is_not_replaced_unless_told(filled: Store, tmp_path: Path) -> None:
    backup(filled, tmp_path / "b.tar")
    filled.write_now(audit.record, "bob", "later", "prod", at=2.0)
    filled.close()
    with pytest.raises(UsageError, match="holds a state already; `--replace`"):
        restore(tmp_path / "b.tar", filled.folder.path)
    restore(tmp_path / "b.tar", filled.folder.path, replace=True)
    with Store.open(filled.folder.path) as again:
        assert [line.actor for line in again.read_now(audit.lines)] == ["ann"]
        assert (again.folder.hosts / "live").exists(), "local hosts are not part of a backup"
    kept = filled.folder.path / "before-restore-1"
    with Store.open(kept) as old:
        assert [line.actor for line in old.read_now(audit.lines)] == ["ann", "bob"]


def test_a_state_that_is_open_is_not_replaced(filled: Store, tmp_path: Path) -> None:
    backup(filled, tmp_path / "b.tar")
    with pytest.raises(Busy, match="is open in another process"):
        restore(tmp_path / "b.tar", filled.folder.path, replace=True)


def rewrite(archive: Path, name: str, content: bytes) -> None:
    """Replace one member, as damage or an attacker would."""
    with tarfile.open(archive) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]
    with tarfile.open(archive, "w") as tar:
        for path, old in members.items():
            add_bytes(tar, path, content if path == name else old)


def test_damage_is_found_before_anything_is_touched(filled: Store, tmp_path: Path) -> None:
    backup(filled, tmp_path / "b.tar")
    rewrite(tmp_path / "b.tar", "artifacts/d1.tar", b"artifacu" * 1000)
    with pytest.raises(Refused, match=r"artifacts/d1\.tar is damaged"):
        restore(tmp_path / "b.tar", tmp_path / "other")
    assert not (tmp_path / "other" / "artifacts" / "d1.tar").exists()
    with Store.open(tmp_path / "other") as other:
        assert other.read_now(audit.lines) == ()


@pytest.mark.parametrize("path", ["../evil", "/tmp/evil", "hosts/prod/x", "artifacts/../../evil", "state.db-wal"])
def test_files_outside_are_refused(filled: Store, tmp_path: Path, path: str) -> None:
    backup(filled, tmp_path / "b.tar")
    with tarfile.open(tmp_path / "b.tar") as tar:
        manifest = json.load(tar.extractfile("manifest.json") or io.BytesIO())
    manifest["entries"].append({"path": path, "mode": 0o600, "size": 0, "sha256": "", "target": ""})
    rewrite(tmp_path / "b.tar", "manifest.json", json.dumps(manifest).encode())
    with pytest.raises(Refused, match="is no part of a state"):
        restore(tmp_path / "b.tar", tmp_path / "other")


def test_nothing_is_written_behind_a_link(filled: Store, tmp_path: Path) -> None:
    backup(filled, tmp_path / "b.tar")
    with tarfile.open(tmp_path / "b.tar") as tar:
        manifest = json.load(tar.extractfile("manifest.json") or io.BytesIO())
    manifest["entries"] += [{"path": "artifacts/out", "target": str(tmp_path)}, {"path": "artifacts/out/evil", "target": "x"}]
    rewrite(tmp_path / "b.tar", "manifest.json", json.dumps(manifest).encode())
    with pytest.raises(Refused, match="lies behind a link"):
        restore(tmp_path / "b.tar", tmp_path / "other")


def test_nothing_is_written_through_a_link_and_no_mode_gives_power(filled: Store, tmp_path: Path) -> None:
    backup(filled, tmp_path / "b.tar")
    (tmp_path / "victim").write_bytes(b"whole")
    with tarfile.open(tmp_path / "b.tar") as tar:
        manifest = json.load(tar.extractfile("manifest.json") or io.BytesIO())
    file = next(entry for entry in manifest["entries"] if entry["path"].startswith("artifacts/"))
    file["mode"] = 0o6777
    rewrite(tmp_path / "b.tar", "manifest.json", json.dumps(manifest).encode())
    restore(tmp_path / "b.tar", tmp_path / "one")
    assert (tmp_path / "one" / file["path"]).stat().st_mode & 0o7777 == 0o755
    manifest["entries"].insert(0, {"path": file["path"], "target": str(tmp_path / "victim")})
    rewrite(tmp_path / "b.tar", "manifest.json", json.dumps(manifest).encode())
    with pytest.raises(Refused, match="is listed twice"):
        restore(tmp_path / "b.tar", tmp_path / "two")
    assert (tmp_path / "victim").read_bytes() == b"whole"


@pytest.mark.parametrize("content", [b"", b"not a tar", b"\0" * 10240])
def test_what_is_no_backup_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "b.tar").write_bytes(content)
    with pytest.raises(Refused, match="not a sound backup"):
        restore(tmp_path / "b.tar", tmp_path / "other")


def test_what_is_repacked_during_the_backup_is_found_where_it_went(filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = filled.folder.repositories / "shop.git" / "objects"

    def repacking(tar: tarfile.TarFile, path: Path, name: str) -> Entry:
        if path.name == "bb":
            (objects / "pack").mkdir()
            (objects / "pack" / "p.pack").write_text("blob")
            path.unlink()
        return add_link_or_file(tar, path, name)

    monkeypatch.setattr("manor.state.backup.add_link_or_file", repacking)
    names = [entry.path for entry in backup(filled, tmp_path / "b.tar").entries]
    assert "repositories/shop.git/objects/pack/p.pack" in names
    assert "repositories/shop.git/objects/aa/bb" not in names


def test_a_backup_that_never_settles_says_so(filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def vanished(*_: object) -> Entry:
        raise FileNotFoundError

    monkeypatch.setattr("manor.state.backup.add_link_or_file", vanished)
    with pytest.raises(ManorError, match="kept changing during the backup"):
        backup(filled, tmp_path / "b.tar")


def test_a_backup_that_fails_leaves_no_half(filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("manor.state.backup.add_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        backup(filled, tmp_path / "b.tar")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state"]
    assert not list(filled.folder.path.glob("*.for-backup"))
