# The smallest VCL there is: https://varnish-cache.org/docs/7.1/tutorial/backend_servers.html
vcl 4.1;

backend default {
    .host = "@PROGRAM_HOST@";
    .port = "@PROGRAM_PORT@";
}
