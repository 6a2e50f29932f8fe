#!/bin/sh
# Installs what grader/packages.txt names and this machine lacks, and tells a bare
# machine the address of localhost.
#
#     setup.sh run     what grading needs
#     setup.sh bench   and what the plot of make bench needs
#     setup.sh all     and what the kit's own tests need
#
# As root, or with sudo; otherwise it prints the one line to run and fails.
set -eu

what=${1:-run}
list=$(dirname "$0")/packages.txt

wanted() {
    section=
    while read -r line; do
        case $line in
        '# section: '*) section=${line#'# section: '} ;;
        '' | '#'*) ;;
        *)
            if [ "$what" = all ] || [ "$section" = run ] ||
                [ "$section" = "$what" ]; then
                echo "${line%%[ #]*}"
            fi
            ;;
        esac
    done <"$list"
}

installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "setup: this is for Debian and Ubuntu; install by hand what" >&2
    echo "$list names" >&2
    exit 1
fi

missing=
for package in $(wanted); do
    installed "$package" || missing="$missing $package"
done
# A system made by debootstrap has no /etc/hosts; lab 3 connects by name.
nameless=
getent ahostsv4 localhost >/dev/null || nameless=yes
if [ -z "$missing$nameless" ]; then
    echo "setup: everything is installed"
    exit 0
fi

as_root=
if [ "$(id -u)" != 0 ]; then
    # With a terminal, sudo may ask for the password.
    if command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        as_root=sudo
    else
        echo "setup: needs root. Run this, then try again:" >&2
        [ -z "$missing" ] ||
            echo "    sudo apt-get install -y --no-install-recommends$missing" >&2
        [ -z "$nameless" ] ||
            echo "    echo 127.0.0.1 localhost | sudo tee -a /etc/hosts" >&2
        exit 1
    fi
fi

if [ -n "$nameless" ]; then
    echo "setup: adding localhost to /etc/hosts"
    echo 127.0.0.1 localhost | $as_root tee -a /etc/hosts >/dev/null
fi
if [ -z "$missing" ]; then
    echo "setup: done"
    exit 0
fi

echo "setup: installing$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run() {
    if ! $as_root env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1; then
        cat "$log" >&2
        echo "setup: failed: $*" >&2
        exit 1
    fi
}
run apt-get update -q
# shellcheck disable=SC2086 # one word a package
run apt-get install -y -q --no-install-recommends $missing
echo "setup: done"
