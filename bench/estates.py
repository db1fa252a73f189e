"""Writes estates of any size, for measuring and for tests: 4 services a host, four environments."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from manor.estate.load import load_estate

SERVICE = """\
  {name}:
    run:
      command: "serve --host {{address}} --port {{port}} --name {name}"
      port: {port}
      env: {{TZ: UTC, MODE: production}}
      stop: {{signal: TERM, timeout: 30s}}
      limits: {{memory: 512MiB, files: 65536}}
    place: {{on: {group}}}
    health: {{http: /healthz, interval: 2s, passes: 3}}
    routes: [{{host: {name}}}, {{host: {name}, path: /media/upload, class: upload, body: 200MiB}}]
    static: [{{path: /static, dir: public}}]
    cache: {{ttl: 5m, grace: 1h, bypass: {{paths: [/basket], cookies: [sessionid]}}}}
    rollout: {{min_healthy: 75%}}
    owner: {name}@acme.example
"""
HOSTS_A_GROUP = 50
SERVICES_A_HOST = 4
EDGES = 2


def estate_text(hosts: int) -> str:
    """Return an estate whose prod has so many hosts, with 4 services for each.

    Every 50 hosts are a group of their own, of which the other environments have one host.
    """
    groups = max(1, hosts // HOSTS_A_GROUP)
    services = "".join(_service(number, groups) for number in range(hosts * SERVICES_A_HOST))
    prod = "".join(_host(number, groups) for number in range(hosts))
    few = ", ".join(f"host-{number}: {{groups: [web, part-{number}]}}" for number in range(groups))
    chain = "traffic: {chain: [{balancer: haproxy}, {web: nginx}]}\n"
    return f"estate: large\ndomain: acme.example\n{chain}services:\n{services}environments:\n{ENVIRONMENTS.format(few=few)}{prod}"


ENVIRONMENTS = """\
  dev: {{hosts: {{{few}}}}}
  test: {{after: dev, gates: [tests], hosts: {{{few}}}}}
  stage:
    after: test
    hosts: {{{few}}}
    services: {{service-0: {{rollout: {{bake: 1m}}}}}}
    differences: {{service-0: "short, for the measurement"}}
  prod:
    after: stage
    hosts:
"""


def _service(number: int, groups: int) -> str:
    return SERVICE.format(name=f"service-{number}", port=20_000 + 2 * (number // groups), group=f"part-{number % groups}")


def _host(number: int, groups: int) -> str:
    edge = "edge, " if number < EDGES else ""
    return f"      host-{number}: {{address: 10.{number // 65536}.{number // 256 % 256}.{number % 256}, groups: [{edge}web, part-{number % groups}]}}\n"


def main() -> None:
    """Write an estate of so many hosts to a file, load it, and print the seconds."""
    hosts, path = int(sys.argv[1]), Path(sys.argv[2])
    path.write_text(estate_text(hosts))
    start = time.perf_counter()
    load_estate(path)
    print(f"{hosts} hosts, {hosts * SERVICES_A_HOST} services, 4 environments: {time.perf_counter() - start:.3f} s")


if __name__ == "__main__":
    main()
