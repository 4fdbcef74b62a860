# shellcheck shell=bash disable=SC2086  # a variable may hold several packages
# What serve, test, check and bench share: the virtual environment, Debian's packages, nginx's files.
# Sourced by them, never run.
#
# .venv/ in the checkout is made once and made up to date when setup.py changes. NUMDRAW_VENV names
# another environment, which is used as it is. NUMDRAW_PYTHON names the Python to make .venv/ with,
# NUMDRAW_NGINX the nginx to run.

set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
script=scripts/$(basename -- "$0")
venv=${NUMDRAW_VENV:-$root/.venv}
python=$venv/bin/python
base=${NUMDRAW_PYTHON:-python3}
nginx=${NUMDRAW_NGINX:-nginx}
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin  # nginx lives there, and an ordinary user's PATH may not
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore DEBIAN_FRONTEND=noninteractive

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "$script: $*"
    exit 1
}

# Prints the comment at the top of the script: its help.
usage() {
    sed -n '2,/^[^#]/{/^#/!q; s/^# \{0,1\}//; p}' "$0"
}

# Runs a command silently; on failure shows the end of what it printed and returns its status. A
# subshell, so that its file goes away on Ctrl-C too.
quietly() (
    status=0
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    "$@" >"$log" 2>&1 </dev/null || status=$?
    if [ "$status" != 0 ]; then
        say "$script: failed with status $status: $*"
        tail -n 40 "$log" >&2
    fi
    exit "$status"
)

have() {
    command -v "$1" >/dev/null
}

is_root() {
    [ "$(id -u)" = 0 ]
}

# What a script may need of the system, by a short name: Debian's packages, and what they are for.
declare -A packages=(
    [venv]="python3-venv"
    [bjoern]="gcc libc6-dev python3-dev libev-dev"
    [nginx]="nginx-light"
    [chromium]="chromium fonts-liberation"
    [node]="nodejs"
)
declare -A purpose=(
    [venv]="makes the virtual environment"
    [bjoern]="build bjoern; without them the ready-made bjoern-binary is taken"
    [nginx]="stands before bjoern; without it bjoern serves the loopback address alone"
    [chromium]="runs the page's tests; without it they are skipped"
    [node]="runs the tests of the page's pure functions; without it they are skipped"
)

has() {
    case $1 in
    venv) [ -x "$python" ] || "$base" -c 'import ensurepip, venv' 2>/dev/null ;;
    bjoern) has_bjoern || can_build_bjoern ;;
    nginx) have "$nginx" ;;
    *) have "$1" ;;
    esac
}

can_build_bjoern() {
    local include
    include=$("$base" -c 'import sysconfig; print(sysconfig.get_path("include"))') && have gcc &&
        printf '#include <Python.h>\n#include <ev.h>\n' |
        gcc -I "$include" -x c -fsyntax-only - 2>/dev/null
}

# Installs as root what is missing of the named things; to anybody else, or where they cannot be had,
# says what is missing and how to install it. What cannot be done without fails later, by itself.
system_has() {
    local name missing=()
    have "$base" || fail "missing: $base; to install: $(sudo_)apt-get install -y python3-venv"
    for name in "$@"; do
        has "$name" || missing+=("$name")
    done
    if [ ${#missing[@]} = 0 ]; then return 0; fi
    if is_root && have apt-get; then apt_install "${missing[@]}"; fi
    tell_missing "${missing[@]}"
}

# All of them at once, or, where one of them cannot be had, those that can.
apt_install() {
    local name wanted
    wanted=$(for name in "$@"; do printf '%s ' "${packages[$name]}"; done)
    say "$script: installing $wanted"
    quietly apt-get update -q || return 0
    if ! apt_get $wanted; then
        for name in "$@"; do apt_get ${packages[$name]} || true; done
    fi
    # From the next boot on Debian would serve its own page on port 80.
    if [[ " $* " = *" nginx "* ]] && has nginx && quietly update-rc.d nginx disable; then
        say "$script: nginx's own service stays off; update-rc.d nginx enable turns it on"
    fi
}

apt_get() {
    with_services_held quietly apt-get install -yq --no-install-recommends "$@"
}

tell_missing() {
    local name all=()
    for name in "$@"; do
        if ! has "$name"; then
            if [ ${#all[@]} = 0 ]; then say "$script: missing on this machine:"; fi
            say "  ${packages[$name]}: ${purpose[$name]}"
            all+=("${packages[$name]}")
        fi
    done
    if [ ${#all[@]} = 0 ]; then return 0; fi
    if have apt-get; then
        say "  to install: $(sudo_)apt-get install -y --no-install-recommends ${all[*]}"
    else
        say "  these are Debian's names; install the same with this system's package manager"
    fi
}

sudo_() {
    is_root || printf 'sudo '
}

# Runs a command while packages start no service: Debian's nginx would come up on port 80.
with_services_held() (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    "$@"
)

# Brings the virtual environment up to date with an extra of setup.py, "" for none.
environment() {
    if [ -n "${NUMDRAW_VENV:-}" ]; then
        [ -x "$python" ] || fail "NUMDRAW_VENV expected a virtual environment, got $venv"
    else
        alone update_environment "$1"
    fi
}

# Runs a command while no other script of this checkout runs one: they wait for the folder's lock.
alone() (
    exec 9<"$root"
    if have flock; then flock 9; fi
    "$@"
)

update_environment() {
    local extra=$1 now
    now=$(printf '%s\n' "$root" "$("$base" -VV)"; cat "$root/setup.py" "$root/numdraw/_version.py")
    if up_to_date "$extra" || up_to_date dev; then return 0; fi  # dev holds all that no extra needs
    make_environment
    say "$script: installing Python packages into ${venv#"$root"/}"
    quietly "$python" -m pip install -q -e "$root${extra:+[$extra]}" ||
        fail "expected to install numdraw${extra:+[$extra]} with pip, got the error above"
    printf '%s\n' "$now" >"$(stamp_of "$extra")"
}

up_to_date() {
    [ -f "$(stamp_of "$1")" ] && [ "$(cat "$(stamp_of "$1")")" = "$now" ] && "$python" -c ''
}

stamp_of() {
    printf '%s' "$venv/numdraw-${1:-base}.stamp"
}

make_environment() {
    "$base" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "expected Python 3.10 or newer, got $("$base" -V); NUMDRAW_PYTHON can name another"
    if [ -x "$python" ] && [ "$("$python" -VV)" = "$("$base" -VV)" ]; then
        return 0
    fi
    has venv || fail "expected $base to make virtual environments, got no module for it; $(fix_of venv)"
    quietly "$base" -m venv --clear "$venv" || fail "expected to make $venv, got the error above"
}

fix_of() {
    printf 'install %s' "${packages[$1]}"
}

# Installs bjoern into the environment: built here where that can be, else the ready-made
# bjoern-binary. They hold the same module, so never both.
bjoern() {
    if has_bjoern; then return 0; fi
    [ -z "${NUMDRAW_VENV:-}" ] || fail "expected bjoern in $venv, got none; $python -m pip install bjoern"
    alone install_bjoern
}

has_bjoern() {
    "$python" -c 'import bjoern' 2>/dev/null
}

install_bjoern() {
    local wanted
    if has_bjoern; then return 0; fi
    say "$script: installing bjoern"
    wanted=$(bjoern_requirement)
    if can_build_bjoern && quietly "$python" -m pip install -q "$wanted"; then return 0; fi
    quietly "$python" -m pip install -q "${wanted/bjoern/bjoern-binary}" ||
        fail "expected bjoern or bjoern-binary to install, got neither; $(fix_of bjoern)"
}

# What setup.py asks for in its extra serve.
bjoern_requirement() {
    "$python" -c '
from importlib.metadata import requires
print(next(line.split(";")[0].strip() for line in requires("numdraw") if line.startswith("bjoern")))'
}

# Writes nginx's files for one site into a folder, which becomes its prefix. No access log.
# Arguments: the folder, the address to listen on, the folder of the page, the workers' socket, and
# the site's file in nginx/ if it is not numdraw.conf.
nginx_files() {
    local folder=$1 address=$2 page=$3 socket=$4 site=${5:-numdraw.conf}
    mkdir -p "$folder/temp"
    cp -R "$root/nginx/nginx.conf" "$root/nginx/numdraw" "$folder"
    sed -e "/# SITE: the socket/s|unix:[^ ]*|\"unix:$(in_sed "$socket")\"|" \
        -e "/# SITE: the address that/s|listen [^;]*|listen $(in_sed "$address")|" \
        -e "/# SITE: a copy/s|root  *[^;]*|root \"$(in_sed "$page")\"|" \
        -e "/# SITE: the access log/s|access_log [^;]*|access_log off|" \
        "$root/nginx/$site" >"$folder/numdraw.conf"
}

# Quotes a text for the right side of sed's s|||, inside a quoted text of nginx.
in_sed() {
    printf '%s' "$1" | sed -e 's/["\\]/\\&/g' -e 's/[\\&|]/\\&/g'
}
