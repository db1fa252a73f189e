"""What holds for every product of the kind, found through the registry."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml

from manor.estate.model import Cache
from manor.estate.source import parse_yaml
from manor.estate.timeouts import CLASS_TIMES, ClassTimes, RouteClass
from manor.estate.topology import Listener, Role, Switch, TierNode, TrafficState
from manor.estate.translate import validate
from manor.execution.values import Completed
from manor.integrations.proxies.base import Proxy
from manor.registry import INTEGRATIONS, product, products
from tests.integrations.proxies import nodes

NAMES = products("proxies")
FILES = ("README.md", "__init__.py", "example.yaml", "options.py")


def node_of(proxy: Proxy, role: Role) -> TierNode:
    """Return a node that the product may be given in this role."""
    is_web = role is Role.WEB
    is_switching = proxy.traits.switch is not Switch.NONE and not is_web
    place = 3 if is_web else 2
    ends = () if is_web or is_switching else (nodes.endpoint("edge-1", "127.202.0.11", 9030),)
    listeners: list[Listener] | None = [] if is_web else None
    return nodes.node(proxy.name, role, place, services=[nodes.service()], is_web=is_web, is_switching=is_switching, next_=ends, listeners=listeners)


@dataclass(frozen=True)
class Idle:
    """Where a product's files and command lines say how long it keeps idle connections; the unit in seconds."""

    accepts: str
    sends: str
    unit: float = 1.0
    sends_times: float = 1.0
    """How many times `sends` a connection may get old."""


IDLE = {
    # HAProxy thins out its idle connections by half at each purge: 12 halvings of 4096, and 4 until the need is forgotten.
    "haproxy": Idle(r"timeout http-keep-alive (\d+)ms", r"pool-purge-delay (\d+)ms", 0.001, 16),
    "nginx": Idle(r"    keepalive_timeout (\d+)ms", r"        keepalive_timeout (\d+)ms", 0.001),
    "traefik": Idle(r"idleTimeout: (\d+)s", r"idleConnTimeout: (\d+)s"),
    "varnish": Idle(r"timeout_idle (\d+)", r"backend_idle_timeout (\d+)"),
}


def idle_seconds(name: str, role: Role) -> tuple[float, float]:
    """Return how long a product keeps connections from the side before, and those to the side after at the most."""
    proxy: Proxy = product("proxies", name)
    node = node_of(proxy, role)
    text = "".join(file.content.decode() for file in proxy.render(node)) + repr([program.argv for program in proxy.programs(node)])
    where = IDLE[name]
    accepts, sends = re.search(where.accepts, text), re.search(where.sends, text)
    assert accepts, f"{name} says nowhere how long it keeps idle connections"
    assert sends, f"{name} says nowhere when it gives them up"
    return float(accepts[1]) * where.unit, float(sends[1]) * where.unit * where.sends_times


def test_each_sender_gives_up_idle_connections_2_seconds_before_each_receiver() -> None:
    limits = {(name, role): idle_seconds(name, role) for name in NAMES for role in sorted(product("proxies", name).traits.roles)}
    for sender, (_, sends) in limits.items():
        for receiver, (accepts, _) in limits.items():
            assert sends + 2 <= accepts, f"{sender} sends into connections of {receiver} for {sends} s, which closes them after {accepts} s"


@pytest.mark.parametrize("name", NAMES)
def test_folder(name: str) -> None:
    folder = INTEGRATIONS / "proxies" / name
    assert [file for file in FILES if not (folder / file).is_file()] == []
    proxy: Proxy = product("proxies", name)
    assert proxy.name == name


@pytest.mark.parametrize("name", NAMES)
def test_example_names_every_option(name: str) -> None:
    proxy: Proxy = product("proxies", name)
    example = yaml.safe_load((INTEGRATIONS / "proxies" / name / "example.yaml").read_text())
    tier = next(tier for tier in example["chain"] if name in tier.values())
    options = proxy.options.model_validate(tier.get("options", {}))
    assert options == proxy.options()
    assert sorted(tier.get("options", {})) == sorted(proxy.options.model_fields)
    assert all(field.description for field in proxy.options.model_fields.values())


@pytest.mark.parametrize("name", NAMES)
def test_traits_are_consistent(name: str) -> None:
    traits = product("proxies", name).traits
    assert traits.roles
    assert traits.default_for <= traits.roles
    assert traits.switch is not Switch.NONE or not traits.switch_checks
    assert traits.switch is Switch.NONE or traits.in_flight_source


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_option_is_one_fault_at_its_own_key(name: str) -> None:
    options = product("proxies", name).options
    for key in options.model_fields:
        for wrong in ("x y", [1], {"a": 1}):
            text = parse_yaml(json.dumps({key: wrong}), "estate.yaml")
            found = validate(options, text, {})[1]
            assert [finding.path for finding in found] == [(key,)], found
            assert all("; " in finding.wrong and "Input should" not in finding.wrong for finding in found), found


@pytest.mark.parametrize("name", NAMES)
def test_verbatim_text_stands_where_the_traits_say(name: str) -> None:
    proxy: Proxy = product("proxies", name)
    for place in proxy.traits.extra_places:
        service = nodes.service(extra={name: {place: b"# owner's word"}})
        node = replace(node_of(proxy, min(proxy.traits.roles)), services=(service,))
        assert [file.name for file in proxy.render(node) if b"# owner's word" in file.content], f"{name} does not render {place}"


LONG = ClassTimes(3607.0, 71.0, 67.0)
TIMES: dict[RouteClass, ClassTimes] = {
    "page": ClassTimes(61.0, 31.0, 67.0),
    "stream": LONG,
    "upload": ClassTimes(613.0, 601.0, 617.0),
    "websocket": LONG,
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("is_first", [True, False])
def test_times_come_from_the_one_table(name: str, is_first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a table of other numbers none of the usual ones is left in any file."""
    for class_, times in TIMES.items():
        monkeypatch.setitem(CLASS_TIMES, class_, times)
    proxy: Proxy = product("proxies", name)
    is_first = is_first and proxy.traits.can_be_first
    routes = [nodes.route("a.example", path=f"/{class_}", class_=class_) for class_ in TIMES]
    service = nodes.service(routes=routes, response_seconds=3607.0, drain_seconds=601.0, cache=Cache(ttl=5.0))
    role = min(proxy.traits.roles)
    ends = (nodes.endpoint("edge-1", "127.202.0.11", 9030),)
    for is_switching in {False, proxy.traits.switch is not Switch.NONE}:
        node = nodes.node(
            name, role, 0 if is_first else 2, services=[service], is_first=is_first, is_switching=is_switching, next_=() if is_switching else ends
        )
        text = "".join(file.content.decode() for file in proxy.render(replace(node, is_web=role is Role.WEB)))
        assert re.findall(r"\b(?:60|600|3600)(?:000ms|s|\.000s?)", text) == []


def test_each_role_has_at_most_one_default() -> None:
    for role in Role:
        assert len([name for name in NAMES if role in product("proxies", name).traits.default_for]) <= 1


@pytest.mark.parametrize(("name", "role"), [(name, role) for name in NAMES for role in sorted(product("proxies", name).traits.roles)])
def test_render_is_a_sorted_function(name: str, role: Role) -> None:
    proxy: Proxy = product("proxies", name)
    files = proxy.render(node_of(proxy, role))
    assert files == proxy.render(node_of(proxy, role))
    assert [file.name for file in files] == sorted({file.name for file in files})
    assert files


@pytest.mark.parametrize(("name", "role"), [(name, role) for name in NAMES for role in sorted(product("proxies", name).traits.roles)])
def test_programs_reloads_and_questions_are_the_tiers(name: str, role: Role) -> None:
    proxy: Proxy = product("proxies", name)
    node = node_of(proxy, role)
    programs = proxy.programs(node)
    assert programs[0].name == f"tier-{node.key}"
    assert all(program.name.startswith(f"tier-{node.key}") for program in programs)
    acts = [*proxy.reload(node), proxy.ready(node), proxy.loaded(node), *([] if proxy.rotate(node) == "copytruncate" else proxy.rotate(node))]
    assert {act.touch.subject for act in acts if not isinstance(act, str)} == {node.subject}
    same = {file.name: file.content for file in proxy.render(node)}
    assert not proxy.needs_restart(same, same)


@pytest.mark.parametrize("name", NAMES)
def test_lines_that_are_no_records(name: str) -> None:
    proxy: Proxy = product("proxies", name)
    for line in ("", "{", "{}", "[NOTICE] started", json.dumps({"time": "soon"})):
        assert proxy.parse_access(line) is None


@pytest.mark.parametrize("name", [name for name in NAMES if product("proxies", name).traits.switch is not Switch.NONE])
def test_switching_is_idempotent_and_names_no_other_service(name: str) -> None:
    proxy: Proxy = product("proxies", name)
    node = nodes.node(name, min(proxy.traits.roles), 0, services=[nodes.service(), nodes.service("crm", port=8200)], is_first=True, is_switching=True)
    service = node.services[1]
    traffic = nodes.traffic(service, "b", TrafficState.DRAIN)
    assert proxy.switch_files(node, service, traffic) == proxy.switch_files(node, service, traffic)
    assert proxy.switch_files(node, service, traffic), "a restart would not come back with this traffic"
    assert "crm" not in repr(proxy.switch(node, service, traffic))
    changed = service.servers[0].name
    said = repr(proxy.switch(node, service, {changed: TrafficState.READY}))
    assert not [server.name for server in service.servers[1:] if server.name in said], "who changes one server says nothing of the others"


@pytest.mark.parametrize("name", NAMES)
def test_a_check_that_fails_without_words_still_refuses(name: str) -> None:
    proxy: Proxy = product("proxies", name)
    assert proxy.parse_check(Completed(1))
    assert proxy.parse_check(Completed(0)) == ()


@pytest.mark.parametrize("name", NAMES)
def test_readme_says_what_a_reader_looks_for(name: str) -> None:
    text = (Path(INTEGRATIONS) / "proxies" / name / "README.md").read_text()
    assert text.startswith("# ")
    assert "reload" in text.lower()
