"""Commands of git on a bare repository, as values.

Invariant: names of branches never stand where an option could; commits are checked to be hexadecimal.
https://git-scm.com/docs/git-http-backend
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from manor.errors import UsageError
from manor.execution.cgi import CgiProgram
from manor.execution.values import Act, Command, Effect, HostPath, MakeFolder, Touch
from manor.integrations.repositories.base import GitRequest, Pusher, Source

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
PROTOCOL = re.compile(r"[a-z0-9=:.]{1,64}")
PROGRAMS = "/usr/local/bin:/usr/bin:/bin"
STALE_MINUTES = 24 * 60
CLEAN: Mapping[str, str] = {
    "PATH": PROGRAMS,
    "LC_ALL": "C.UTF-8",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ATTR_NOSYSTEM": "1",
}
"""Nobody's settings but the repository's own."""


def git(place: HostPath, *words: str, effect: Effect = Effect.READ, timeout_seconds: float = 30.0) -> Command:
    """Return a git command on a bare repository."""
    return Command(
        ("git", f"--git-dir={place}", *words),
        touch=Touch(effect=effect, paths=(place,)),
        env={**CLEAN, "HOME": str(place)},
        timeout_seconds=timeout_seconds,
    )


def init(place: HostPath) -> Command:
    """Return what makes an empty bare repository, or changes nothing if it is there."""
    words = ("init", "--quiet", "--bare", "--template=", "--initial-branch=main", str(place))
    return Command(("git", *words), touch=Touch(effect=Effect.FULL, paths=(place,)), env={**CLEAN, "HOME": "/nonexistent"})


def refs(place: HostPath) -> Command:
    """Return the question which commit each branch stands at."""
    return git(place, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads/")


def history(place: HostPath, ref: str) -> Command:
    """Return the question which commits a branch has stood at, newest first."""
    return git(place, "reflog", "show", "--format=%H", "--end-of-options", ref)


def checkout(place: HostPath, commit: str, folder: HostPath) -> tuple[Act, ...]:
    """Return what leaves the commit's files in a new folder: no history, no `.git`, times of the commit. Raises UsageError."""
    require_commit(commit)
    archive = folder.with_name(f"{folder.name}.tar")
    return (
        MakeFolder(folder),
        git(place, "archive", "--format=tar", f"--output={archive}", commit, effect=Effect.INCLUDE, timeout_seconds=300),
        Command(
            ("tar", "--extract", "--no-same-owner", f"--file={archive}", f"--directory={folder}"),
            touch=Touch(effect=Effect.INCLUDE, paths=(folder,)),
            timeout_seconds=300,
        ),
        Command(("rm", "-f", "--", str(archive)), touch=Touch(effect=Effect.INCLUDE, paths=(archive,))),
    )


def housekeeping(place: HostPath) -> tuple[Act, ...]:
    """Return what packs objects without ever dropping one, and removes quarantines of pushes that ended a day ago."""
    left = ("find", str(place / "objects"), "-maxdepth", "1", "-type", "d", "-name", "tmp_objdir-*", "-mmin", f"+{STALE_MINUTES}")
    return (
        git(place, "repack", "-d", "--geometric=2", "--quiet", effect=Effect.INCLUDE, timeout_seconds=1800),
        git(place, "pack-refs", "--all", effect=Effect.INCLUDE),
        Command((*left, "-exec", "rm", "-rf", "--", "{}", "+"), touch=Touch(effect=Effect.INCLUDE, paths=(place,))),
    )


def backend(source: Source, request: GitRequest, pusher: Pusher) -> CgiProgram:
    """Return git's HTTP backend for one request, with an environment made of nothing but what is needed."""
    return CgiProgram(("git", "http-backend"), {**CLEAN, **_cgi(source, request, pusher), **_for_hooks(request, pusher)}, source.place)


def _cgi(source: Source, request: GitRequest, pusher: Pusher) -> dict[str, str]:
    headers = request.headers
    optional = {
        "CONTENT_LENGTH": headers.get("content-length", ""),
        "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
        "GIT_PROTOCOL": headers.get("git-protocol", "") if PROTOCOL.fullmatch(headers.get("git-protocol", "")) else "",
    }
    return {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REQUEST_METHOD": request.method,
        "QUERY_STRING": request.query,
        "CONTENT_TYPE": headers.get("content-type", ""),
        "PATH_INFO": f"/{source.place.name}/{request.service}",
        "GIT_PROJECT_ROOT": str(source.place.parent),
        "GIT_HTTP_EXPORT_ALL": "1",
        "REMOTE_USER": pusher.name,
        "REMOTE_ADDR": request.client,
        "HOME": str(request.empty_folder),
        **{name: value for name, value in optional.items() if value},
    }


def _for_hooks(request: GitRequest, pusher: Pusher) -> dict[str, str]:
    return {"MANOR_PUSHER": pusher.name, "MANOR_SCOPES": " ".join(sorted(pusher.scopes)), "MANOR_CALLBACK": request.callback}


def require_commit(commit: str) -> None:
    """Raise UsageError unless it is a full object name."""
    if not COMMIT.fullmatch(commit):
        raise UsageError(f"{commit!r} is not a full commit name")
