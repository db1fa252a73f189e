"""Which hosts carry what."""

from pathlib import Path

import pytest

from manor.estate.load import load_estate
from manor.estate.model import Environment
from manor.estate.placement import group_of_service, group_of_tier, groups_of, hosts_of, hosts_of_tier, instances_of, services_on
from tests.estate.products import PRODUCTS

TEXT = """\
estate: acme
services:
  shop: {run: {command: "serve {address} {port}", port: 8100}, health: {http: /}}
  crm: {run: {command: "serve {address} {port}", port: 8110}, health: {http: /}, place: {on: office}}
traffic: {chain: [{balancer: haproxy}, {cache: varnish, on: office}, {balancer: haproxy}, {web: nginx}]}
environments:
  dev: {}
  stage: {after: dev, hosts: {office: 1}}
  prod:
    after: stage
    hosts: {edge: 1, web: 2, office-7: {groups: [office, web]}, web-9: {manage: observe}}
"""


@pytest.fixture
def environments(tmp_path: Path) -> dict[str, Environment]:
    (tmp_path / "estate.yaml").write_text(TEXT)
    return load_estate(tmp_path / "estate.yaml", PRODUCTS).environments


def test_groups_and_hosts(environments: dict[str, Environment]) -> None:
    prod = environments["prod"]
    assert groups_of(prod) == ("edge", "web", "office")
    assert hosts_of(prod, "web") == ("web-1", "web-2", "office-7", "web-9")
    assert hosts_of(prod, "nobody") == ()
    assert prod.hosts["web-9"].manage == "observe"


def test_services(environments: dict[str, Environment]) -> None:
    prod = environments["prod"]
    assert group_of_service(prod, "shop") == "web"
    assert instances_of(prod, "shop") == ("web-1", "web-2", "office-7", "web-9")
    assert instances_of(prod, "crm") == ("office-7",)
    assert services_on(prod, "office-7") == ("crm", "shop")
    assert services_on(prod, "edge-1") == ()


def test_tiers(environments: dict[str, Environment]) -> None:
    prod = environments["prod"]
    assert [group_of_tier(prod, place) for place in range(4)] == ["edge", "office", "edge", "web"]
    assert hosts_of_tier(prod, 0) == ("edge-1",)
    assert hosts_of_tier(prod, 3) == ("web-1", "web-2", "office-7", "web-9")


def test_defaults_fall_back_to_the_first_group(environments: dict[str, Environment]) -> None:
    stage = environments["stage"]
    assert {group_of_tier(stage, place) for place in range(4)} == {"office"}
    assert instances_of(stage, "shop") == ("office-1",)


def test_one_host_is_in_every_group(environments: dict[str, Environment]) -> None:
    dev = environments["dev"]
    assert dev.hosts["all-1"].groups == ("edge", "office", "web")
    assert {hosts_of_tier(dev, place) for place in range(4)} == {("all-1",)}
    assert services_on(dev, "all-1") == ("crm", "shop")
