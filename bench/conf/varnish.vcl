# Varnish with its built-in rules. servers.py starts it with one thread pool and malloc storage, and
# varnishncsa beside it for the access log.
vcl 4.1;

backend origin {
    .host = "127.0.0.1";
    .port = "@ORIGIN@";
}

sub vcl_recv {
    if (req.url ~ "^/pass/") {
        return (pass);
    }
}
