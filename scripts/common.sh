# Sourced by the scripts beside it: where things are, how they speak, how they install what is missing.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$root/.cache # the only folder that the set-up writes to
# On every image made here, and so on every container started from one; volumes and networks must be given it.
# shellcheck disable=SC2034 # for those that source this
label=org.cassandra-backup.project

mkdir -p "$cache"
export PATH=$cache/venv/bin:$cache/rust/cargo/bin:$PATH
if [[ -d $cache/rust ]]; then
    export CARGO_HOME=$cache/rust/cargo RUSTUP_HOME=$cache/rust/rustup
fi
# What Ansible, Molecule and Go leave lying about goes there too, not to the home directory or the work tree.
export VIRTUAL_ENV=$cache/venv ANSIBLE_HOME=$cache/ansible
export GOPATH=$cache/go GOCACHE=$cache/go/cache GOFLAGS="-modcacherw -buildvcs=false"

say() { echo "${0##*/}: $*"; }
die() { say "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null; }

# Runs a command whose output matters only when it fails.
quietly() {
    local log=$cache/${0##*/}.log
    "$@" >"$log" 2>&1 || { tail -n 20 "$log" >&2; die "\`$*\` failed: see ${log#"$root/"}"; }
}

install_packages() {
    if [[ $(id -u) != 0 ]] || ! have apt-get; then
        die "install $* first: only root on Debian gets them by itself"
    fi
    say "installing $*"
    local install=(apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$@")
    export DEBIAN_FRONTEND=noninteractive
    # Package lists that are missing or too old are the usual reason for a first failure.
    "${install[@]}" </dev/null >/dev/null 2>&1 || { quietly apt-get update; quietly "${install[@]}"; }
}

# A word that changes when any of its arguments, or of the lines on its standard input, does.
fingerprint() { { printf '%s\n' "$@"; cat; } | sha256sum | cut -c1-16; }
