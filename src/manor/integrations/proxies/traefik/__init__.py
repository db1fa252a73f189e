"""Traefik 3.7 as router, and as a switching tier that waits instead of counting."""

from manor.integrations.proxies.traefik.proxy import Traefik

product = Traefik()
