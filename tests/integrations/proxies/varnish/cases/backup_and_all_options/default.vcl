vcl 4.1;
# prod/web-1/1-cache-varnish: rendered from the estate; changes here are drift

import directors;
import std;

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

backend next_edge_2d_1 {
    .host = "127.202.0.11";
    .port = "9020";
    .connect_timeout = 0.250s;
    .probe = answers;
}

backend next_edge_2d_2 {
    .host = "127.202.0.12";
    .port = "9020";
    .connect_timeout = 0.250s;
    .probe = answers;
}

sub vcl_init {
    new next = directors.fallback();
    next.add_backend(next_edge_2d_1);
    next.add_backend(next_edge_2d_2);
    return (ok);
}

sub look_up_other {
    if (req.url ~ "^/healthz(?:\?|$)") {
        return (pass);
    }
    if (req.http.Cookie) {
        return (pass);
    }
    if (req.url ~ "^[^?]*(?:%(?:2[DdEeFf]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[CcFf]|7[Ee])|//|/\.\.?(?:[/?]|$)|;)") {
        return (pass);
    }
    return (hash);
}

sub look_up_shop {
    if (req.url ~ "^/basket(?:[/?]|$)") {
        return (pass);
    }
    if (req.url ~ "^/checkout/") {
        return (pass);
    }
    if (req.url ~ "^/healthz(?:\?|$)") {
        return (pass);
    }
    if (req.url ~ "^/ready(?:\?|$)") {
        return (pass);
    }
    if (req.http.Cookie ~ "(?:^|;)[ \t]*a\x2eb[ \t]*=") {
        return (pass);
    }
    if (req.http.Cookie ~ "(?:^|;)[ \t]*sessionid[ \t]*=") {
        return (pass);
    }
    if (req.url ~ "^[^?]*(?:%(?:2[DdEeFf]|3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa]|5[CcFf]|7[Ee])|//|/\.\.?(?:[/?]|$)|;)") {
        return (pass);
    }
    return (hash);
}

sub vcl_recv {
    set req.backend_hint = next.backend();
    unset req.http.X-Manor-Cache;
    # HTTP/2 splits cookies over several headers.
    std.collect(req.http.Cookie, "; ");
    # Varnish adds the tier before to the list by itself; the first tier has written the client's address.
    set req.http.X-Forwarded-For = regsub(req.http.X-Forwarded-For, "(?:^|, *)[^,]*$", "");
    set req.http.Host = std.tolower(req.http.Host);
    if (req.http.X-Manor-Service !~ "^(?:crm|other|shop)$") {
        return (synth(404));
    }
    if (req.method == "PURGE" || req.method == "BAN") {
        return (synth(405));
    }
    if (req.http.Upgrade) {
        return (pipe);
    }
    set req.http.X-Manor-Cache = "pass";
    if (req.method != "GET" && req.method != "HEAD") {
        return (pass);
    }
    if (req.http.Authorization || req.http.Transfer-Encoding || std.integer(req.http.Content-Length, 0) > 0) {
        return (pass);
    }
    if (req.http.X-Manor-Service == "crm") {
        set req.url = std.querysort(req.url);
    }
    if (req.http.X-Manor-Service == "other") {
        call look_up_other;
    }
    if (req.http.X-Manor-Service == "shop") {
        call look_up_shop;
    }
    # The service keeps nothing.
    return (pass);
}

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
    if (req.http.X-Manor-Service == "crm") {
        set resp.http.X-Crm = "1";
    }
    return (deliver);
}

sub vcl_backend_fetch {
    unset bereq.http.X-Manor-Cache;
    if (bereq.http.X-Manor-Service == "crm") {
        set bereq.first_byte_timeout = 60.000s;
        set bereq.between_bytes_timeout = 60.000s;
    }
    if (bereq.http.X-Manor-Service == "other") {
        set bereq.first_byte_timeout = 60.000s;
        set bereq.between_bytes_timeout = 60.000s;
    }
    if (bereq.http.X-Manor-Service == "shop") {
        set bereq.first_byte_timeout = 600.000s;
        set bereq.between_bytes_timeout = 600.000s;
    }
    return (fetch);
}

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

sub vcl_backend_response {
    unset beresp.http.X-Manor-Made;
    unset beresp.http.X-Manor-Own;
    if (bereq.uncacheable) {
        return (deliver);
    }
    if (beresp.status >= 500 && bereq.is_bgfetch) {
        return (abandon);
    }
    set beresp.keep = 0s;
    std.collect(beresp.http.Cache-Control);
    std.collect(beresp.http.Vary);
    if ((beresp.status != 200 && beresp.status != 203 && beresp.status != 204 && beresp.status != 300 && beresp.status != 301 && beresp.status != 404 && beresp.status != 410)
        || beresp.http.Set-Cookie
        || beresp.http.Cache-Control ~ "(?i)(?:^|[ \t,])(?:private|no-store|no-cache)(?:[ \t,=]|$)"
        || beresp.http.Vary ~ "\*"
        || beresp.http.Content-Type ~ "(?i)^text/event-stream"
        || std.integer(beresp.http.Content-Length, 0) > 1048576) {
        call not_stored;
    }
    if (beresp.http.Cache-Control ~ "(?i)(?:^|[ \t,])(?:s-maxage|max-age)[ \t]*=" || beresp.http.Expires) {
        set beresp.http.X-Manor-Own = "1";
    }
    if (bereq.http.X-Manor-Service == "other") {
        set beresp.grace = 0.000s;
        if (!beresp.http.X-Manor-Own) {
            set beresp.ttl = 10.000s;
        }
    }
    if (bereq.http.X-Manor-Service == "shop") {
        set beresp.grace = 3600.000s;
        if (!beresp.http.X-Manor-Own) {
            set beresp.ttl = 300.000s;
        }
    }
    if (beresp.http.Cache-Control ~ "(?i)(?:^|[ \t,])(?:must|proxy)-revalidate(?:[ \t,=]|$)") {
        set beresp.grace = 0s;
    }
    if (beresp.http.X-Manor-Own && beresp.ttl <= 0s) {
        call not_stored;
    }
    unset beresp.http.X-Manor-Own;
    return (deliver);
}

sub vcl_backend_error {
    if (bereq.is_bgfetch) {
        return (abandon);
    }
    set beresp.status = 503;
    set beresp.reason = "Service Unavailable";
    set beresp.http.X-Manor-Made = "1";
    set beresp.http.Content-Type = "text/html; charset=utf-8";
    set beresp.http.Cache-Control = "no-store";
    set beresp.body = std.fileread("/srv/manor/prod/web-1/etc/pages/503.html");
    set beresp.uncacheable = true;
    set beresp.ttl = 0s;
    set beresp.grace = 0s;
    return (deliver);
}

sub vcl_synth {
    unset resp.http.X-Varnish;
    unset resp.http.Server;
    if (resp.status == 404) {
        set resp.http.Content-Type = "text/html; charset=utf-8";
        set resp.body = std.fileread("/srv/manor/prod/web-1/etc/pages/404.html");
    } else {
        set resp.http.Content-Type = "text/plain; charset=utf-8";
        set resp.body = resp.reason;
    }
    return (deliver);
}
