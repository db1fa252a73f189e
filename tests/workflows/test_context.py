"""Addresses, numbers and front ports that an estate keeps; where its state is; what a host's guard allows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from manor.errors import NotOurs, UsageError
from manor.estate.model import Host
from manor.execution import machine
from manor.execution.guard import Manage
from manor.execution.values import Command, Effect, HostPath, PutFile, Touch
from manor.state import places
from manor.workflows.context import Context, find_estate, has_place, open_context, state_folder
from manor.workflows.rolling import require_up
from tests.workflows.conftest import ESTATE

NETWORK = machine.NETWORKS[0]
pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def file(tmp_path: Path, begin_state: Callable[[Path], Path]) -> Path:
    path = tmp_path / "estate.yaml"
    path.write_text(ESTATE)
    begin_state(tmp_path / ".manor" / "state")
    return path


@pytest.fixture
def context(file: Path) -> Iterator[Context]:
    with open_context(file) as opened:
        yield opened


def addresses(context: Context, environment: str) -> dict[str, str]:
    return {name: place.address for name, place in context.addressing(context.environment(environment)).hosts.items()}


def test_local_hosts_get_addresses_by_environment_and_host(context: Context) -> None:
    assert addresses(context, "dev") == {"all-1": f"127.{NETWORK}.1.1"}
    assert addresses(context, "prod") == {"edge-1": f"127.{NETWORK}.2.1", "web-1": f"127.{NETWORK}.2.2", "web-2": f"127.{NETWORK}.2.3"}


def test_addresses_are_kept_over_time_and_over_changes(file: Path) -> None:
    with open_context(file) as context:
        before = addresses(context, "prod")
    file.write_text(ESTATE.replace("edge: 1, web: 2", "edge: 2, web: 3"))
    with open_context(file) as context:
        after = addresses(context, "prod")
    assert before.items() <= after.items()
    assert len(set(after.values())) == len(after) == 5


def test_addresses_that_ran_out_are_told(context: Context) -> None:
    addresses(context, "prod")
    for last in range(4, 255):
        context.store.write_now(places.keep_host, places.HostPlace("prod", f"gone-{last}", f"127.{NETWORK}.1.{last}"))
    more = context.environment("prod").model_copy(update={"hosts": {"new-1": Host(name="new-1")}})
    with pytest.raises(UsageError, match="`manor down -e prod` gives them back"):
        context.addressing(more)


def test_places_that_ran_out_are_told(context: Context) -> None:
    for number in range(1, 255):
        context.store.write_now(places.keep_environment, places.EnvironmentPlace(f"other-{number}", number, 20000 + number, 30000 + number))
    with pytest.raises(UsageError, match="254 environments have a place on this machine"):
        context.addressing(context.environment("dev"))


def test_each_environment_has_a_pair_of_ports_on_this_machine(context: Context) -> None:
    fronts = {name: context.addressing(context.environment(name)).front for name in ("dev", "prod")}
    assert fronts == {"dev": (8080, 8443), "prod": (8180, 8543)}
    assert context.addressing(context.environment("dev")).front == (8080, 8443)


def test_hosts_with_addresses_keep_theirs_and_need_no_place_here(file: Path, tmp_path: Path) -> None:
    file.write_text(ESTATE.replace("{edge: 1, web: 2}", "{edge-1: {address: 10.1.0.11, groups: [edge]}, web-1: {address: 10.1.0.21, groups: [web]}}"))
    with open_context(file) as context:
        addressing = context.addressing(context.environment("prod"))
        assert {name: place.address for name, place in addressing.hosts.items()} == {"edge-1": "10.1.0.11", "web-1": "10.1.0.21"}
        assert addressing.front is None
        with pytest.raises(UsageError, match="SSH is not supported yet"):
            context.site("prod")
    assert not (tmp_path / "machine").exists()


def test_two_estates_never_share_an_address(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "estate.yaml"
    other.parent.mkdir()
    other.write_text(ESTATE)
    with open_context(file) as one, open_context(other) as two:
        assert not set(addresses(one, "prod").values()) & set(addresses(two, "prod").values())
        assert one.addressing(one.environment("prod")).front != two.addressing(two.environment("prod")).front


def test_the_state_lies_beside_the_estate_or_where_it_is_told(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_folder(file) == tmp_path / ".manor" / "state"
    monkeypatch.setenv("MANOR_STATE", str(tmp_path / "elsewhere"))
    assert state_folder(file) == tmp_path / "elsewhere"


def test_an_estate_is_found_by_file_by_folder_and_here(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_estate(None) == find_estate(tmp_path) == find_estate(file) == file
    with pytest.raises(UsageError, match="manor init"):
        find_estate(tmp_path / "nowhere.yaml")


def test_names_that_are_not_declared(context: Context) -> None:
    with pytest.raises(UsageError, match=r"no environment 'live'; there are: dev, prod"):
        context.environment("live")
    with pytest.raises(UsageError, match=r"no service 'crm'; there are: shop"):
        context.service("crm")


async def test_a_runner_acts_inside_its_host_only(context: Context) -> None:
    site = context.site("dev")
    guard = site.runners["all-1"].guard
    assert guard.manage is Manage.FULL
    with pytest.raises(NotOurs):
        await site.runners["all-1"].change([PutFile(HostPath("/etc/passwd"), b"")])


def test_the_certificate_of_the_first_tier_is_the_same_each_time(context: Context) -> None:
    first, again = (context.site("prod").hosts["edge-1"].base for _ in range(2))
    assert first == again
    assert [file for file in first if file.path.name == "both.pem"]


PARTS = """
traffic:
  chain:
    - {balancer: haproxy, manage: include, into: /etc/haproxy/conf.d, main: /etc/haproxy/haproxy.cfg, pid: /run/haproxy.pid, socket: /run/haproxy.sock}
    - {web: nginx}
"""


def test_in_a_folder_of_somebody_else_the_guard_allows_one_file(file: Path) -> None:
    file.write_text(ESTATE.replace("prod: {after: dev, hosts: {edge: 1, web: 2}}", "prod: {after: dev}") + PARTS)
    with open_context(file) as context:
        site = context.site("prod")
    (guard,) = [runner.guard for runner in site.runners.values()]
    touch = Touch("tier/0-balancer-haproxy", Effect.INCLUDE)
    guard.check(PutFile(HostPath("/etc/haproxy/conf.d/zz-manor-acme-health-prod.cfg"), b"", touch=touch))
    with pytest.raises(NotOurs, match="lies outside"):
        guard.check(PutFile(HostPath("/etc/haproxy/conf.d/other.cfg"), b"", touch=touch))
    with pytest.raises(NotOurs, match="`manage: include` allows no act of the kind full"):
        guard.check(Command(("haproxy",), Touch("tier/0-balancer-haproxy", Effect.FULL)))
    assert [program.name for program in site.hosts["all-1"].supervised.programs] == ["shop-a", "shop-b", "tier-1-web-nginx"]


def test_a_host_where_files_alone_may_be_put_has_no_supervisor(file: Path) -> None:
    docs = "services: {docs: {profile: static, port: 8400, health: {http: /}, routes: [{host: docs}], manage: include}}"
    web = "traffic: {chain: [{web: nginx, manage: include, into: /etc/nginx/conf.d, main: /etc/nginx/nginx.conf, pid: /run/nginx.pid}]}"
    file.write_text(f"estate: acme-health\n{docs}\n{web}\nenvironments: {{dev: {{hosts: {{all-1: {{groups: [web], manage: include}}}}}}}}\n")
    with open_context(file) as context:
        host = context.site("dev").hosts["all-1"]
    assert not host.is_supervised
    assert (host.supervised.programs, host.supervisor_files) == ((), ())
    assert host.beside == (HostPath("/etc/nginx/conf.d/manor-acme-health-dev.conf"),)


@pytest.mark.parametrize(("addressed", "is_up"), [((), False), (("web-1",), False), (("edge-1", "web-1", "web-2"), True)], ids=["local", "both", "addressed"])
async def test_whether_an_environment_is_up_is_the_same_to_who_looks_and_to_who_ships(context: Context, addressed: tuple[str, ...], is_up: bool) -> None:
    hosts = context.environment("prod").hosts
    hosts.update({name: hosts[name].model_copy(update={"address": f"10.0.0.{number}"}) for number, name in enumerate(addressed, 1)})
    assert await has_place(context, "prod") is is_up
    refused = nullcontext() if is_up else pytest.raises(UsageError, match=r"^prod is not up; first `manor up -e prod`$")
    with refused:
        await require_up(context, "prod")
