#!/usr/bin/env bash
# Builds Seawall, starts it in front of three replicas of the example shop, and says what to try.
# Ctrl-C stops everything; so does the end of either of the two.
#
# PORT (8080), ADMIN_URL (http://127.0.0.1:9090), SEAWALL_CONF (conf/seawall.toml)
# SEAWALL_BIN: a binary to run instead of building one.
set -euo pipefail

cd "$(dirname "$0")/.."
export PORT="${PORT:-8080}"
base_port="${BASE_PORT:-8001}"
replicas="${REPLICAS:-3}"
conf="${SEAWALL_CONF:-conf/seawall.toml}"
admin="${ADMIN_URL:-http://127.0.0.1:9090}"
site="http://127.0.0.1:$PORT"

if [ -z "${SEAWALL_BIN:-}" ]; then
    scripts/setup-build.sh
    cargo build --release
    SEAWALL_BIN="${CARGO_TARGET_DIR:-target}/release/seawall"
fi

pids=()
cleanup() {
    trap - EXIT INT TERM HUP
    [ ${#pids[@]} -eq 0 ] || stop "${pids[@]}"
}
stop() {
    kill -TERM "$@" 2>/dev/null || true
    for _ in $(seq 100); do
        kill -0 "$@" 2>/dev/null || break # none left
        sleep 0.1
    done
    kill -KILL "$@" 2>/dev/null || true
    wait "$@" 2>/dev/null || true
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

answers() {
    python3 -c '
import sys, urllib.request
try:
    sys.exit(urllib.request.urlopen(sys.argv[1], timeout=2).status != 200)
except OSError:
    sys.exit(1)' "$1" 2>/dev/null
}

# wait_for SECONDS PID NAME URL
wait_for() {
    local deadline=$((SECONDS + $1))
    until answers "$4"; do
        if ! kill -0 "$2" 2>/dev/null; then
            echo "$3 did not start." >&2
            exit 1
        elif [ "$SECONDS" -ge "$deadline" ]; then
            echo "$3 did not answer at $4 within $1 s." >&2
            exit 1
        fi
        sleep 0.3
    done
}

scripts/sample-app.py --base-port "$base_port" --replicas "$replicas" &
app=$!
pids+=("$app")
for ((port = base_port; port < base_port + replicas; port++)); do
    wait_for 120 "$app" "The sample app" "http://127.0.0.1:$port/healthz"
done

"$SEAWALL_BIN" serve "$conf" &
seawall=$!
pids+=("$seawall")
wait_for 30 "$seawall" "Seawall" "$admin/readyz"

manifest="${SHOP_DATA_DIR:-examples/django/.data}/static/staticfiles.json"
stylesheet=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["paths"]["shop/shop.css"])' "$manifest")

cat <<TEXT

Seawall is up. Open
  $site/           the shop (log in as demo/demo)
  $site/admin/     its Django admin (admin/admin)
  $admin/metrics   Seawall's metrics

and try, in another terminal:
  curl -sD - -o /dev/null $site/static/$stylesheet   # a miss,
  curl -sD - -o /dev/null $site/static/$stylesheet   # then a hit: hashed names are kept for long
  curl -sD - -o /dev/null $site/catalog/   # twice: a miss, then a hit
  curl -sD - -o /dev/null -H 'Cookie: sessionid=x' $site/catalog/   # never from the cache
  curl -sD - -o /dev/null -H 'Authorization: Basic x' $site/catalog/   # nor this
  curl -sD - -o /dev/null $site/api/products/
  curl -sD - -o /dev/null $site/admin/   # X-Replica says which replica answered
  curl -s $admin/metrics | grep hit_ratio

Ctrl-C stops everything.
TEXT

status=0
wait -n "${pids[@]}" || status=$?
kill -0 "$app" 2>/dev/null || echo "The sample app ended (status $status): stopping." >&2
kill -0 "$seawall" 2>/dev/null || echo "Seawall ended (status $status): stopping." >&2
exit 1
