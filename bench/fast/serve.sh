#!/bin/sh
# The fastest program to measure tiers with: nginx that answers from memory. usage: serve.sh ADDRESS PORT
# http://nginx.org/en/docs/http/ngx_http_rewrite_module.html#return
mkdir -p tmp
cat >"tmp/$2.conf" <<CONF
daemon off;
worker_processes 1;
pid tmp/$2.pid;
error_log stderr crit;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path tmp/client;
    proxy_temp_path tmp/proxy;
    fastcgi_temp_path tmp/fastcgi;
    uwsgi_temp_path tmp/uwsgi;
    scgi_temp_path tmp/scgi;
    keepalive_timeout 75s;
    keepalive_requests 1000000000;
    default_type text/plain;
    server {
        listen $1:$2;
        location / {
            add_header Cache-Control no-store;
            return 200 "$(head -c 1000 /dev/zero | tr '\0' x)";
        }
        location /cached {
            add_header Cache-Control "public, max-age=3600";
            return 200 "$(head -c 1000 /dev/zero | tr '\0' x)";
        }
    }
}
CONF
exec nginx -p "$PWD/" -e stderr -c "tmp/$2.conf"
