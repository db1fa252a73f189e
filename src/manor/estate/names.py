"""What routes and services are called from outside (docs/estate.md, names).

Invariant: pure.
"""

from __future__ import annotations

from manor.estate.model import Environment


def route_host(host: str, environment: Environment, domain: str) -> str:
    """Return a route's full host name, lower case: a name without a dot gets the domain and, but for the last environment, the environment's name."""
    if "." in host:
        return host.lower()
    return f"{host}.{domain}".lower() if environment.is_last else f"{host}.{environment.name}.{domain}".lower()


def local_host_name(service: str, environment: str) -> str:
    """Return the name by which this machine's browsers reach a service of local hosts."""
    return f"{service}.{environment}.localhost"
