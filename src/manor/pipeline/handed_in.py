"""Reads what another CI hands in, whatever it is packed as, without unpacking it to disk.

Invariant: names are only read, never followed; how much is read is bounded before and while it is decompressed.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import posixpath
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, TypeAlias

from manor.errors import ApplyFailed, Refused
from manor.execution.archives import refusal
from manor.pipeline.packing import CHUNK, Entry, Limits, folder_entries, is_timed_bytecode, nothing

OPENERS = ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open))
ZSTD = b"\x28\xb5\x2f\xfd"
Unpacking: TypeAlias = gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile, NotImplementedError)


@contextlib.contextmanager
def opened_entries(path: Path, temporary: Path, limits: Limits, called: str = "") -> Iterator[list[Entry]]:
    """Give what an archive or folder holds; `called`: what whoever handed it in knows it as, else its file's name.

    Raises Refused if it is broken, unsafe, too large, or no archive that is known here.
    """
    name = called or path.name
    try:
        with contextlib.ExitStack() as open_files:
            yield _read_entries(path, name, temporary, limits, open_files)
    except BROKEN as error:
        raise Refused(f"{name}: is broken or cut short ({error}); nothing was stored, hand it in again") from error
    except FileNotFoundError as error:
        raise Refused(f"{error.filename}: is not there") from error
    except OSError as error:
        raise ApplyFailed(f"{name}: {error.strerror or error}; nothing was stored") from error


def _read_entries(path: Path, name: str, temporary: Path, limits: Limits, open_files: contextlib.ExitStack) -> list[Entry]:
    try:
        return _entries(path, name, temporary, limits, open_files)
    except ValueError as error:  # e.g. numbers in a header that are none
        raise tarfile.ReadError(str(error)) from error


def _entries(path: Path, name: str, temporary: Path, limits: Limits, open_files: contextlib.ExitStack) -> list[Entry]:
    if path.is_dir():
        return folder_entries(path)
    file: IO[bytes] = open_files.enter_context(path.open("rb"))
    head = file.read(512)
    file.seek(0)
    if head.startswith(b"PK"):
        return _without_timed(_zip_entries(open_files.enter_context(zipfile.ZipFile(file)), name, limits))
    if head.startswith(ZSTD):
        raise Refused(f"{name}: is packed with zstd, which is not supported yet; hand in a .tar.gz or .tar")
    for magic, opener in OPENERS:
        if head.startswith(magic):
            file = _decompressed(opener(file, "rb"), name, temporary, limits, open_files)
    return _without_timed(_tar_entries(open_files.enter_context(_tar(file, name)), name))


def _without_timed(entries: Iterator[Entry]) -> list[Entry]:
    return [entry for entry in entries if not is_timed_bytecode(entry.path, entry.open)]


def _decompressed(packed: Unpacking, name: str, temporary: Path, limits: Limits, open_files: contextlib.ExitStack) -> IO[bytes]:
    """Return the plain archive as a nameless temporary file, so that it can be read in any order."""
    plain = open_files.enter_context(tempfile.TemporaryFile(dir=temporary))  # noqa: SIM115 -- closed by the stack
    most, size = limits.size_bytes + limits.entries * 1024, 0
    while chunk := packed.read(CHUNK):
        size += len(chunk)
        if size > most:
            raise Refused(f"{name}: unpacks to more than {most} bytes; leave out what the service does not need")
        plain.write(chunk)
    plain.seek(0)
    return plain


def _tar(file: IO[bytes], name: str) -> tarfile.TarFile:
    try:
        return tarfile.open(fileobj=file, mode="r:")
    except tarfile.ReadError as error:
        raise Refused(f"{name}: is not an archive that is known here ({error}); hand in .tar, .tar.gz, .tar.bz2, .tar.xz, .zip or a folder") from error


def _tar_entries(tar: tarfile.TarFile, name: str) -> Iterator[Entry]:
    members = tar.getmembers()
    filled = {posixpath.dirname(posixpath.normpath(member.name)) for member in members}
    for member in members:
        path = posixpath.normpath(member.name)
        if wrong := refusal(member):
            raise Refused(f"{name}: {member.name!r} {wrong}; nothing was stored")
        if member.isdir():
            if path != "." and path not in filled:
                yield Entry(path, "folder", nothing)
        elif member.issym():
            yield Entry(path, "link", nothing, target=member.linkname)
        else:
            held = _linked(tar, member) if member.islnk() else member
            yield Entry(path, "file", partial(_content, tar, held), held.size, bool(held.mode & stat.S_IXUSR))


def _linked(tar: tarfile.TarFile, member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return the file that a hard link means; a chain of them is followed no further than the archive is long."""
    for _ in tar.getmembers():
        if not member.islnk():
            break
        try:
            member = tar.getmember(member.linkname)
        except KeyError as error:
            raise tarfile.ReadError(f"{member.name} links to nothing in the archive") from error
    if not member.isfile():
        raise tarfile.ReadError(f"{member.name} is a hard link to what is no file")
    return member


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    opened = tar.extractfile(member)
    if opened is None:
        raise tarfile.ReadError(f"{member.name} has no content")
    return opened


def _zip_entries(archive: zipfile.ZipFile, name: str, limits: Limits) -> Iterator[Entry]:
    infos = archive.infolist()
    if sum(info.file_size for info in infos) > limits.size_bytes:
        raise Refused(f"{name}: unpacks to more than {limits.size_bytes} bytes; leave out what the service does not need")
    filled = {posixpath.dirname(info.filename.rstrip("/")) for info in infos}
    for info in infos:
        mode = info.external_attr >> 16
        if info.flag_bits & 1:
            raise Refused(f"{name}: {info.filename!r} is encrypted; nothing was stored")
        if info.filename.startswith("/") or "\\" in info.filename or ".." in info.filename.split("/"):
            raise Refused(f"{name}: {info.filename!r} its name leads outside; nothing was stored")
        path = posixpath.normpath(info.filename)
        if info.is_dir():
            if path not in filled:
                yield Entry(path, "folder", nothing)
        elif stat.S_ISLNK(mode):
            yield Entry(path, "link", nothing, target=archive.read(info).decode("utf-8", "replace"))
        elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
            yield Entry(path, "file", partial(archive.open, info), info.file_size, bool(mode & stat.S_IXUSR))
        else:
            raise Refused(f"{name}: {info.filename!r} is neither a file, a folder nor a link; nothing was stored")
