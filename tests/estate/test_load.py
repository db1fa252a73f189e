"""Estates that are right: defaults, split files, marks, names, digest."""

from pathlib import Path

import pytest

from manor.errors import InvalidEstate
from manor.estate import services
from manor.estate.load import load_estate, load_located, problems_to_act
from manor.estate.model import Estate, Service
from manor.estate.names import local_host_name, route_host
from manor.estate.problems import Finding
from tests.estate.products import PRODUCTS

EXAMPLE = Path(__file__).parents[2] / "docs" / "estate.example.yaml"
SMALL = """\
estate: acme-health
services:
  warehouse:
    run: {command: "datasette serve --host {address} --port {port} --immutable warehouse.db", port: 8300, env: {VERSION: 1.10, DEBUG: true, ON: on}}
    health: {http: /-/versions.json}
    routes: [{host: data.acme.example}]
environments:
  dev: {}
  prod: {after: dev, hosts: {edge: 1, web: 3}}
"""


def load(folder: Path, text: str, **more: str) -> Estate:
    (folder / "estate.yaml").write_text(text)
    for name, part in more.items():
        (folder / "estate.d").mkdir(exist_ok=True)
        (folder / "estate.d" / f"{name}.yaml").write_text(part)
    return load_estate(folder / "estate.yaml", PRODUCTS)


def test_the_smallest_estate(tmp_path: Path) -> None:
    estate = load(tmp_path, SMALL)
    dev, prod = estate.environments.values()
    assert (estate.name, list(estate.environments)) == ("acme-health", ["dev", "prod"])
    assert list(dev.hosts) == ["all-1"]
    assert dev.hosts["all-1"].groups == ("edge", "web")
    assert list(prod.hosts) == ["edge-1", "web-1", "web-2", "web-3"]
    assert [(tier.role, tier.product) for tier in prod.traffic.chain] == [
        ("router", "traefik"),
        ("cache", "varnish"),
        ("balancer", "haproxy"),
        ("web", "nginx"),
    ]
    assert (dev.is_last, prod.is_last) == (False, True)
    run = prod.services["warehouse"].run
    assert run is not None
    assert run.env == {"VERSION": "1.10", "DEBUG": "true", "ON": "on"}
    assert dev.services["warehouse"] is prod.services["warehouse"]


def test_the_example_loads_and_shows_every_part(tmp_path: Path) -> None:
    estate = load_estate(EXAMPLE, PRODUCTS)
    stage, prod = estate.environments["stage"], estate.environments["prod"]
    limits = [environment.services["shop"].run.limits.memory for environment in (stage, prod) if environment.services["shop"].run]
    assert limits == [256 * 1024**2, 512 * 1024**2]
    assert prod.services["handbook"].health.http == "/"
    assert prod.services["ledger"].rollout.min_healthy == 0
    assert prod.hosts["web-1"].untouchable.ports == (8005,)
    assert [problem.split(": ")[0] for problem in problems_to_act(prod)] == [f"environments.prod.hosts.{name}.address" for name in ("edge-1", "web-1", "web-2")]
    assert problems_to_act(stage) == ()


def test_environments_are_in_the_order_of_promotion(tmp_path: Path) -> None:
    estate = load(tmp_path, SMALL.replace("  dev: {}\n", "").replace("after: dev", "after: stage") + "  stage: {after: dev}\n  dev:\n")
    assert list(estate.environments) == ["dev", "stage", "prod"]


def test_routes_are_completed_by_domain_and_environment(tmp_path: Path) -> None:
    estate = load(tmp_path, SMALL)
    dev, prod = estate.environments.values()
    assert route_host("Shop", dev, "acme.example") == "shop.dev.acme.example"
    assert route_host("shop", prod, "acme.example") == "shop.acme.example"
    assert route_host("data.other.example", dev, "acme.example") == "data.other.example"
    assert local_host_name("shop", "dev") == "shop.dev.localhost"


def test_the_digest_does_not_depend_on_order_or_files(tmp_path: Path) -> None:
    whole = load(tmp_path, SMALL)
    head, rest = SMALL.split("environments:\n")
    name, body = head.split("services:\n")
    (tmp_path / "split").mkdir()
    split = load(tmp_path / "split", name, b_environments="environments:\n" + rest, a_services="services:\n" + body)
    (tmp_path / "turned").mkdir()
    turned = load(tmp_path / "turned", "environments:\n" + rest + "services:\n" + body + name)
    assert whole.digest == split.digest == turned.digest
    assert len(whole.digest) == 64
    (tmp_path / "other").mkdir()
    assert load(tmp_path / "other", SMALL.replace("8300", "8301")).digest != whole.digest


def test_merged_values_keep_their_place(tmp_path: Path) -> None:
    text = SMALL.replace("hosts: {edge: 1, web: 3}}", "hosts: {web: 2},\n    services: {warehouse: {cache: {ttl: 5s}}}, differences: {warehouse: why}}")
    (tmp_path / "estate.yaml").write_text(text)
    loaded = load_located(tmp_path / "estate.yaml", PRODUCTS)
    assert str(loaded.mark("prod", "services", "warehouse", "cache", "ttl")) == "estate.yaml:10"
    assert str(loaded.mark("prod", "services", "warehouse", "run", "port")) == "estate.yaml:4"
    assert str(loaded.mark("dev", "services", "warehouse", "health")) == "estate.yaml:5"
    assert str(loaded.mark("prod", "hosts", "web")) == "estate.yaml:9"


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    text = """\
estate: acme
services:
  shop: &service
    run: &run {command: "serve {address} {port}", port: 8100}
    health: &health {http: /healthz}
  crm: {run: {<<: *run, port: 8110}, health: *health}
  pim: {<<: *service, run: {<<: [*run], port: 8120}}
environments: {dev: {}}
"""
    services_found = load(tmp_path, text).environments["dev"].services
    assert [service.run.port for service in services_found.values() if service.run] == [8100, 8110, 8120]
    assert {service.health.http for service in services_found.values()} == {"/healthz"}


def test_an_overlay_deletes_and_adds(tmp_path: Path) -> None:
    text = SMALL.replace(
        "hosts: {edge: 1, web: 3}}", "services: {warehouse: null, site: {profile: static, port: 8200}}, differences: {warehouse: moved, services.site: moved}}"
    )
    environments = load(tmp_path, text).environments
    assert list(environments["dev"].services) == ["warehouse"]
    assert list(environments["prod"].services) == ["site"]


def test_a_service_that_environments_share_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    original = services.check_service

    def counted(service: Service) -> list[Finding]:
        read.append(service)
        return original(service)

    monkeypatch.setattr(services, "check_service", counted)
    load(tmp_path, SMALL + "  a: {}\n  b: {}\n  c: {services: {warehouse: {owner: x}}, differences: {warehouse: why}}\n")
    assert len(read) == 2


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidEstate, match=r"^none\.yaml:1: cannot be read: No such file or directory; "):
        load_estate(tmp_path / "none.yaml", PRODUCTS)


def test_other_encodings_are_told(tmp_path: Path) -> None:
    (tmp_path / "estate.yaml").write_bytes(b"estate: acme\nowner: \xe4\n")
    with pytest.raises(InvalidEstate, match=r"^estate\.yaml:2: not UTF-8; "):
        load_estate(tmp_path / "estate.yaml", PRODUCTS)


def test_in_turn_may_have_one_host_where_none_is_declared(tmp_path: Path) -> None:
    estate = load(tmp_path, SMALL.replace("    health:", "    rollout: {strategy: in_turn}\n    health:"))
    assert estate.environments["dev"].services["warehouse"].rollout.min_healthy == 0.5


def test_the_digest_covers_the_files_that_extra_names(tmp_path: Path) -> None:
    text = SMALL.replace("    health:", "    extra: {nginx: {server: conf/a.inc}}\n    health:")
    (tmp_path / "conf").mkdir()
    digests = set()
    for content in ("one;", "two;"):
        (tmp_path / "conf" / "a.inc").write_text(content)
        digests.add(load(tmp_path, text).digest)
    assert len(digests) == 2


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.inc").write_text("one;")
    folder = tmp_path / "estate"
    folder.mkdir()
    (folder / "b.inc").symlink_to(tmp_path / "a.inc")
    with pytest.raises(InvalidEstate, match=r"estate.yaml:\d+: .*extra.nginx.server: b.inc leads out of the estate's folder"):
        load(folder, SMALL.replace("    health:", "    extra: {nginx: {server: b.inc}}\n    health:"))
