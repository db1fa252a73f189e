"""The static file: entry points, logs, time-outs; a change of it needs a restart.

https://doc.traefik.io/traefik/reference/install-configuration/configuration-options/
"""

from __future__ import annotations

from manor.estate.timeouts import pause_seconds
from manor.estate.topology import Listener, TierNode
from manor.integrations.proxies.traefik.native import Native, document, duration
from manor.integrations.proxies.traefik.options import Options

ADMIN = "traefik"
LOGGED_HEADERS = ("X-Manor-Cache", "X-Manor-Service", "X-Manor-Slot", "X-Request-Id", "Date")
SAID_TWICE = (
    *("ClientAddr", "OriginContentSize", "Overhead", "RequestAddr", "RequestPort", "ServiceAddr", "StartLocal"),
    *("ClientUsername", "RequestCount", "SpanId", "span_id", "trace_id"),
)
"""Fields of the log that another one says too (first line), or that say nothing here; each costs time for every request."""
LONG_BODIES = frozenset({"upload", "stream", "websocket"})


def entry_point_names(node: TierNode) -> tuple[str, ...]:
    """Return the names of the tier's own entry points, in the order of its listeners."""
    names = ["tls" if listener.tls else "plain" for listener in node.listeners]
    return tuple(f"{name}{names[:number].count(name) or ''}" for number, name in enumerate(names))


def static_file(node: TierNode, options: Options) -> bytes:
    """Return `traefik.yaml`. `check.sh` rewrites its `address:`, `filePath:`, `level:` and `directory:` lines."""
    content: dict[str, Native] = {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"filePath": str(node.folders.log / "traefik.log"), "level": options.log_level, "noColor": True},
        "accessLog": access_log(node),
        "entryPoints": {ADMIN: admin(node), **dict(zip(entry_point_names(node), (entry_point(node, options, one) for one in node.listeners), strict=True))},
        "api": {"dashboard": False, "disableDashboardAd": True},
        "ping": {"manualRouting": True},
        "providers": {"providersThrottleDuration": "100ms", "file": {"directory": str(node.folders.state), "watch": True}},
        "experimental": {"abortOnPluginFailure": True, "localPlugins": {"pages": {"moduleName": "manor/pages"}}},
    }
    if node.is_first:
        content["tracing"] = tracing(node)
    return document(content, f"{node.log_name}: rendered from the estate; changes here are drift")


def access_log(node: TierNode) -> Native:
    """Return the access log: JSON, no query in the path, no header but ours, nothing twice."""
    return {
        "filePath": str(node.folders.access_log),
        "format": "json",
        "fields": {
            "queryParameters": {"defaultMode": "drop"},
            "headers": {"defaultMode": "drop", "names": dict.fromkeys(LOGGED_HEADERS, "keep")},
            "names": dict.fromkeys(sorted(SAID_TWICE), "drop"),
        },
    }


def tracing(node: TierNode) -> Native:
    """Return tracing that only makes ids: nothing is sampled, so the closed port it would export to is never asked."""
    return {"sampleRate": 0, "serviceName": node.key, "otlp": {"http": {"endpoint": "http://127.0.0.1:9/v1/traces"}}}


def admin(node: TierNode) -> Native:
    """Return the entry point of the API and of our pages."""
    return {
        "address": f"{node.admin_address}:{node.admin_port}",
        "http": {"aliasHeadersStrategy": "delete"},
        "observability": {"accessLogs": False, "metrics": False, "tracing": False},
    }


def entry_point(node: TierNode, options: Options, listener: Listener) -> Native:
    """Return one entry point for traffic."""
    http: dict[str, Native] = {"aliasHeadersStrategy": "delete" if node.is_first else "keep"}
    if listener.tls:
        http["tls"] = {}
    return {
        "address": f"{listener.address}:{listener.port}",
        # Behind another tier the headers are ours already, and every hop adding itself would hide the client's address.
        "forwardedHeaders": {"insecure": False} if node.is_first else {"insecure": True, "notAppendXForwardedFor": True},
        "http": http,
        "http2": {"maxConcurrentStreams": options.http2_streams},
        "transport": {
            "lifeCycle": {"requestAcceptGraceTimeout": duration(options.accept_grace), "graceTimeOut": duration(options.finish_grace)},
            "respondingTimeouts": {"readTimeout": duration(read_seconds(node)), "writeTimeout": "0s", "idleTimeout": duration(node.accept_idle_seconds)},
        },
    }


def read_seconds(node: TierNode) -> float:
    """Return how long a request may take to come in as a whole; Traefik cannot limit a pause. 0: no limit, where bodies are long."""
    is_long = any(route.class_ in LONG_BODIES or route.body_bytes for service in node.services for route in service.routes)
    return 0.0 if is_long or not node.is_first else pause_seconds({"upload"})
