"""The files of a HAProxy tier; a function of the node alone.

Vendor's page: https://docs.haproxy.org/2.6/configuration.html
"""

from __future__ import annotations

from hashlib import sha256

from manor.estate.timeouts import pause_seconds, silence_seconds, tunnel_seconds
from manor.estate.topology import TierNode
from manor.integrations.proxies.base import RenderedFile
from manor.integrations.proxies.haproxy import maps, names
from manor.integrations.proxies.haproxy.backends import backends
from manor.integrations.proxies.haproxy.front import HTML, frontend
from manor.integrations.proxies.haproxy.options import HAProxyOptions, load_options
from manor.integrations.proxies.haproxy.quoting import block, milliseconds, word

MIN_HARD_STOP_SECONDS = 30.0


def render(node: TierNode) -> tuple[RenderedFile, ...]:
    """Return the configuration and its maps, sorted by name. Raises InvalidEstate."""
    options = load_options(node.options, node.subject)
    lists = ((names.ROUTES, maps.routes(node.services)),) if node.is_first else ()
    others = (*lists, (names.SERVICES, maps.service_list(node.services)))
    sections = (defaults(node, options), frontend(node, options), *backends(node, options))
    digest = config_digest(sections, others)
    head = general(node, options, digest) if node.theirs is None else block(f"backend {names.loaded(node, digest)} from {names.shared(node)}")
    ordered = (head, *sections) if node.theirs is None else (*sections, head)
    first, *rest = ordered
    config = "\n".join((f"# {node.log_name}: written by Manor; changes are overwritten\n{first}", *rest))
    files = (RenderedFile(names.config(node), config.encode(), 0o640), *(RenderedFile(name, content) for name, content in others))
    return tuple(sorted(files, key=lambda file: file.name))


def digest_of(node: TierNode) -> str:
    """Return the digest that a process working by the node's files shows in its environment."""
    files = {file.name: file.content.decode() for file in render(node)}
    lines = files[names.config(node)].splitlines()
    if node.theirs is None:
        return next(line for line in lines if "setenv MANOR_CONFIG" in line).split()[-1]
    begin = f"backend {names.loaded(node, '')}"
    return next(line for line in lines if line.startswith(begin)).removeprefix(begin).split()[0]


def config_digest(sections: tuple[str, ...], lists: tuple[tuple[str, bytes], ...]) -> str:
    """Return a digest of all that a reload takes over."""
    digest = sha256("\n".join(sections).encode())
    for name, content in lists:
        digest.update(name.encode() + b"\0" + content + b"\0")
    return digest.hexdigest()[:32]


def general(node: TierNode, options: HAProxyOptions, digest: str) -> str:
    """Return the section for the process."""
    return block(
        "global",
        (
            "default-path config",
            "noreuseport",
            f"maxconn {options.connections}" if options.connections else "",
            f"nbthread {options.threads}",
            f"hard-stop-after {milliseconds(hard_stop_seconds(node, options))}",
            f"stats socket {word(names.admin_socket(node))} mode 600 level admin",
            "stats timeout 30s",
            f"server-state-base {word(node.folders.state)}",
            "ssl-default-bind-options ssl-min-ver TLSv1.2",
            "tune.ssl.default-dh-param 2048",
            f"setenv MANOR_CONFIG {digest}",
        ),
    )


def hard_stop_seconds(node: TierNode, options: HAProxyOptions) -> float:
    """Return how long an old worker may finish its connections after a reload."""
    drains = (service.drain_seconds for service in node.services)
    return options.hard_stop if options.hard_stop is not None else max(MIN_HARD_STOP_SECONDS, *drains, 0.0)


def defaults(node: TierNode, options: HAProxyOptions) -> str:
    """Return what all proxies of the file have in common."""
    return block(
        "defaults" if node.theirs is None else f"defaults {names.shared(node)}",
        (
            "mode http",
            "log stderr format raw local0 notice" if node.theirs is None else "log global",
            f"timeout connect {milliseconds(options.connect_timeout)}",
            f"timeout client {milliseconds(pause_seconds({'page'}))}",
            f"timeout server {milliseconds(silence_seconds({'page'}))}",
            f"timeout tunnel {milliseconds(tunnel_seconds())}",
            f"timeout queue {milliseconds(options.queue_timeout)}",
            "option http-keep-alive",
            "option redispatch 1",
            "retries 3",
            "retry-on conn-failure empty-response",
            "http-reuse always",
            f"http-error status 503 content-type {word(HTML)} file {word(node.folders.pages / '503.html')}",
        ),
    )
