"""The guard against every kind of act: levels of `manage`, foreign things, roots, and paths hidden in arguments."""

from __future__ import annotations

import pytest

from manor.errors import NotOurs
from manor.execution.guard import Guard, Manage, Untouchable, path_parts
from manor.execution.values import (
    Act,
    Command,
    Connect,
    Effect,
    HostPath,
    HttpRequest,
    MakeFolder,
    PutFile,
    PutLink,
    PutTree,
    Remove,
    Secret,
    SocketCommand,
    Touch,
)

HERE, BAD = HostPath("/srv/manor/x"), HostPath("/opt/legacy/etc/x")
FOREIGN = Untouchable(paths=(HostPath("/opt/legacy"),), ports=(8005,), units=("legacy.service",), users=("legacy",), containers=("legacy-1",))
GUARD = Guard("prod/web-1", untouchable=FOREIGN, roots=(HostPath("/srv/manor"),))
LEVELS = ("NEVER", "OBSERVE", "RUNTIME", "INCLUDE", "FULL")


def acts_on(path: HostPath, touch: Touch) -> dict[str, Act]:
    """Return one act of each kind that names a path where it can."""
    return {
        "Command":       Command(("cat", str(path)), touch=touch),
        "SocketCommand": SocketCommand(path, "show stat", touch=touch),
        "HttpRequest":   HttpRequest("GET", "http://127.0.0.1/", socket=path, touch=touch),
        "PutFile":       PutFile(path, b"", touch=touch),
        "PutLink":       PutLink(path, HERE, touch=touch),
        "PutTree":       PutTree(path, "archive", "digest", touch=touch),
        "MakeFolder":    MakeFolder(path, touch=touch),
        "Remove":        Remove(path, touch=touch),
    }  # fmt: skip


KINDS = tuple(acts_on(HERE, Touch()))


def refusal(act: Act, guard: Guard = GUARD) -> str:
    """Return why the guard refuses, or nothing."""
    try:
        guard.check(act)
    except NotOurs as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("level", "effect"), [(level, effect) for level in Manage for effect in Effect])
def test_a_level_allows_its_own_effect_and_weaker_ones(kind: str, level: Manage, effect: Effect) -> None:
    act = acts_on(HERE, Touch(effect=effect))[kind]
    assert bool(refusal(act, Guard("h", manage=level))) == (level < effect)


@pytest.mark.parametrize("kind", KINDS)
def test_a_subject_may_be_managed_less_than_its_host_but_never_more(kind: str) -> None:
    subjects = {"tier/1-web-nginx": Manage.OBSERVE, "service/shop": Manage.FULL}
    act = acts_on(HERE, Touch("tier/1-web-nginx", Effect.RUNTIME))[kind]
    assert refusal(act, Guard("prod/web-1", subjects=subjects)) == (
        "prod/web-1: tier/1-web-nginx: `manage: observe` allows no act of the kind runtime; nothing was done"
    )
    above = acts_on(HERE, Touch("service/shop", Effect.FULL))[kind]
    assert "`manage: include`" in refusal(above, Guard("prod/web-1", manage=Manage.INCLUDE, subjects=subjects))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["/opt/legacy", "/opt/legacy/etc/x", "/srv/../opt/./legacy/x", "//opt/legacy/x"])
def test_no_kind_of_act_touches_an_untouchable_path(kind: str, path: str) -> None:
    found = refusal(acts_on(HostPath(path), Touch())[kind])
    assert found.startswith("prod/web-1: untouchable.paths: /opt/legacy is not Manor's to touch (asked for /opt/legacy")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("touch", "message"),
    [
        (Touch(paths=(BAD,)),                 "untouchable.paths: /opt/legacy is not Manor's to touch (asked for /opt/legacy/etc/x); nothing was done"),
        (Touch("service/shop", ports=(8005,)), "untouchable.ports: 8005 is not Manor's to touch (service/shop); nothing was done"),
        (Touch(units=("legacy.service",)),    "untouchable.units: legacy.service is not Manor's to touch (host); nothing was done"),
        (Touch(users=("legacy",)),            "untouchable.users: legacy is not Manor's to touch (host); nothing was done"),
        (Touch(containers=("legacy-1",)),     "untouchable.containers: legacy-1 is not Manor's to touch (host); nothing was done"),
    ],
)  # fmt: skip
def test_no_kind_of_act_touches_what_it_declares_and_is_foreign(kind: str, touch: Touch, message: str) -> None:
    assert refusal(acts_on(HERE, touch)[kind]) == f"prod/web-1: {message}"


@pytest.mark.parametrize("kind", ["PutFile", "PutLink", "PutTree", "MakeFolder", "Remove"])
@pytest.mark.parametrize("path", ["/etc/passwd", "/srv/manor-2/x", "/srv/manor/../x", "/srv"])
def test_files_are_written_below_the_roots_only(kind: str, path: str) -> None:
    message = f"prod/web-1: {path} lies outside /srv/manor, where Manor keeps its files; nothing was done"
    assert refusal(acts_on(HostPath(path), Touch())[kind]) == message


@pytest.mark.parametrize("kind", ["PutFile", "PutLink", "PutTree", "MakeFolder", "Remove"])
@pytest.mark.parametrize("path", ["/etc/nginx/conf.d", "/etc/nginx/conf.d/legacy.conf", "/etc/nginx/conf.d/manor.conf.bak", "/etc/nginx/nginx.conf"])
def test_in_a_folder_of_somebody_else_one_file_is_ours_and_no_other(kind: str, path: str) -> None:
    own = HostPath("/etc/nginx/conf.d/manor.conf")
    guard = Guard("prod/web-1", subjects={"tier/0-web-nginx": Manage.INCLUDE}, roots=(HostPath("/srv/manor"), own))
    touch = Touch("tier/0-web-nginx", Effect.INCLUDE)
    assert "lies outside" in refusal(acts_on(HostPath(path), touch)[kind], guard)
    assert refusal(acts_on(own, touch)[kind], guard) == ""


@pytest.mark.parametrize("kind", [*KINDS, "Connect"])
@pytest.mark.parametrize("level", LEVELS)
def test_a_part_of_a_program_is_never_started_or_stopped(kind: str, level: str) -> None:
    """Of acts on a program that somebody else runs, those that start, stop or replace it are for `full` alone, whatever the host allows."""
    guard = Guard("prod/web-1", manage=Manage.FULL, subjects={"tier/0-balancer-haproxy": Manage[level]})
    for effect in Effect:
        touch = Touch("tier/0-balancer-haproxy", effect)
        act = Connect("127.0.0.1", 80, touch) if kind == "Connect" else acts_on(HERE, touch)[kind]
        assert bool(refusal(act, guard)) == (Manage[level] < effect)


@pytest.mark.parametrize(
    "word",
    [
        "/opt/legacy/x",
        "--config=/opt/legacy/x",
        "a:/opt/legacy",
        "-I/opt/legacy",
        "x=1,dst=/opt/legacy,ro",
        "rm -rf '/opt/legacy'",
        "true>/opt/legacy/x",
        "../legacy/x",
        "//opt//legacy",
    ],
)
def test_paths_in_arguments_are_found(word: str) -> None:
    for act in (Command(("tool", word), cwd=HostPath("/opt/manor")), Command(("tool",), env={"TARGET": word}, cwd=HostPath("/opt/manor"))):
        assert "untouchable.paths: /opt/legacy" in refusal(act)


@pytest.mark.parametrize("word", ["/opt/legacy2/x", "legacy", "/opt/other", "http://opt.example/legacy", "-", "/", "opt-legacy", ""])
def test_words_that_only_look_alike_are_let_through(word: str) -> None:
    assert refusal(Command(("tool", word))) == ""


def test_a_secret_argument_is_checked_and_not_shown() -> None:
    found = refusal(Command(("tool", Secret("/opt/legacy/hidden-name"))))
    assert found == "prod/web-1: untouchable.paths: /opt/legacy is not Manor's to touch (asked for a secret); nothing was done"


@pytest.mark.parametrize("cwd", ["/opt/legacy", "/opt/legacy/x"])
def test_a_command_does_not_start_in_an_untouchable_folder(cwd: str) -> None:
    assert "untouchable.paths" in refusal(Command(("ls",), cwd=HostPath(cwd)))


def test_a_folder_that_holds_an_untouchable_one_may_be_read_and_not_changed() -> None:
    assert refusal(Command(("du", "/opt"))) == ""
    assert "untouchable.paths" in refusal(Command(("chmod", "-R", "go-w", "/opt"), touch=Touch(effect=Effect.FULL)))
    assert "untouchable.paths" in refusal(Remove(HostPath("/opt")), Guard("h", untouchable=FOREIGN))


def test_a_link_to_an_untouchable_path_is_refused() -> None:
    for target in ("/opt/legacy", "../../opt/legacy/x"):
        assert "untouchable.paths" in refusal(PutLink(HERE, HostPath(target)))


def test_a_connection_to_an_untouchable_port_is_refused_and_others_obey_the_level() -> None:
    assert refusal(Connect("127.0.0.1", 8006)) == ""
    assert refusal(Connect("127.0.0.1", 8005)) == "prod/web-1: untouchable.ports: 8005 is not Manor's to touch (host); nothing was done"
    assert "`manage: never`" in refusal(Connect("127.0.0.1", 8006), Guard("h", manage=Manage.NEVER))


@pytest.mark.parametrize(("url", "is_refused"), [("http://127.0.0.1:8005/", True), ("http://127.0.0.1:8006/", False), ("http://x:port/", False)])
def test_a_request_to_an_untouchable_port_is_refused(url: str, is_refused: bool) -> None:
    assert bool(refusal(HttpRequest("GET", url))) == is_refused
    assert "untouchable.ports: 443" in refusal(HttpRequest("GET", "https://x/"), Guard("h", untouchable=Untouchable(ports=(443,))))
    assert refusal(HttpRequest("GET", url, socket=HERE)) == ""


def test_reading_is_allowed_from_observe_on() -> None:
    assert Guard("h", manage=Manage.OBSERVE).readable(HERE) == HERE
    with pytest.raises(NotOurs, match="manage: never"):
        Guard("h", manage=Manage.NEVER).readable(HERE)


@pytest.mark.parametrize(("path", "is_refused"), [("/opt/legacy", True), ("/srv/../opt//legacy/x", True), ("/opt", False), ("/opt/legacy2", False)])
def test_reading_stops_before_what_is_untouchable(path: str, is_refused: bool) -> None:
    if not is_refused:
        assert GUARD.readable(HostPath(path)) == HostPath(path)
        return
    with pytest.raises(NotOurs, match=r"prod/web-1: untouchable.paths: /opt/legacy is not Manor's to touch \(asked for "):
        GUARD.readable(HostPath(path))


def test_words_without_a_path_have_no_parts() -> None:
    assert path_parts("state ready; set weight 100") == ()


def test_levels_are_the_ones_of_the_estate_file() -> None:
    assert tuple(Manage.__members__) == LEVELS
