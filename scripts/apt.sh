# For sourcing. apt_install PACKAGE...: installs Debian packages, or says what to install by hand.

apt_install() {
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "Missing: $*. This system has no apt-get: install the equivalents with its own package manager." >&2
        exit 1
    fi
    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null 2>&1; then
            echo "Missing: $*. Not root and no sudo here: have an administrator run: apt-get install $*" >&2
            exit 1
        fi
        as_root="sudo"
    fi
    echo "Installing $* (apt-get)" >&2
    # DEBIAN_FRONTEND: never stop to ask a question.
    $as_root apt-get -qq update >&2
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@" >&2
}
