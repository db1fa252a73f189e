"""The VCL: which requests are looked up, what is stored, how long, and what is said when nothing works.

Invariant: every sub that decides returns; the built-in VCL only gets what is named here.
Rules: docs/traffic.md, "The cache". https://varnish-cache.org/docs/7.1/users-guide/vcl.html
"""

from __future__ import annotations

from collections.abc import Iterator

from manor.estate.model import Cache
from manor.estate.topology import Endpoint, ServiceView, TierNode
from manor.integrations.proxies.varnish.extra import extra_lines
from manor.integrations.proxies.varnish.native import duration, either, exactly, identifier, regex, string, under
from manor.integrations.proxies.varnish.options import Options

STAMP = "req.http.X-Manor-Service"
STORED = (200, 203, 204, 300, 301, 404, 410)
ODD_PATH = r"^[^?]*(?:%(?:2[DdEeFf]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[CcFf]|7[Ee])|//|/\.\.?(?:[/?]|$)|;)"
"""A path that a service may read as another one than it says (`/%62asket`): never looked up, or it would go round `bypass`."""


def vcl(node: TierNode, options: Options) -> str:
    """Return the whole file."""
    parts = [HEAD.format(name=node.log_name), *backends(node, options), receive(node), CLIENT_SIDE, deliver(node)]
    parts += [backend_fetch(node), NOT_STORED, backend_response(node, options), errors(node)]
    return "\n".join(part.rstrip() + "\n" for part in parts)


HEAD = """\
vcl 4.1;
# {name}: rendered from the estate; changes here are drift

import directors;
import std;
"""


def backends(node: TierNode, options: Options) -> Iterator[str]:
    """Yield the next tier: its endpoints, own host first, and who takes over when they are sick."""
    is_probed = len(node.next) > 1
    if is_probed:
        yield PROBE
    for endpoint in node.next:
        yield backend(endpoint, options, is_probed)
    lines = ["sub vcl_init {", "    new next = directors.fallback();"]
    ordered = [*(one for one in node.next if not one.backup), *(one for one in node.next if one.backup)]
    lines += [f"    next.add_backend({backend_name(one)});" for one in ordered]
    yield "\n".join([*lines, "    return (ok);", "}", ""])


PROBE = """\
# What every inner tier answers to a request without a stamp: 404.
probe answers {
    .request = "GET / HTTP/1.1" "Host: probe" "Connection: close" "User-Agent: varnish-probe";
    .expected_response = 404;
    .interval = 2s;
    .timeout = 1s;
    .window = 3;
    .threshold = 2;
    .initial = 2;
}
"""


def backend_name(endpoint: Endpoint) -> str:
    """Return the name of an endpoint's backend."""
    return f"next_{identifier(endpoint.name)}"


def backend(endpoint: Endpoint, options: Options, is_probed: bool) -> str:
    """Return one backend."""
    probe = "    .probe = answers;\n" if is_probed else ""
    return (
        f"backend {backend_name(endpoint)} {{\n"
        f"    .host = {string(endpoint.address)};\n"
        f'    .port = "{endpoint.port}";\n'
        f"    .connect_timeout = {duration(options.connect_timeout)};\n"
        f"{probe}}}\n"
    )


def receive(node: TierNode) -> str:
    """Return the subs that decide what is looked up."""
    known = either(tuple(service.name for service in node.services)) if node.services else "(?!)"
    lines = ["sub vcl_recv {", "    set req.backend_hint = next.backend();"]
    if node.request_id == "from_trace":
        lines += FROM_TRACE.splitlines()
    lines += RECEIVE_FIRST.format(known=known).splitlines()
    lines += extra_lines(node, "recv")
    for service in node.services:
        if service.cache is not None:
            lines += [f"    if ({STAMP} == {string(service.name)}) {{", f"        call look_up_{identifier(service.name)};", "    }"]
    lines += ["    # The service keeps nothing.", "    return (pass);", "}", ""]
    subs = [look_up(service, service.cache) for service in node.services if service.cache is not None]
    return "\n".join([*subs, *lines])


FROM_TRACE = """\
    unset req.http.X-Request-Id;
    if (req.http.traceparent ~ "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$") {
        set req.http.X-Request-Id = regsub(req.http.traceparent, "^[0-9a-f]{2}-([0-9a-f]{32}).*$", "\\1");
    }
"""

RECEIVE_FIRST = """\
    unset req.http.X-Manor-Cache;
    # HTTP/2 splits cookies over several headers.
    std.collect(req.http.Cookie, "; ");
    # Varnish adds the tier before to the list by itself; the first tier has written the client's address.
    set req.http.X-Forwarded-For = regsub(req.http.X-Forwarded-For, "(?:^|, *)[^,]*$", "");
    set req.http.Host = std.tolower(req.http.Host);
    if (req.http.X-Manor-Service !~ "^{known}$") {{
        return (synth(404));
    }}
    if (req.method == "PURGE" || req.method == "BAN") {{
        return (synth(405));
    }}
    if (req.http.Upgrade) {{
        return (pipe);
    }}
    set req.http.X-Manor-Cache = "pass";
    if (req.method != "GET" && req.method != "HEAD") {{
        return (pass);
    }}
    if (req.http.Authorization || req.http.Transfer-Encoding || std.integer(req.http.Content-Length, 0) > 0) {{
        return (pass);
    }}
"""


def look_up(service: ServiceView, cache: Cache) -> str:
    """Return the sub of a service that keeps answers: what passes all the same, else the look-up."""
    conditions = [f'req.url ~ "{under(path)}"' for path in sorted(cache.bypass.paths)]
    conditions += [f'req.url ~ "{exactly(path)}"' for path in sorted(service.probe_paths)]
    conditions += cookie_conditions(cache.bypass.cookies)
    conditions.append(f'req.url ~ "{ODD_PATH}"')
    lines = [f"sub look_up_{identifier(service.name)} {{"]
    for condition in conditions:
        lines += [f"    if ({condition}) {{", "        return (pass);", "    }"]
    return "\n".join([*lines, "    return (hash);", "}", ""])


def cookie_conditions(declared: tuple[str, ...] | None) -> list[str]:
    """Return which cookies make an answer a person's own: those declared, or any while nobody has said which are harmless."""
    if declared is None:
        return ["req.http.Cookie"]
    return [f'req.http.Cookie ~ "(?:^|;)[ \\t]*{regex(cookie)}[ \\t]*="' for cookie in sorted(declared)]


CLIENT_SIDE = """\
sub vcl_hash {
    hash_data(req.http.X-Manor-Service);
    hash_data(req.http.Host);
    hash_data(req.http.X-Forwarded-Proto);
    hash_data(req.url);
    return (lookup);
}

sub vcl_pipe {
    unset bereq.http.X-Manor-Cache;
    set bereq.http.Connection = req.http.Connection;
    set bereq.http.Upgrade = req.http.Upgrade;
    return (pipe);
}

sub vcl_hit {
    set req.http.X-Manor-Cache = "hit";
    return (deliver);
}

sub vcl_miss {
    set req.http.X-Manor-Cache = "miss";
    return (fetch);
}

sub vcl_pass {
    set req.http.X-Manor-Cache = "pass";
    return (fetch);
}
"""


def deliver(node: TierNode) -> str:
    """Return the sub that sees every answer last."""
    return "\n".join([*DELIVER.splitlines(), *extra_lines(node, "deliver"), "    return (deliver);", "}", ""])


DELIVER = """\
sub vcl_deliver {
    set resp.http.X-Manor-Cache = req.http.X-Manor-Cache;
    if (req.http.X-Manor-Cache == "hit") {
        unset resp.http.X-Manor-Slot;
    } else {
        std.log("slot:" + resp.http.X-Manor-Slot);
        if (!resp.http.X-Manor-Made) {
            std.log("upstream:" + resp.status);
        }
    }
    if (resp.http.X-Manor-Made) {
        unset resp.http.Server;
    }
    unset resp.http.X-Manor-Made;
    unset resp.http.X-Varnish;
    unset resp.http.Via;
"""


def backend_fetch(node: TierNode) -> str:
    """Return the sub that sets the service's time-outs."""
    lines = ["sub vcl_backend_fetch {", "    unset bereq.http.X-Manor-Cache;"]
    for service in node.services:
        silence = duration(service.response_seconds)
        lines += [f"    if (bereq.http.X-Manor-Service == {string(service.name)}) {{", f"        set bereq.first_byte_timeout = {silence};"]
        lines += [f"        set bereq.between_bytes_timeout = {silence};", "    }"]
    return "\n".join([*lines, "    return (fetch);", "}", ""])


def backend_response(node: TierNode, options: Options) -> str:
    """Return the sub that decides what is stored, and how long."""
    statuses = " && ".join(f"beresp.status != {status}" for status in STORED)
    lines = RESPONSE.format(statuses=statuses, largest=options.largest_object).splitlines()
    for service in node.services:
        if service.cache is not None:
            lines += [f"    if (bereq.http.X-Manor-Service == {string(service.name)}) {{"]
            lines += [f"        set beresp.grace = {duration(service.cache.grace)};", "        if (!beresp.http.X-Manor-Own) {"]
            lines += [f"            set beresp.ttl = {duration(service.cache.ttl)};", "        }", "    }"]
    return "\n".join([*lines, *extra_lines(node, "backend_response"), *RESPONSE_END.splitlines(), ""])


RESPONSE = """\
sub vcl_backend_response {{
    unset beresp.http.X-Manor-Made;
    unset beresp.http.X-Manor-Own;
    if (bereq.uncacheable) {{
        return (deliver);
    }}
    if (beresp.status >= 500 && bereq.is_bgfetch) {{
        return (abandon);
    }}
    set beresp.keep = 0s;
    std.collect(beresp.http.Cache-Control);
    std.collect(beresp.http.Vary);
    if (({statuses})
        || beresp.http.Set-Cookie
        || beresp.http.Cache-Control ~ "(?i)(?:^|[ \\t,])(?:private|no-store|no-cache)(?:[ \\t,=]|$)"
        || beresp.http.Vary ~ "\\*"
        || beresp.http.Content-Type ~ "(?i)^text/event-stream"
        || std.integer(beresp.http.Content-Length, 0) > {largest}) {{
        call not_stored;
    }}
    if (beresp.http.Cache-Control ~ "(?i)(?:^|[ \\t,])(?:s-maxage|max-age)[ \\t]*=" || beresp.http.Expires) {{
        set beresp.http.X-Manor-Own = "1";
    }}
"""

RESPONSE_END = """\
    if (beresp.http.Cache-Control ~ "(?i)(?:^|[ \\t,])(?:must|proxy)-revalidate(?:[ \\t,=]|$)") {
        set beresp.grace = 0s;
    }
    if (beresp.http.X-Manor-Own && beresp.ttl <= 0s) {
        call not_stored;
    }
    unset beresp.http.X-Manor-Own;
    return (deliver);
}
"""

NOT_STORED = """\
# Remembered for a while, so that requests for it do not queue behind each other.
sub not_stored {
    unset beresp.http.X-Manor-Own;
    set beresp.uncacheable = true;
    set beresp.grace = 0s;
    set beresp.ttl = 120s;
    if (beresp.status >= 500) {
        set beresp.ttl = 1s;
    }
    return (deliver);
}
"""


def errors(node: TierNode) -> str:
    """Return what is said without an answer of the next tier."""
    return ERRORS.format(page_404=string(str(node.folders.pages / "404.html")), page_503=string(str(node.folders.pages / "503.html")))


ERRORS = """\
sub vcl_backend_error {{
    if (bereq.is_bgfetch) {{
        return (abandon);
    }}
    set beresp.status = 503;
    set beresp.reason = "Service Unavailable";
    set beresp.http.X-Manor-Made = "1";
    set beresp.http.Content-Type = "text/html; charset=utf-8";
    set beresp.http.Cache-Control = "no-store";
    set beresp.body = std.fileread({page_503});
    set beresp.uncacheable = true;
    set beresp.ttl = 0s;
    set beresp.grace = 0s;
    return (deliver);
}}

sub vcl_synth {{
    unset resp.http.X-Varnish;
    unset resp.http.Server;
    if (resp.status == 404) {{
        set resp.http.Content-Type = "text/html; charset=utf-8";
        set resp.body = std.fileread({page_404});
    }} else {{
        set resp.http.Content-Type = "text/plain; charset=utf-8";
        set resp.body = resp.reason;
    }}
    return (deliver);
}}
"""
