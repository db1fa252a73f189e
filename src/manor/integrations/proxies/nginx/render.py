"""The files of an nginx tier; a function of the node alone.

Vendor's page: https://nginx.org/en/docs/
"""

from __future__ import annotations

from hashlib import sha256

from manor.estate.topology import TierNode
from manor.integrations.proxies.base import RenderedFile
from manor.integrations.proxies.nginx import names
from manor.integrations.proxies.nginx.front import front_servers, front_upstreams, switch_location
from manor.integrations.proxies.nginx.mime import TYPES
from manor.integrations.proxies.nginx.options import NginxOptions, load_options
from manor.integrations.proxies.nginx.quoting import Block, path, seconds, word
from manor.integrations.proxies.nginx.slots import slot_servers, upstreams

TEMPORARY = ("client_body", "fastcgi", "proxy", "scgi", "uwsgi")
DIGEST_MARK = "@digest@"
MIN_SHUTDOWN_SECONDS = 30.0


def render(node: TierNode) -> tuple[RenderedFile, ...]:
    """Return nginx.conf and its types, sorted by name. Raises InvalidEstate."""
    config = configuration(node)
    types = Block("types", tuple(f"{kind} {' '.join(endings)};" for kind, endings in sorted(TYPES.items()))).text()
    final = config.replace(DIGEST_MARK, digest(config))
    return (RenderedFile(names.TYPES, types.encode()), RenderedFile(names.config(node), final.encode(), 0o640))


def digest_of(node: TierNode) -> str:
    """Return the digest that a process working by the node's files tells."""
    return digest(configuration(node))


def digest(config: str) -> str:
    """Return the digest of a configuration that still has the mark in the digest's place."""
    return sha256(config.encode()).hexdigest()[:32]


def configuration(node: TierNode) -> str:
    """Return nginx.conf, with a mark where its digest goes."""
    options = load_options(node.options, node.subject)
    head = f"# {node.log_name}: written by Manor; changes are overwritten\n"
    if node.theirs is not None:
        return head + "\n".join(part if isinstance(part, str) else part.text().rstrip() for part in beside_others(node, options)) + "\n"
    return head + "\n".join((*general(node, options), Block("http", http(node, options)).text()))


def general(node: TierNode, options: NginxOptions) -> tuple[str, ...]:
    """Return the directives for the process; `pid` is given on the command line, so that a check can use another."""
    drain = max((service.drain_seconds for service in node.services), default=MIN_SHUTDOWN_SECONDS)
    return (
        *(("user root;",) if node.runs_as_root else ()),
        f"worker_processes {options.workers};",
        f"worker_rlimit_nofile {options.connections * 2};",
        f"worker_shutdown_timeout {seconds(max(MIN_SHUTDOWN_SECONDS, drain))};",
        "error_log stderr warn;",
        "pcre_jit on;",
        f"events {{ worker_connections {options.connections}; }}",
    )


def http(node: TierNode, options: NginxOptions) -> tuple[Block | str, ...]:
    """Return what is inside `http`."""
    return (
        *types(node),
        *(f"{kind}_temp_path {path(node.folders.run / f'{kind}_temp')};" for kind in TEMPORARY),
        *manners(node),
        *maps(node),
        log_format(node),
        *connections(node),
        *every_upstream(node, options),
        *servers(node, options),
    )


def beside_others(node: TierNode, options: NginxOptions) -> tuple[Block | str, ...]:
    """Return what stands in a file that other people's `http` includes: what holds for our servers is said in each of them, for none of theirs."""
    ours = (*types(node), *manners(node), *connections(node))
    own = tuple(Block(server.title, (*ours, *server.lines)) for server in servers(node, options))
    return (*maps(node), log_format(node), *every_upstream(node, options), *own)


def types(node: TierNode) -> tuple[str, ...]:
    """Return which endings are which types."""
    return (f"include {names.TYPES if node.theirs is None else path(node.folders.etc / names.TYPES)};", "default_type application/octet-stream;")


def manners(node: TierNode) -> tuple[str, ...]:
    """Return how it answers."""
    return ("server_tokens off;", "sendfile on;", "tcp_nopush on;", f"underscores_in_headers {'off' if node.is_first else 'on'};")


def connections(node: TierNode) -> tuple[str, ...]:
    """Return the log, and how both sides' connections are worked."""
    return (f"access_log {path(node.folders.access_log)} {names.log_format(node)};", *receiving(node), *sending(), *tls(node))


def every_upstream(node: TierNode, options: NginxOptions) -> tuple[Block, ...]:
    """Return the programs and, in a chain of nginx alone, the slots' listeners."""
    return (*upstreams(node, options), *(front_upstreams(node, options) if node.is_first else ()))


def servers(node: TierNode, options: NginxOptions) -> tuple[Block, ...]:
    """Return every server."""
    return (admin_server(node), *(front_servers(node, options) if node.is_first else ()), *slot_servers(node, options))


def maps(node: TierNode) -> tuple[Block, ...]:
    """Return the variables of ours."""
    trace = Block("map $http_traceparent $manor_id", ('"~^[0-9a-f]+-(?<manor_trace>[0-9a-f]+)-" $manor_trace;', "default $http_x_request_id;"))
    return (
        Block("geo $manor_dollar", ('default "$";',)),
        Block("map $request_uri $manor_path", ('"~^(?<manor_found_path>[^?]*)" $manor_found_path;',)),
        Block("map $http_upgrade $manor_kept", ('"" "";', "default upgrade;")),
        Block("map $http_upgrade $manor_single", ('"" close;', "default upgrade;")),
        *((trace,) if node.request_id == "from_trace" else ()),
    )


def request_id(node: TierNode) -> str:
    """Return the variable that has the request's id."""
    return {"make": "$request_id", "from_trace": "$manor_id", "take": "$http_x_request_id"}[node.request_id]


def log_format(node: TierNode) -> str:
    """Return the format of the access log: one JSON object a line (docs/access-log.md); values of the upstream are quoted, for they may be absent."""
    # The listeners of slots log only where they are the whole tier; in a chain of nginx alone its front does.
    slot, cache = ("$upstream_http_x_manor_slot", "$upstream_http_x_manor_cache") if node.is_first else ("$manor_slot", "")
    fields = {
        "time": "$msec",
        "id": f'"{request_id(node)}"',
        "service": '"$manor_service"',
        "method": '"$request_method"',
        "host": '"$host"',
        "path": '"$manor_path"',
        "status": "$status",
        "upstream_status": '"$upstream_status"',
        "end": '"$request_completion"',
        "seconds": "$request_time",
        "bytes": "$bytes_sent",
        "slot": f'"{slot}"',
        "cache": f'"{cache}"',
        "upstream": '"$upstream_addr"',
        "header_seconds": '"$upstream_header_time"',
    }
    text = "{" + ",".join(f'"{name}":{content}' for name, content in fields.items()) + "}"
    return f"log_format {names.log_format(node)} escape=json '{text}';"


def receiving(node: TierNode) -> tuple[str, ...]:
    """Return how connections from the side before are kept."""
    return (f"keepalive_timeout {seconds(inner_idle_seconds(node))};", "keepalive_requests 1000000;", "keepalive_time 24h;")


def inner_idle_seconds(node: TierNode) -> float:
    """Return how long an idle connection is kept, at the front as at the slots' listeners."""
    return node.accept_idle_seconds


def sending() -> tuple[str, ...]:
    """Return how requests are passed on: streamed, and repeated only if harmless."""
    return (
        "proxy_http_version 1.1;",
        "proxy_request_buffering off;",
        "proxy_max_temp_file_size 0;",
        "proxy_buffer_size 16k;",
        "proxy_buffers 16 16k;",
        "proxy_busy_buffers_size 32k;",
        "proxy_next_upstream error;",
    )


def tls(node: TierNode) -> tuple[str, ...]:
    """Return the first tier's certificate."""
    if not (node.is_first and node.tls):
        return ()
    return (
        f"ssl_certificate {path(node.tls.certificate)};",
        f"ssl_certificate_key {path(node.tls.key)};",
        "ssl_protocols TLSv1.2 TLSv1.3;",
        f"ssl_session_cache shared:{names.tls_cache(node)}:4m;",
    )


def admin_server(node: TierNode) -> Block:
    """Return the listener for Manor itself: numbers, the digest of the running files, and the slots' flags."""
    switches = tuple(switch_location(node, service) for service in node.services) if node.is_switching else ()
    return Block(
        "server",
        (
            f"listen {word(f'{node.admin_address}:{node.admin_port}')};",
            "access_log off;",
            f"allow {node.admin_address};",
            "allow 127.0.0.0/8;",
            "deny all;",
            Block("location = /status", ("stub_status;",)),
            Block("location = /config", (f"return 200 {DIGEST_MARK};",)),
            *switches,
            Block("location /", ("return 404;",)),
        ),
    )
