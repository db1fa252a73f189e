# The VCL of the manual's tutorial; everything else is Varnish's builtin.vcl.
# https://varnish-cache.org/docs/7.1/tutorial/backend_servers.html
vcl 4.1;

backend default {
    .host = "@HAPROXY_HOST@";
    .port = "@HAPROXY_PORT@";
}
