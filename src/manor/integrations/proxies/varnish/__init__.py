"""Varnish 7.1 as the cache."""

from manor.integrations.proxies.varnish.proxy import Varnish

product = Varnish()
