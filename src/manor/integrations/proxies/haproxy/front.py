"""The frontend: listeners, what the first tier does for the whole chain, and the access log (docs/traffic.md).

Vendor's page: https://docs.haproxy.org/2.6/configuration.html#4.2
"""

from __future__ import annotations

from manor.estate.timeouts import pause_seconds
from manor.estate.topology import Listener, TierNode
from manor.integrations.proxies.haproxy import maps, names
from manor.integrations.proxies.haproxy.options import HAProxyOptions
from manor.integrations.proxies.haproxy.quoting import block, log_format, milliseconds, word

FORGED = r"(?i)^(x[-_]manor[-_].*|x[-_]request[-_]id|forwarded|x[-_]real[-_]ip|x[-_]forwarded[-_](for|host|proto|port|server|prefix))$"
HTML = "text/html; charset=utf-8"


def frontend(node: TierNode, options: HAProxyOptions) -> str:
    """Return the frontend section."""
    steps = first_steps(node) if node.is_first else inner_steps(node)
    return block(
        titled(node),
        tuple(bind(node, listener) for listener in node.listeners),
        (logging(node), f"log-format {access_format(node)}", "option idle-close-on-response"),
        timeouts(node, options),
        steps,
        logged_answer(node),
        ("http-response del-header x-manor- -m beg",) if node.is_first else (),
        verbatim(node),
        passing(node),
    )


def titled(node: TierNode) -> str:
    """Return how the frontend begins; among other people's sections it says whose defaults are its own."""
    return f"frontend {names.front(node)}" if node.theirs is None else f"frontend {names.front(node)} from {names.shared(node)}"


def logging(node: TierNode) -> str:
    """Return where the access log goes; somebody else's program logs where they told it to."""
    return "log stdout format raw local0" if node.theirs is None else "log global"


def passing(node: TierNode) -> tuple[str, ...]:
    """Return which backend answers."""
    if not node.is_switching:
        return (f"default_backend {names.next_tier(node)}",)
    return (f"use_backend {node.mark}%[var(txn.service)]",)  # what is no service of this tier has been answered 404 by now


def listed(node: TierNode, name: str) -> str:
    """Return a list beside the configuration as one word."""
    return word(names.list_file(node, name))


def bind(node: TierNode, listener: Listener) -> str:
    """Return the line of a listener."""
    line = f"bind {word(f'{listener.address}:{listener.port}')}"
    if listener.tls and node.tls:
        least = "" if node.theirs is None else " ssl-min-ver TLSv1.2"
        return f"{line} ssl crt {word(node.tls.both)} alpn h2,http/1.1{least}"
    return line


def timeouts(node: TierNode, options: HAProxyOptions) -> tuple[str, ...]:
    """Return the client's side: how long it may pause in a body, send headers, and be idle."""
    classes = {route.class_ for service in node.services for route in service.routes}
    return (
        f"timeout client {milliseconds(pause_seconds(classes))}",
        f"timeout http-request {milliseconds(options.header_timeout)}",
        f"timeout http-keep-alive {milliseconds(node.accept_idle_seconds)}",
    )


def first_steps(node: TierNode) -> tuple[str, ...]:
    """Return what only the first tier does: hygiene, routing, redirects, limits, stamping."""
    return (
        f"http-request del-header {word(FORGED)} -m reg",
        f"unique-id-format {word('%[uuid]')}",
        *request_facts(),
        *route_facts(node),
        *redirects(node),
        not_found(node, "!{ var(txn.service) -m found }"),
        *body_limits(node),
        # Added, not set: whatever clients sent under these names is gone, so nobody has to look for it once more.
        "http-request add-header X-Manor-Service '%[var(txn.service)]'",
        "http-request add-header X-Request-Id '%[unique-id]'",
        "http-request add-header X-Forwarded-For '%[src]'",
        "http-request add-header X-Real-IP '%[src]'",
        "http-request add-header X-Forwarded-Proto https if { ssl_fc }",
        "http-request add-header X-Forwarded-Proto http unless { ssl_fc }",
        "http-request add-header X-Forwarded-Host '%[req.hdr(host)]'",
        "http-request add-header X-Forwarded-Port '%[dst_port]'",
        *no_repeats(),
    )


def route_facts(node: TierNode) -> tuple[str, ...]:
    """Return the rules that find the route; of what stands in it, only what some rule asks for."""
    found = f"var(txn.host),concat(,txn.path,/),map_beg({names.list_file(node, names.ROUTES)})"
    if not (maps.moves(node.services) or has_limits(node) or not node.is_switching):
        return ("http-request set-var(txn.service) " + word(f"{found},field(1,:)"),)
    return (
        "http-request set-var(txn.route) " + word(found),
        "http-request set-var(txn.service) 'var(txn.route),field(1,:)' unless { var(txn.route) -m beg ! }",
        *(() if node.is_switching else ("http-request set-var(txn.class) 'var(txn.route),field(2,:)'",)),
    )


def has_limits(node: TierNode) -> bool:
    """Tell whether a route says how large a body may be."""
    return any(route.body_bytes for service in node.services for route in service.routes)


def body_limits(node: TierNode) -> tuple[str, ...]:
    """Return the rules against bodies that are too large."""
    if not has_limits(node):
        return ()
    return (
        "http-request set-var(txn.limit) 'var(txn.route),field(3,:),add(0)'",
        "http-request deny deny_status 413 if { var(txn.limit) -m int gt 0 } { req.body_size,sub(txn.limit) gt 0 }",
        # A chunked body is measured by the web tier, as it comes in: of such a one nothing is known here but what has arrived.
        "http-request add-header X-Manor-Body '%[var(txn.limit)]' if { var(txn.limit) -m int gt 0 }",
    )


def inner_steps(node: TierNode) -> tuple[str, ...]:
    """Return what a later tier does: go by the stamp."""
    traced = ("http-request set-header X-Request-Id '%[req.hdr(traceparent),field(2,-)]' if { req.hdr(traceparent) -m found }",)
    return (
        *(traced if node.request_id == "from_trace" else ()),
        "http-request set-var(txn.id) req.hdr(x-request-id)",
        "http-request set-var(txn.service) req.hdr(x-manor-service)",
        *request_facts(),
        not_found(node, f"!{{ var(txn.service) -m str -f {listed(node, names.SERVICES)} }}"),
        *no_repeats(),
    )


def request_facts() -> tuple[str, ...]:
    """Return the rules that keep what routing and the log need."""
    return (
        "http-request set-var(txn.host) 'req.hdr(host),field(1,:),lower'",
        "http-request set-var(txn.path) path",
    )


def not_found(node: TierNode, condition: str) -> str:
    """Return the rule that answers 404 with our page."""
    return f"http-request return status 404 content-type {word(HTML)} file {word(node.folders.pages / '404.html')} if {condition}"


def redirects(node: TierNode) -> tuple[str, ...]:
    """Return a rule for each redirect."""
    return tuple(
        f"http-request redirect location {log_format(moved.redirect.to)} code {moved.redirect.status} if {{ var(txn.route) -m str -- {moved.mark} }}"
        for moved in maps.moves(node.services)
    )


def no_repeats() -> tuple[str, ...]:
    """Return the rule that lets only harmless requests be sent twice."""
    return ("http-request disable-l7-retry unless { method GET HEAD OPTIONS }",)


def logged_answer(node: TierNode) -> tuple[str, ...]:
    """Return the rules that keep what the log says of the answer."""
    return (
        "http-response set-var(txn.upstream_status) status",
        "http-response set-var(txn.slot) res.hdr(x-manor-slot)",
        # Before the web tier itself there is no cache that could have answered.
        *(() if node.is_switching else ("http-response set-var(txn.cache) res.hdr(x-manor-cache)",)),
    )


def verbatim(node: TierNode) -> tuple[str, ...]:
    """Return what the services' owners add to the frontend."""
    return tuple(line for service in node.services for line in extra_lines(service.extra.get("haproxy", {}).get("frontend", b"")))


def extra_lines(content: bytes) -> tuple[str, ...]:
    """Return verbatim text as lines."""
    return tuple(line.strip() for line in content.decode().splitlines() if line.strip())


def access_format(node: TierNode) -> str:
    """Return the log format: one JSON object (docs/access-log.md)."""
    # Our own words need no escaping: ids that this tier makes, names of services that its map holds.
    made_here = {"id": '"%ID"', "service": '"%[var(txn.service)]"'} if node.is_first else {}
    # `date` has no fraction and `%Ta` is milliseconds: a dot before the last three digits, and an exponent, make them seconds.
    fields = {
        "time": r"%[date(0,ms),regsub(...$,.\0)]",
        "id": quoted("txn.id"),
        "service": quoted("txn.service"),
        "method": '"%HM"',
        "host": quoted("txn.host"),
        "path": quoted("txn.path"),
        "status": "%ST",
        "upstream_status": '"%[var(txn.upstream_status)]"',
        "end": '"%ts"',
        "seconds": "%Ta%[str(e-3)]",
        "bytes": "%B",
        "slot": quoted("txn.slot"),
        "cache": quoted("txn.cache"),
        "upstream": '"%b/%s"',
        **made_here,
    }
    return word("{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}")


def quoted(variable: str) -> str:
    """Return a variable as a JSON string."""
    return f'"%[var({variable}),json(utf8s)]"'
