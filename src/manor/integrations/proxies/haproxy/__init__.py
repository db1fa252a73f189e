"""HAProxy: first tier, inner balancer, and the counted switching tier."""

from manor.integrations.proxies.haproxy.product import HAProxy

product = HAProxy()
