"""Manor begins with one service beside everything else: in somebody's own HAProxy and nginx, and goes again (docs/ownership.md)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from manor.observe.probe.model import Target
from tests.e2e.estates import LiveEstate, curl, release_of, wait_until
from tests.e2e.killing import Killing
from tests.e2e.watching import processes_of, target, watched
from tests.e2e.yours import Yours, yours

SERVICE = """\
estate: beside
domain: beside.example
services:
  echo:
    run: {{command: "python3 -m echo --bind {{address}}:{{port}} --keep-alive 75", port: 8300, keep_alive: 75s}}
    health: {{http: /healthz, interval: 500ms, passes: 2}}
    routes: [{{host: echo}}]
    rollout: {{min_healthy_time: 100ms, settle: 100ms, drain_timeout: 2s, instance_deadline: 60s}}
"""
NGINX = "{{web: nginx, manage: include, into: {folder}/conf.d, main: {folder}/nginx.conf, pid: {folder}/nginx.pid}}"
HAPROXY = (
    "{{balancer: haproxy, manage: include, into: {folder}/haproxy.d, main: {folder}/haproxy.cfg, pid: {folder}/haproxy.pid, socket: {sockets}/admin.sock}}"
)
INCLUDE = f"{SERVICE}traffic: {{{{chain: [{HAPROXY}, {NGINX}]}}}}\nenvironments: {{{{prod: {{{{}}}}}}}}\n"
RUNTIME = SERVICE + "traffic: {{chain: [{{balancer: haproxy, manage: runtime, socket: {sockets}/admin.sock}}, {{web: nginx}}]}}\nenvironments: {{prod: {{}}}}\n"
STATIC = f"""\
estate: beside
domain: beside.example
services:
  docs: {{{{profile: static, port: 8400, static: [{{{{path: /, dir: site}}}}], health: {{{{http: /}}}}, routes: [{{{{host: docs}}}}], manage: include,
         rollout: {{{{min_healthy_time: 100ms, settle: 100ms, drain_timeout: 500ms}}}}}}}}
traffic: {{{{chain: [{NGINX}]}}}}
environments: {{{{prod: {{{{hosts: {{{{all-1: {{{{groups: [web], manage: include}}}}}}}}}}}}}}}}
"""
OWN = {"haproxy.d/zz-manor-beside-prod.cfg", "conf.d/manor-beside-prod.conf"}


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[Yours]:
    """Somebody's own programs, not yet started."""
    with yours(tmp_path / "yours") as there:
        yield there


@pytest.fixture
def estate(theirs: Yours, tmp_path: Path) -> Iterator[LiveEstate]:
    """An estate whose two tiers are parts of them."""
    made = LiveEstate(tmp_path / "estate", written(INCLUDE, theirs))
    yield made
    made.down()
    assert processes_of(made.folder) == {}


def written(text: str, theirs: Yours) -> str:
    """Return an estate with their places."""
    return text.format(folder=theirs.folder, sockets=theirs.sockets)


def legacy(theirs: Yours) -> Target:
    """Return the requests that their site gets all the time."""
    return Target(name="legacy", address=theirs.address, port=8100, host="legacy.example", rate=60, paths=("/",), tls=False, expected=(200,))


def part_findings(estate: LiveEstate) -> dict[str, bool]:
    """Return what `doctor` says of the parts, by tier."""
    found = [row for row in estate.results("doctor", ok=(0, 1)) if row["what"] == "prod/all-1"]
    return {row["detail"].split(":")[0]: row["is_well"] for row in found}


def ship(estate: LiveEstate, echo: Path, folder: Path, version: str) -> None:
    """Ship a release of the echo service."""
    estate.run("ship", "echo", "--artifact", str(release_of(echo, folder / version, version)), "--commit", f"c{version}")


def test_manor_comes_ships_twice_and_goes_and_nobody_notices(theirs: Yours, estate: LiveEstate, echo: Path, tmp_path: Path) -> None:
    theirs.start("nginx", "haproxy")
    before, masters = theirs.hashes(), theirs.pids()
    with watched(tmp_path / "legacy", [legacy(theirs)]) as old_site:
        began = old_site.outcomes(0, float("inf"))[0].due
        estate.run("check")
        assert theirs.hashes() == before
        estate.up()
        assert set(theirs.hashes()) - set(before) == OWN
        ship(estate, echo, tmp_path, "1")
        door = estate.front("prod")
        with watched(tmp_path / "new", [target(estate, door, "/", 60)]) as new_site:
            first = new_site.outcomes(0, float("inf"))[0].due
            ship(estate, echo, tmp_path, "2")
            serving = estate.serving("prod")
            theirs.reload_haproxy()
            wait_until(lambda: estate.serving("prod") == serving, 10, "their new worker treats the slots as the old one did, and has checked them")
            assert new_site.losses(first) == [], theirs.log()
        assert "nothing to do" in estate.run("plan", "-e", "prod").stdout
        assert estate.status("prod")["hosts"][0]["problem"] == ""
        assert part_findings(estate) == {"0-balancer-haproxy": True, "1-web-nginx": True}
        foreseen = estate.run("down", "--dry-run").stdout
        assert all(str(theirs.folder / name) in foreseen for name in OWN)
        Killing(estate).through(("down",), ["judge-part:after_act", "end-part:after_act"])
        estate.run("down")
        assert theirs.hashes() == before
        assert old_site.losses(began) == [], theirs.log()
    assert theirs.pids() == masters


def test_what_does_not_run_or_does_not_include_is_refused_and_nothing_is_written(theirs: Yours, estate: LiveEstate) -> None:
    before = theirs.hashes()
    refused = estate.run("up", ok=(4,))
    assert "holds no pid" in refused.stderr
    assert "Manor does not start this program" in refused.stderr
    main = theirs.folder / "nginx.conf"
    main.write_text(main.read_text().replace("    include conf.d/*.conf;", "    include conf.d/legacy.conf;"))
    theirs.start("nginx", "haproxy")
    refused = estate.run("up", ok=(4,))
    assert f"does not include {theirs.folder}/conf.d/manor-beside-prod.conf; add `include" in refused.stderr
    assert set(theirs.hashes()) == set(before)


def test_a_haproxy_without_a_master_is_refused_and_lives(theirs: Yours, estate: LiveEstate) -> None:
    theirs.has_master = False
    theirs.start("nginx", "haproxy")
    (theirs.folder / "haproxy.pid").write_text(f"{theirs.processes['haproxy'].pid}\n")
    refused = estate.run("up", ok=(4,))
    assert "which SIGUSR2 would end: it is no master; start haproxy with one" in refused.stderr
    assert "Pid:" in theirs.say("show info")


def test_a_reload_that_does_not_take_our_file_is_undone(theirs: Yours, estate: LiveEstate) -> None:
    theirs.haproxy_files = ("haproxy.cfg", "haproxy.d/more.cfg")
    theirs.start("nginx", "haproxy")
    before = theirs.hashes()
    failed = Killing(estate).through(("apply",), ["confirm:after_act"], ok=(5,))
    assert "did not work with its new files" in failed.text
    assert "the old ones are back" in failed.text
    assert set(theirs.hashes()) - set(before) == {"conf.d/manor-beside-prod.conf"}
    estate.run("down")
    assert theirs.hashes() == before


def test_what_somebody_changed_is_drift_and_put_back(theirs: Yours, estate: LiveEstate) -> None:
    theirs.start("nginx", "haproxy")
    estate.up()
    own = theirs.folder / "haproxy.d" / "zz-manor-beside-prod.cfg"
    whole = own.read_bytes()
    own.write_bytes(whole + b"\n# somebody was here\n")
    assert str(own) in estate.run("plan", "-e", "prod", ok=(1,)).stdout
    estate.run("apply", "-e", "prod")
    assert own.read_bytes() == whole
    own.unlink()
    theirs.reload_haproxy()
    assert "0-balancer-haproxy" in estate.status("prod")["hosts"][0]["problem"]
    assert part_findings(estate) == {"0-balancer-haproxy": False, "1-web-nginx": True}
    estate.up()
    assert estate.status("prod")["hosts"][0]["problem"] == ""


def test_ours_stays_while_theirs_needs_it(theirs: Yours, estate: LiveEstate) -> None:
    theirs.start("nginx", "haproxy")
    estate.up()
    main = theirs.folder / "haproxy.cfg"
    whole = main.read_text()
    main.write_text(whole.replace("  default_backend legacy", "  use_backend manor.prod.echo if { hdr(host) echo.example }\n  default_backend legacy"))
    refused = estate.run("down", ok=(4,))
    assert "take out what names Manor's sections" in refused.stderr
    assert (theirs.folder / "haproxy.d" / "zz-manor-beside-prod.cfg").exists()
    main.write_text(whole)
    estate.run("down")
    assert not (theirs.folder / "haproxy.d" / "zz-manor-beside-prod.cfg").exists()


def test_an_estate_that_forgets_a_file_of_ours_is_refused(theirs: Yours, estate: LiveEstate) -> None:
    theirs.start("nginx", "haproxy")
    estate.up()
    estate.write(estate.text.replace(f"into: {theirs.folder}/conf.d, main", f"into: {theirs.folder}/other, main"))
    refused = estate.run("up", ok=(2,))
    assert f"{theirs.folder}/conf.d/manor-beside-prod.conf is still in your program" in refused.stderr
    estate.write(estate.text)


def test_over_the_socket_alone(theirs: Yours, estate: LiveEstate, echo: Path, tmp_path: Path) -> None:
    estate.write(written(RUNTIME, theirs))
    theirs.start("nginx", "haproxy")
    refused = estate.run("up", ok=(4,))
    assert "your haproxy has no backend manor.prod.echo with servers; paste what `manor render` writes" in refused.stderr
    estate.run("render", "--to", "rendered")
    paste(theirs, next((estate.folder / "rendered").glob("prod/all-1/paste/*/haproxy.cfg")).read_text())
    before = theirs.hashes()
    estate.run("check")
    estate.up()
    ship(estate, echo, tmp_path, "1")
    probe = Target(name="new", address=theirs.address, port=8100, host="echo.beside.example", rate=60, paths=("/",), tls=False, expected=(200,))
    with watched(tmp_path / "new", [probe, legacy(theirs)]) as site:
        first = site.outcomes(0, float("inf"))[0].due
        ship(estate, echo, tmp_path, "2")
        assert site.losses(first) == [], theirs.log()
    serving = estate.serving("prod")
    receipt = estate.run("receipt", "echo", "-e", "prod").stdout
    assert "which logs where you told it to" in receipt
    assert "not asked: the way in is not Manor's" in receipt
    assert "certified WITHOUT A PROBE" in receipt.splitlines()[0]
    theirs.reload_haproxy()
    told = estate.run("plan", "-e", "prod", ok=(1,)).stdout
    assert "echo all-1-a is ready, not maint" in told
    Killing(estate).through(("apply", "-e", "prod"), ["tell:after_act"])
    wait_until(lambda: estate.serving("prod") == serving, 10, "their balancer treats the slots as before, and has checked them")
    estate.run("down")
    assert theirs.say("show stat manor.prod.echo 4 -1").count(",MAINT,") == 2
    assert theirs.hashes() == before


def paste(theirs: Yours, text: str) -> None:
    """Do what the pasted text says."""
    (theirs.folder / "haproxy.d" / "from-manor.cfg").write_text(text)
    main = theirs.folder / "haproxy.cfg"
    rule = "  use_backend manor.prod.echo if { req.hdr(host),field(1,:),lower -m str echo.beside.example }\n"
    assert rule.strip() in text
    main.write_text(main.read_text().replace("  default_backend legacy", rule + "  default_backend legacy"))
    theirs.reload_haproxy()


def test_files_alone_on_a_host_where_nothing_may_be_started(theirs: Yours, estate: LiveEstate, tmp_path: Path) -> None:
    estate.write(written(STATIC, theirs))
    theirs.start("nginx")
    before = theirs.hashes()
    estate.up()
    door = estate.front("prod", "docs")
    for version in ("one", "two"):
        (tmp_path / version / "site").mkdir(parents=True)
        (tmp_path / version / "site" / "index.html").write_text(version)
        estate.run("ship", "docs", "--artifact", str(tmp_path / version), "--commit", version)
        assert curl(estate, *door, "/").stdout == version
    assert estate.status("prod")["hosts"][0]["problem"] == ""
    wait_until(lambda: processes_of(estate.folder) == {}, 10, "the guards of the rollout end, and nothing else runs")
    estate.run("down")
    assert theirs.hashes() == before
