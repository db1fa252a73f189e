"""nginx: the web tier with its slot listeners; alone, also the first and the timed switching tier."""

from manor.integrations.proxies.nginx.product import Nginx

product = Nginx()
