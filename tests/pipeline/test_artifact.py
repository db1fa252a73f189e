"""The same files make the same artifact; what is hostile or broken is refused and leaves nothing."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import py_compile
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from manor.errors import ApplyFailed, ManorError, Refused, UsageError
from manor.pipeline import artifact, packing
from manor.pipeline.artifact import About, artifact_path, build, keep_handed_in, platform_of, record, workspace_entries
from manor.pipeline.definition import ArtifactPart
from manor.pipeline.packing import Limits, folder_entries
from manor.state import releases
from tests.pipeline.bench import Bench

ABOUT = About("shop", "c" * 40)


def tree(folder: Path) -> Path:
    """Write a small release."""
    (folder / "lib" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "lib" / "a.py").write_text("print(1)\n")
    (folder / "lib" / "deep" / "ü b.txt").write_bytes(os.urandom(0) + b"x" * 5000)
    (folder / "start").write_text("#!/bin/sh\n")
    (folder / "start").chmod(0o700)
    (folder / "link").symlink_to("lib/a.py")
    (folder / ("n" * 120)).mkdir()
    (folder / ("n" * 120) / ("m" * 120)).write_text("long name")
    return folder


def build_from(folder: Path, store: Path, limits: Limits = Limits()) -> artifact.Built:  # noqa: B008
    store.mkdir(exist_ok=True)
    return build(store, folder_entries(folder), ABOUT, limits)


def test_the_same_tree_in_another_folder_at_another_time_has_the_same_digest(tmp_path: Path) -> None:
    one, two = tree(tmp_path / "one"), tree(tmp_path / "elsewhere" / "two")
    for path in two.rglob("*"):
        os.utime(path, (1, 1), follow_symlinks=False)
    (two / "lib" / "a.py").chmod(0o600)
    first, second = build_from(one, tmp_path / "s1"), build_from(two, tmp_path / "s2")
    assert first.digest == second.digest
    assert hashlib.sha256(first.path.read_bytes()).hexdigest() == first.digest
    assert [path.name for path in (tmp_path / "s1").iterdir()] == [f"{first.digest}.tar"]


def test_what_is_in_it(tmp_path: Path) -> None:
    built = build_from(tree(tmp_path / "one"), tmp_path / "s")
    with tarfile.open(built.path) as tar:
        members = {member.name: member for member in tar}
        manifest = tar.extractfile(".manor/manifest.json")
        assert manifest is not None
        said = json.loads(manifest.read())
    assert list(members) == sorted(members)
    assert {(member.mtime, member.uid, member.gid, member.uname, member.gname) for member in members.values()} == {(0, 0, 0, "", "")}
    assert {name: oct(members[name].mode) for name in ("lib/a.py", "start", "empty")} == {"lib/a.py": "0o644", "start": "0o755", "empty": "0o755"}
    assert members["link"].linkname == "lib/a.py"
    assert (said["service"], said["commit"], said["platform"]) == ("shop", "c" * 40, "any")
    assert said["files"]["lib/a.py"] == {"sha256": hashlib.sha256(b"print(1)\n").hexdigest(), "size": 9}
    assert said["files"]["link"] == {"link": "lib/a.py"}
    assert built.manifest == json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"


def test_other_content_mode_name_or_commit_is_another_artifact(tmp_path: Path) -> None:
    digests = {build_from(tree(tmp_path / "same"), tmp_path / "s").digest}
    changes: list[Callable[[Path], object]] = [
        lambda f: (f / "start").chmod(0o600),
        lambda f: (f / "new").touch(),
        lambda f: (f / "lib/a.py").write_text("print(2)\n"),
    ]
    for number, change in enumerate(changes):
        folder = tree(tmp_path / str(number))
        change(folder)
        digests.add(build_from(folder, tmp_path / "s").digest)
    digests.add(build(tmp_path / "s", folder_entries(tmp_path / "same"), About("shop", "d" * 40)).digest)
    assert len(digests) == 5


@pytest.mark.parametrize(
    ("paths", "platform"),
    [
        (["a.py", "b.txt"], "any"),
        (["lib/x.cpython-311-x86_64-linux-gnu.so"], "linux-x86_64-cpython-311"),
        (["lib/x.abi3.so", "lib/libz.so.1.2"], "linux-x86_64"),
    ],
)
def test_the_platform_is_told_from_the_files(paths: list[str], platform: str) -> None:
    assert platform_of(paths, os.uname_result(("Linux", "h", "6", "1", "x86_64"))) == platform


def test_compiled_python_is_kept_only_if_it_does_not_hang_on_times(tmp_path: Path) -> None:
    source = tmp_path / "tree" / "a.py"
    source.parent.mkdir()
    source.write_text("x = 1\n")
    py_compile.compile(str(source), str(tmp_path / "tree" / "timed.pyc"), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
    py_compile.compile(str(source), str(tmp_path / "tree" / "hashed.pyc"), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    assert [entry.path for entry in folder_entries(source.parent)] == ["a.py", "hashed.pyc"]


def test_a_part_of_a_workspace(tmp_path: Path) -> None:
    tree(tmp_path / "w")
    (tmp_path / "w" / ".git").mkdir()
    (tmp_path / "w" / ".git" / "config").touch()
    part = ArtifactPart.model_validate({"exclude": ["n*"]})
    assert [entry.path for entry in workspace_entries(tmp_path / "w", part)] == ["empty", "lib/a.py", "lib/deep/ü b.txt", "link", "start"]
    part = ArtifactPart.model_validate({"from": "lib"})
    assert [entry.path for entry in workspace_entries(tmp_path / "w", part)] == ["a.py", "deep/ü b.txt"]
    with pytest.raises(Refused, match="there is no folder public"):
        workspace_entries(tmp_path / "w", ArtifactPart.model_validate({"from": "public"}))


def venv(folder: Path) -> None:
    (folder / "env").mkdir()
    (folder / "env" / "pyvenv.cfg").touch()


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "virtual environment": (venv, "marks a virtual environment, which works only where it was made; install with `pip install --target lib` instead"),
    "link outside":        (lambda f: (f / "x").symlink_to("../../etc/passwd"), "links to the outside"),
    "absolute link":       (lambda f: (f / "x").symlink_to("/etc/passwd"), "links to the outside"),
    "pipe":                (lambda f: os.mkfifo(f / "x"), "is a socket, pipe or device"),
    "pipe named as compiled": (lambda f: os.mkfifo(f / "x.pyc"), "is a socket, pipe or device"),
    "link to no plain path": (lambda f: (f / "x").symlink_to(os.fsdecode(b"\xff")), "which is no plain path"),
    "the manifest's folder": (lambda f: (f / ".manor").symlink_to("lib"), "which is no folder"),
    "control character":   (lambda f: (f / "a\nb").touch(), "is not a plain path"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "says"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_packed_is_refused_and_nothing_is_left(tmp_path: Path, spoil: Callable[[Path], object], says: str) -> None:
    spoil(tree(tmp_path / "one"))
    with pytest.raises(Refused, match=says.split("`")[0]):
        build_from(tmp_path / "one", tmp_path / "s")
    assert list((tmp_path / "s").iterdir()) == []


def test_limits(tmp_path: Path) -> None:
    tree(tmp_path / "one")
    with pytest.raises(Refused, match="more than the 100 allowed"):
        build_from(tmp_path / "one", tmp_path / "s", Limits(size_bytes=100))
    with pytest.raises(Refused, match="more than 3 files"):
        build_from(tmp_path / "one", tmp_path / "s", Limits(entries=3))
    (tmp_path / "none").mkdir()
    with pytest.raises(Refused, match="holds no file"):
        build_from(tmp_path / "none", tmp_path / "s")


@pytest.mark.parametrize("now", [b"longer than before", b""])
def test_a_file_that_changes_while_it_is_packed_is_refused(tmp_path: Path, now: bytes) -> None:
    (tmp_path / "f").write_bytes(b"before")
    entries = folder_entries(tmp_path)
    (tmp_path / "f").write_bytes(now)
    with pytest.raises(Refused, match="while it was packed"):
        packing.write_tar(io.BytesIO(), entries)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: object, _entries: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifact, "write_tar", full)
    with pytest.raises(ApplyFailed, match="No space left on device; nothing was stored"):
        build_from(tree(tmp_path / "one"), tmp_path / "s")
    assert list((tmp_path / "s").iterdir()) == []


def packed(folder: Path, kind: str) -> Path:
    """Return the folder packed by other people's means."""
    path = folder.with_name(f"in.{kind}")
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in folder.rglob("*"):
                info = zipfile.ZipInfo(str(file.relative_to(folder)) + ("/" if file.is_dir() and not file.is_symlink() else ""))
                info.external_attr = file.lstat().st_mode << 16
                archive.writestr(info, str(file.readlink()) if file.is_symlink() else b"" if file.is_dir() else file.read_bytes())
    else:
        with tarfile.open(path, {"tar": "w", "tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}[kind]) as tar:  # type: ignore[call-overload]
            tar.add(folder, ".")
    return path


async def accept(bench: Bench, path: Path, commit: str = "", build_url: str = "", limits: Limits = Limits()) -> releases.Artifact:  # noqa: B008 -- frozen
    about = About("shop", commit)
    return await record(bench.store, await keep_handed_in(bench.store.folder.artifacts, path, about, limits), about, build_url=build_url)


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "tar.xz", "zip"])
async def test_whatever_it_is_handed_in_as_it_is_the_same_artifact(bench: Bench, tmp_path: Path, kind: str) -> None:
    folder = tree(tmp_path / "built")
    row = await accept(bench, folder, "c" * 40, "https://ci.example/7")
    again = await accept(bench, packed(folder, kind), "c" * 40, "https://ci.example/8")
    assert row == again
    assert (row.service, row.commit, row.build_url) == ("shop", "c" * 40, "https://ci.example/7")
    assert artifact_path(bench.store.folder.artifacts, row.digest).stat().st_size == row.size
    with pytest.raises(UsageError, match="belongs to the service shop"):
        bench.store.write_now(releases.add_artifact, releases.Artifact(row.digest, "pim", 1, "", "", "", "{}", 0.0))


def hostile(members: dict[str, bytes | str]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name.removesuffix("#"))
            if isinstance(content, bytes):
                info.size = len(content)
            else:
                kind, _, info.linkname = content.partition(" ")
                info.type = {"->": tarfile.SYMTYPE, "=": tarfile.LNKTYPE, "dev": tarfile.CHRTYPE, "fifo": tarfile.FIFOTYPE}[kind]
            tar.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return file.getvalue()


def zipped(name: str, mode: int = 0o100644, content: bytes = b"x") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, content)
    return file.getvalue()


def sparse() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("a")
        info.pax_headers = {"GNU.sparse.map": "x,y", "GNU.sparse.size": "10", "GNU.sparse.name": "a"}
        tar.addfile(info)
    return file.getvalue()


GOOD = hostile({"a": b"x" * 3000})
HOSTILE = {
    "absolute name":        (hostile({"/etc/passwd": b"x"}), "leads outside"),
    "dots":                 (hostile({"a/../../x": b"x"}), "leads outside"),
    "link outside":         (hostile({"a": "-> ../x"}), "links to the outside"),
    "absolute link":        (hostile({"a": "-> /etc"}), "links to the outside"),
    "hard link outside":    (hostile({"a": "= ../x"}), "links to the outside"),
    "hard link to nothing": (hostile({"a": "= b"}), "broken or cut short"),
    "hard link to itself":  (hostile({"a": "= a"}), "broken or cut short"),
    "device":               (hostile({"a": "dev "}), "neither a file, a folder nor a link"),
    "pipe":                 (hostile({"a": "fifo "}), "neither a file, a folder nor a link"),
    "through a link":       (hostile({"a": "-> b", "a/x": b"x", "b/y": b"y"}), "which is no folder"),
    "twice":                (hostile({"a": b"1", "a#": b"2"}), "is in it twice"),
    "below a file":         (hostile({"a": b"1", "a/b": b"2"}), "which is no folder"),
    "virtual environment":  (hostile({"v/pyvenv.cfg": b""}), "virtual environment"),
    "link to no plain path": (hostile({"a": "-> b\nc"}), "which is no plain path"),
    "the manifest's folder": (hostile({".manor": "-> a", "a/b": b""}), "which is no folder"),
    "sparse map of nonsense": (sparse(), "broken or cut short"),
    "zip link to a zero":   (zipped("x", 0o120777, b"a\0b"), "which is no plain path"),
    "cut short":            (GOOD[:2000], "broken or cut short"),
    "gz cut short":         (gzip.compress(os.urandom(3000))[:1000], "broken or cut short"),
    "gz of nonsense":       (gzip.compress(b"hello"), "is not an archive that is known here"),
    "gz with a wrong sum":  (gzip.compress(GOOD)[:-8] + b"\0" * 8, "broken or cut short"),
    "nonsense":             (b"hello" * 1000, "is not an archive that is known here"),
    "nothing":              (b"", "is not an archive that is known here"),
    "zstd":                 (b"\x28\xb5\x2f\xfd1234", "not supported yet"),
    "zip dots":             (zipped("../x"), "leads outside"),
    "zip absolute":         (zipped("/x"), "leads outside"),
    "zip link":             (zipped("x", 0o120777, b"/etc"), "links to the outside"),
    "zip device":           (zipped("x", 0o020644), "neither a file"),
    "zip cut short":        (zipped("x")[:40], "broken or cut short"),
    "bomb":                 (gzip.compress(hostile({"a": b"\0" * 30_000_000})), "unpacks to more than"),
    "zip bomb":             (zipped("a", content=b"\0" * 30_000_000), "unpacks to more than"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "says"), HOSTILE.values(), ids=HOSTILE)
async def test_hostile_and_broken_archives_are_refused_and_nothing_is_stored(bench: Bench, tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "handed-in"
    path.write_bytes(content)
    with pytest.raises(ManorError, match=says):
        await accept(bench, path, "c" * 40, limits=Limits(size_bytes=20_000_000, entries=100))
    assert list(bench.store.folder.artifacts.iterdir()) == []


async def test_a_file_that_is_not_there_is_said(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is not there"):
        await accept(bench, tmp_path / "none.tar")


async def test_a_hard_link_is_a_copy(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "in.tar").write_bytes(hostile({"a": b"content", "b": "= a"}))
    row = await accept(bench, tmp_path / "in.tar")
    with tarfile.open(artifact_path(bench.store.folder.artifacts, row.digest)) as tar:
        member = tar.extractfile("b")
        assert member is not None
        assert member.read() == b"content"
