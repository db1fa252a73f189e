"""What each tier of each tested chain is given: one file a chain, a line a fact."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from manor.estate.layout import HostLayout
from manor.estate.load import load_estate
from manor.estate.ports import front_ports
from manor.estate.topology import Listener, TierNode
from manor.estate.wiring import Addressing, HostPlace, Wiring
from manor.execution.values import HostPath
from tests.estate.products import PRODUCTS

CHAINS = {
    "router-cache-balancer-web": "[{router: traefik}, {cache: varnish}, {balancer: haproxy}, {web: nginx}]",
    "balancer-cache-router-web": "[{balancer: haproxy}, {cache: varnish}, {router: traefik}, {web: nginx}]",
    "balancer-cache-balancer-web": "[{balancer: haproxy}, {cache: varnish}, {balancer: haproxy}, {web: nginx}]",
    "balancer-web": "[{balancer: haproxy}, {web: nginx}]",
    "web": "[{web: nginx}]",
}
TRAITS = {name: replace(traits, makes_request_ids=name != "traefik") for name, traits in PRODUCTS.items()}
ESTATE = """\
estate: acme-health
domain: acme.example
services:
  crm:
    run: {{command: "crm {{address}}:{{port}}", port: 8200}}
    health: {{http: /up}}
    routes: [{{host: crm}}]
    place: {{on: web-1-only}}
    rollout: {{strategy: interrupt, longest_outage: 5s}}
  shop:
    run: {{command: "shop {{address}}:{{port}}", port: 8100, keep_alive: 20s}}
    health: {{http: /healthz}}
    routes: [{{host: shop}}, {{host: shop, path: /events, class: stream}}]
    probe: [{{path: /probe?x=1}}]
traffic: {{chain: {chain}}}
environments:
  prod: {{hosts: {{edge-1: {{groups: [edge]}}, web-1: {{groups: [web, web-1-only]}}, web-2: {{groups: [web]}}}}}}
"""


def wire(tmp_path: Path, chain: str) -> Wiring:
    """Return the wiring of an estate with a chain, every host at an address of its own."""
    file = tmp_path / "estate.yaml"
    file.write_text(ESTATE.format(chain=CHAINS[chain]))
    estate = load_estate(file, TRAITS)
    environment = estate.environments["prod"]
    places = {
        name: HostPlace(f"127.16.1.{number}", HostLayout(HostPath("/h") / name, HostPath("/s") / name)) for number, name in enumerate(environment.hosts, 1)
    }
    return Wiring(estate, environment, Addressing(places, front_ports(0)), TRAITS)


def describe(node: TierNode) -> Iterator[str]:
    """Yield a node's facts."""
    marks = [word for word, is_so in (("first", node.is_first), ("switching", node.is_switching), ("web", node.is_web), ("tls", node.tls is not None)) if is_so]
    yield f"{node.host} {node.key}: {' '.join(marks)}".rstrip(": ")
    yield f"  listens   {', '.join(map(listener_text, node.listeners)) or 'for its slots only'}"
    yield f"  admin     {node.admin_address}:{node.admin_port}"
    yield f"  idle      accepts {node.accept_idle_seconds:g} s, sends {node.send_idle_seconds:g} s"
    yield f"  id        {node.request_id}{', a cache is in the chain' if node.has_cache else ''}"
    for endpoint in node.next:
        yield f"  next      {endpoint.name} {endpoint.address}:{endpoint.port}{' backup' if endpoint.backup else ''}"
    for view in node.services:
        hosts = ", ".join(f"{'|'.join(route.hosts)}{route.path} {route.class_}" for route in view.routes)
        limits = f"drain {view.drain_seconds:g} s, silence {view.response_seconds:g} s"
        yield f"  service   {view.name}: {hosts}; {limits}, past the cache {', '.join(view.probe_paths)}"
        for server in view.servers:
            yield f"    server  {server.name} {server.address}:{server.port} → {server.service_port}"


def listener_text(listener: Listener) -> str:
    """Return a listener for people."""
    return f"{listener.address}:{listener.port}{' tls' if listener.tls else ''}"


@pytest.mark.parametrize("chain", CHAINS)
def test_nodes_of_a_chain_are_as_its_file_says(chain: str, tmp_path: Path, update_golden: bool) -> None:
    text = "".join(f"{line}\n" for node in wire(tmp_path, chain).nodes() for line in describe(node))
    golden = Path(__file__).parent / "chains" / f"{chain}.txt"
    if update_golden:
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("chain", CHAINS)
def test_each_sender_gives_up_idle_connections_two_seconds_before_the_receiver(chain: str, tmp_path: Path) -> None:
    nodes = wire(tmp_path, chain).nodes()
    for place in range(len({node.place for node in nodes}) - 1):
        senders = [node.send_idle_seconds for node in nodes if node.place == place]
        receivers = [node.accept_idle_seconds for node in nodes if node.place == place + 1]
        assert max(senders) + 2 <= min(receivers)


@pytest.mark.parametrize("chain", CHAINS)
def test_no_two_listeners_on_one_place(chain: str, tmp_path: Path) -> None:
    wiring = wire(tmp_path, chain)
    places = [(listener.address, listener.port) for node in wiring.nodes() for listener in node.listeners]
    places += [(node.admin_address, node.admin_port) for node in wiring.nodes()]
    places += [(server.address, port) for view in wiring.services() for server in view.servers for port in (server.port, server.service_port) if port]
    assert len(places) == len(set(places))


def test_exactly_one_tier_switches_and_one_is_first(tmp_path: Path) -> None:
    for chain in CHAINS:
        nodes = wire(tmp_path, chain).nodes()
        assert len({node.place for node in nodes if node.is_switching}) == len({node.place for node in nodes if node.is_first}) == 1
