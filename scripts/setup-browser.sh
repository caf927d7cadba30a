#!/bin/sh
# What `make browser` needs: Chromium. It is large, so that `make test` does without it.
set -eu

cd "$(dirname "$0")/.."
. scripts/apt.sh
command -v chromium >/dev/null 2>&1 || apt_install chromium
