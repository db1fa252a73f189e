"""What stands in the way on a host or in the estate: refused or turned round by name, and the old release serves (docs/faults.md)."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.estates import LiveEstate, wait_until
from tests.e2e.faulty import ESTATE, Faulty

SMALL = "96m"
PLAIN_ROUTES = "    routes: [{host: echo}]\n"
EXTRA = "    routes: [{{host: echo}}]\n    extra: {{nginx: {{server: {file}}}}}\n"


@pytest.fixture(scope="module")
def disk(make_estate: Callable[[str], LiveEstate]) -> Iterator[tuple[LiveEstate, bool]]:
    """An estate whose host web-2 keeps its releases on a small file system of their own, where that is allowed."""
    estate = make_estate(ESTATE)
    folder = estate.host_folder("prod", "web-2") / "releases"
    folder.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(folder)], capture_output=True, check=False)
    yield estate, mounted.returncode == 0
    if mounted.returncode == 0:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="module")
def faulty(disk: tuple[LiveEstate, bool], echo: Path, tmp_path_factory: pytest.TempPathFactory) -> Faulty:
    """The estate, with a release that serves."""
    return Faulty(disk[0], echo, tmp_path_factory.mktemp("releases")).begin()


@pytest.fixture
def declared(faulty: Faulty) -> Iterator[Callable[[str, str], None]]:
    """Change the estate's text for one test."""
    yield lambda old, new: faulty.estate.write(ESTATE.replace(old, new))
    faulty.estate.write(ESTATE)
    faulty.estate.run("up")  # a rollout wants tiers as declared


def fill(folder: Path) -> Path:
    """Fill a file system but for 64 KiB; return what has to be removed."""
    filler = folder / "filler"
    with filler.open("wb") as file:
        file.write(b"\0" * (shutil.disk_usage(folder).free - 65536))
    return filler


def test_a_full_disk_is_found_before_anything_is_touched(faulty: Faulty, disk: tuple[LiveEstate, bool]) -> None:
    if not disk[1]:
        pytest.skip("mounting a small file system is not allowed here")
    before, folder = faulty.certified, faulty.host_folder("web-2") / "releases"
    filler = fill(folder)
    with faulty.watched() as watch:
        done = faulty.ship("no-room", ok=(5,))
        filler.unlink()
    told = f"web-2: 0 MiB of disk are free in {folder}/echo, "
    assert told in done.stderr
    assert "for the release and 32 MiB to spare); remove what is not needed there" in done.stderr
    watch.require_nothing_lost(before)
    faulty.require_well(before)


def test_a_disk_that_fills_up_turns_the_rollout_round_and_says_so(faulty: Faulty, disk: tuple[LiveEstate, bool]) -> None:
    if not disk[1]:
        pytest.skip("mounting a small file system is not allowed here")
    before, folder = faulty.certified, faulty.host_folder("web-2") / "releases"
    with faulty.watched() as watch:
        verb = faulty.start(*faulty.words("full"))
        verb.until("warm", host="web-1")
        filler = fill(folder)
        assert verb.finish() == 5, verb.told()
        assert "web-2" in verb.told()
        assert "No space left on device" in verb.told()
        assert f"{before} serves as before" in verb.told()
        faulty.require_well(before)
        assert sorted(path.name for path in (folder / "echo").iterdir()) == [before], "nothing half is left"
        filler.unlink()
        faulty.ship("full")
    after = faulty.estate.certified("prod")
    watch.require_nothing_lost(before, after)
    faulty.require_well(after)


@contextmanager
def somebody_elses(faulty: Faulty, host: str) -> Iterator[None]:
    """Have a host belong to another Manor for a while: nothing of ours is carried out there."""
    manifest = faulty.host_folder(host) / "manifest.json"
    ours = manifest.read_text()
    manifest.write_text(ours.replace('"state"', '"state": "another", "ours"'))
    try:
        yield
    finally:
        manifest.write_text(ours)


def test_an_apply_goes_on_with_the_host_that_failed_alone(faulty: Faulty, declared: Callable[[str, str], None]) -> None:
    before = faulty.certified
    declared("{web: nginx}", "{web: nginx, options: {kept: 17}}")
    with faulty.watched() as watch:
        with somebody_elses(faulty, "web-2"):
            done = faulty.estate.run("apply", "--json", ok=(4, 5, 6))
        ended = next(event for line in done.stdout.splitlines() if (event := json.loads(line))["event"] == "ended")
        assert ended["hosts"]["web-2"] == "failed"
        assert ended["hosts"]["web-1"] != "failed"
        (again,) = faulty.estate.results("resume", "--only", "failed")
        assert again["hosts"] == {"web-2": "ok"}
        changed = {host: "keepalive 17;" in (faulty.host_folder(host) / "etc" / "1-web-nginx" / "nginx.conf").read_text() for host in ("web-1", "web-2")}
        assert changed == {"web-1": False, "web-2": True}
        faulty.estate.run("apply")
    refused = faulty.estate.run("resume", "--only", "failed", ok=(2,))
    assert "no host of it failed or was unreachable" in refused.stderr
    watch.require_bounded(5, 1.0)
    faulty.require_well(before)


def test_a_host_that_could_not_be_brought_back_stays_out_until_it_is(faulty: Faulty, declared: Callable[[str, str], None]) -> None:
    before = faulty.certified
    declared("bake: 1s", "bake: 1s, min_healthy: 50%")
    with faulty.watched() as watch:
        verb = faulty.start(*faulty.words("not-back"))
        verb.until("warm", host="web-2")
        with somebody_elses(faulty, "web-2"):
            assert verb.finish(180) == 6, verb.told()
        assert f"`manor resume echo --only failed` brings what was not brought back to {before}" in verb.told()
        assert {server[:5]: release for server, release in faulty.estate.serving("prod").items()} == {"web-1": before}
        (again,) = faulty.estate.results("resume", "echo", "--only", "failed")
        assert again["hosts"] == {"web-2": "ok"}
    assert watch.result is not None
    assert watch.result.lost == 0, watch.result.losses
    faulty.require_well(before)


def test_a_busy_port_is_found_before_anything_is_touched(faulty: Faulty) -> None:
    before = faulty.certified
    status = faulty.status()
    slots = status["services"][0]["slots"]
    idle = next(slot["server"].rsplit("-", 1)[1] for slot in slots if slot["host"] == "web-1" and slot["seen"] != "ready")
    address = next(host["address"] for host in status["hosts"] if host["name"] == "web-1")
    port = 8300 if idle == "a" else 8301
    with faulty.watched() as watch, socket.create_server((address, port)):
        done = faulty.ship("busy", ok=(5,))
    assert f"web-1: port {port} of slot {idle} is in use by a program that is not Manor's; end it or change run.port" in done.stderr
    watch.require_nothing_lost(before)
    faulty.require_well(before)


def test_what_a_checker_refuses_changes_nothing(faulty: Faulty, declared: Callable[[str, str], None]) -> None:
    before = faulty.certified
    (faulty.estate.folder / "bad.inc").write_text("bogus_directive on;\n")
    files = faulty.host_folder("web-1") / "etc"
    digests = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    declared(PLAIN_ROUTES, EXTRA.format(file="bad.inc"))
    with faulty.watched() as watch:
        for verb in ("check", "up"):
            done = faulty.estate.run(verb, ok=(4,))
            assert 'web-1: 1-web-nginx refused: unknown directive "bogus_directive"' in done.stderr
        assert "no tier was changed" in done.stderr
    assert {path: path.read_bytes() for path in files.rglob("*") if path.is_file()} == digests
    watch.require_nothing_lost(before)
    faulty.require_well(before)


def native_files(faulty: Faulty) -> dict[Path, bytes]:
    """Return the files of every host's tiers."""
    folders = [faulty.host_folder(host) / "etc" for host in ("edge-1", "web-1", "web-2")]
    return {path: path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("old", "new", "risk", "told"),
    [
        (
            "http: /healthz",
            "http: /fail",
            "services.echo.health has changed, and echo runs",
            ("/fail answers 500, not 200", "ship a release that answers both paths first, then change health, then apply"),
        ),
        (
            "port: 8300",
            "port: 8400",
            "services.echo.run.port has changed, and echo runs",
            ("stands at another port than 840", "take `run.port` back, and let a second service with the new port take its routes over"),
        ),
    ],
    ids=["health", "port"],
)
def test_an_apply_takes_nothing_off_the_air(faulty: Faulty, declared: Callable[[str, str], None], old: str, new: str, risk: str, told: tuple[str, ...]) -> None:
    before, files = faulty.certified, native_files(faulty)
    declared(old, new)
    with faulty.watched() as watch:
        assert risk in faulty.estate.run("plan", ok=(1,)).stdout
        for verb in ("apply", "up"):
            done = faulty.estate.run(verb, ok=(5,))
            assert "would take echo off the air" in done.stderr
            assert all(words in done.stderr for words in told), done.stderr
        faulty.estate.run("plan", ok=(1,))
    assert native_files(faulty) == files
    watch.require_nothing_lost(before)
    faulty.estate.write(ESTATE)
    faulty.estate.run("apply")
    faulty.require_well(before)


def test_a_health_path_is_changed_without_an_outage(faulty: Faulty, declared: Callable[[str, str], None]) -> None:
    """The steps of docs/apply.md: a release that answers both paths, then the new path, then apply."""
    before = faulty.certified
    source = faulty.artifact("both") / "echo.py"
    source.write_text(source.read_text().replace('case "/healthz":', 'case "/healthz" | "/fail":'))
    with faulty.watched() as watch:
        faulty.ship("both")
        after = faulty.estate.certified("prod")
        for text in (ESTATE.replace("http: /healthz", "http: /fail"), ESTATE):
            faulty.estate.write(text)
            faulty.estate.run("apply")
            faulty.estate.run("plan")
            faulty.require_well(after)
    watch.require_nothing_lost(before, after)


BESIDE = """\
  next:
    run: {{command: "python3 -m echo --bind {{address}}:{{port}} --keep-alive 75", port: 8400, keep_alive: 75s}}
    health: {{http: /healthz, interval: 250ms, passes: 3}}
    routes: [{{host: {host}}}]
    rollout: {{min_healthy_time: 0s, settle: 0s, drain_timeout: 2s, bake: 1s, instance_deadline: 5s}}
traffic:"""


def test_a_second_service_takes_the_routes_over_at_another_port(faulty: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of docs/apply.md for another port: a second service beside, then the routes change hands in one apply."""
    before = faulty.certified
    beside = ESTATE.replace("traffic:", BESIDE.format(host="next"))
    swapped = ESTATE.replace(PLAIN_ROUTES, "    routes: [{host: old}]\n").replace("traffic:", BESIDE.format(host="echo"))
    faulty.estate.write(beside)
    monkeypatch.setattr(faulty, "host", "echo.faults.example")
    with faulty.watched() as watch:
        faulty.estate.run("apply")
        faulty.estate.run("ship", "next", "--artifact", str(faulty.artifact("beside")))
        after = faulty.estate.certified("prod", "next")
        faulty.estate.write(swapped)
        faulty.estate.run("apply")
        wait_until(lambda: after in watch.releases, 5, "the second service answers")
        faulty.estate.write(beside)
        faulty.estate.run("apply")
    faulty.estate.write(f"{ESTATE}removed: {{next: 2026-01-01}}\n")
    faulty.estate.run("service", "remove", "next", "-e", "prod")
    faulty.estate.run("apply", "--allow-destroy")
    faulty.estate.write(ESTATE)
    faulty.estate.run("apply")
    watch.require_nothing_lost(before, after)
    faulty.require_well(before)


def test_a_name_that_would_break_out_is_refused(faulty: Faulty, declared: Callable[[str, str], None]) -> None:
    before = faulty.certified
    declared("  echo:\n", '  "x\\"} backend evil":\n')
    with faulty.watched() as watch:
        for words in (("check",), ("up",), ("ship", "echo", "--artifact", str(faulty.echo))):
            done = faulty.estate.run(*words, ok=(3,))
            assert "estate.yaml:4: services.'x\"} backend evil': 'x\"} backend evil' is not a name" in done.stderr
            assert "use a-z, 0-9 and -, beginning with a letter" in done.stderr
    faulty.estate.write(ESTATE)
    watch.require_nothing_lost(before)
    faulty.require_well(before)


HEALTH = "    health: {http: /healthz, interval: 250ms, passes: 3}\n"
OTHER = """\
  other:
    run: {{command: "other {{address}}:{{port}}", port: {port}}}
    health: {{tcp: true}}
    routes: [{{host: {host}}}]
traffic:"""
WRONG = {
    "an unknown key": (PLAIN_ROUTES, "    rutes: [{host: echo}]\n", "7: services.echo.rutes: unknown key; did you mean `routes`?"),
    "a unit that is none": (
        "drain_timeout: 2s",
        "drain_timeout: 2 parsecs",
        "9: services.echo.rollout.drain_timeout: '2 parsecs' is not a duration; write a number with",
    ),
    "no unit": ("interval: 250ms", "interval: 250", "6: services.echo.health.interval: 250 is not a duration; write a number with ms, s, m, h or d, e.g. 30s"),
    "a port twice": (
        "traffic:",
        OTHER.format(port=8301, host="other"),
        "11: services.other.run.port: port 8301 (slot a of services.other) is also slot b of services.echo",
    ),
    "a route twice": (
        "traffic:",
        OTHER.format(port=8400, host="echo"),
        "13: services.other.routes[0]: echo.faults.example/ (host `echo`, completed by `domain` faults.example) is also",
    ),
    "no health": (HEALTH, "", "4: services.echo.health: missing; a service without a health check cannot be rolled out safely. Add e.g. health: {http"),
}


def test_a_wrong_estate_is_refused_by_its_line(faulty: Faulty, declared: Callable[[str, str], None]) -> None:
    before = faulty.certified
    with faulty.watched() as watch:
        for name, (old, new, words) in WRONG.items():
            declared(old, new)
            for verb in (("up",), faulty.words("unwanted")):
                done = faulty.estate.run(*verb, ok=(3,))
                assert f"error: estate.yaml:{words}" in done.stderr, (name, done.stderr)
        faulty.estate.write(ESTATE)
    watch.require_nothing_lost(before)
    faulty.require_well(before)


HOSTS = "hosts: {{edge-1: {{groups: [edge]}}, web-1: {{groups: [web], untouchable: {{{rule}}}}}, web-2: {{groups: [web]}}}}"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("ports: [8300]", "untouchable.ports[0]: port 8300 is needed on this host by slot a of services.echo"),
        ("paths: [{root}/releases]", "untouchable.paths[0]: {root}/releases is where Manor keeps its own files of this host"),
    ],
    ids=["port", "path"],
)
def test_an_untouchable_that_the_estate_needs_is_refused_by_name(faulty: Faulty, declared: Callable[[str, str], None], rule: str, words: str) -> None:
    before, root = faulty.certified, str(faulty.host_folder("web-1"))
    declared("hosts: {edge: 1, web: 2}", HOSTS.format(rule=rule.format(root=root)))
    with faulty.watched() as watch:
        for verb in ("check", "up", "plan"):
            done = faulty.estate.run(verb, ok=(3,))
            assert f"environments.prod.hosts.web-1.{words.format(root=root)}" in done.stderr
    faulty.estate.write(ESTATE)
    watch.require_nothing_lost(before)
    faulty.require_well(before)


def test_an_untouchable_path_behind_a_link_is_refused_by_the_guard(faulty: Faulty) -> None:
    """What no rule of the estate can foresee is stopped where it would be done."""
    before = faulty.certified
    foreign = faulty.folder / "legacy"
    foreign.mkdir()
    operations = faulty.host_folder("web-1") / "ops"
    kept = operations.rename(operations.with_name("ops.kept"))
    operations.symlink_to(foreign)
    text = ESTATE.replace("hosts: {edge: 1, web: 2}", HOSTS.format(rule=f"paths: [{foreign}]"))
    (faulty.estate.folder / "good.inc").write_text("# a file that differs is a change\n")
    faulty.estate.write(text.replace(PLAIN_ROUTES, EXTRA.format(file="good.inc")))
    try:
        with faulty.watched() as watch:
            done = faulty.estate.run("up", ok=(4,))
        assert f"prod/web-1: untouchable.paths: {foreign} is not Manor's to touch" in done.stderr
        assert "nothing was done" in done.stderr
        assert list(foreign.iterdir()) == []
        watch.require_nothing_lost(before)
    finally:
        operations.unlink()
        kept.rename(operations)
        faulty.estate.write(ESTATE)
    faulty.require_well(before)
