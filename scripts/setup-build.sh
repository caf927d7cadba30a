#!/bin/sh
# Installs what the Rust build needs besides Rust itself: cmake, make, a C compiler.
# Says and does nothing when all of it is there.
set -eu

. "$(dirname "$0")/apt.sh"

missing=""
command -v cmake >/dev/null 2>&1 || missing="$missing cmake"
command -v make >/dev/null 2>&1 || missing="$missing make"
command -v cc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
command -v c++ >/dev/null 2>&1 || missing="$missing g++"

# shellcheck disable=SC2086 # a list of package names
[ -z "$missing" ] || apt_install $missing

if ! command -v cargo >/dev/null 2>&1; then
    echo "cargo is not installed: see https://rustup.rs" >&2
    exit 1
fi
