#!/bin/sh
# The peers and the load generators of `make bench`, installed when missing: nginx, Varnish, HAProxy,
# wrk, h2load and openssl. The installed services are not started; the benchmark starts its own.
set -eu

. "$(dirname "$0")/apt.sh"

missing=""
for pair in nginx:nginx-light varnishd:varnish haproxy:haproxy wrk:wrk h2load:nghttp2-client \
    openssl:openssl python3:python3 taskset:util-linux; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
[ -n "$missing" ] || exit 0

# No service of a package just installed may start by itself and take a core or a port.
policy=/usr/sbin/policy-rc.d
if [ "$(id -u)" -eq 0 ] && [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
fi
# shellcheck disable=SC2086 # a list of package names
apt_install $missing
