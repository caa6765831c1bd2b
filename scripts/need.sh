#!/usr/bin/env bash
# Makes sure that the named tools are there; installs Debian packages where it may, else says in one line what is missing.
#   scripts/need.sh [rust] [node] [cc] [nextest] [deny] [pip:NAME=VERSION ...] [PACKAGE=COMMAND ...]
set -euo pipefail
tools=${XDG_CACHE_HOME:-$HOME/.cache}/flyball/tools

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

apt_install() {
  command -v apt-get >/dev/null || { echo "$1 is missing and there is no apt-get: install the package $1" >&2; exit 1; }
  echo "installing the Debian package $1" >&2
  # No daemon may start because its package was installed.
  local policy=/usr/sbin/policy-rc.d made= status=0
  [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null; as_root chmod +x "$policy"; made=1; }
  { as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$1"; } >&2 || status=$?
  [ -z "$made" ] || as_root rm -f "$policy"
  [ "$status" = 0 ] || { echo "could not install the package $1: install it by hand" >&2; exit 1; }
}

# Tools written in Rust are built without optimization: they run for seconds, and their build would take minutes.
cargo_install() {
  echo "building $1 once into $tools" >&2
  CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=256 \
    CARGO_TARGET_DIR=$tools/target cargo install --quiet --locked --root "$tools" "$1@$2" "${@:3}"
  rm -rf "$tools/target"
}

# Python packages go into an environment of their own beside the other tools; the system gets nothing but the means to make it.
pip_install() {
  local python=$tools/python
  if ! [ -x "$python/bin/pip" ]; then
    command -v python3 >/dev/null || apt_install python3
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then apt_install python3-venv; fi
    mkdir -p "$tools"
    python3 -m venv --clear "$python"
  fi
  [ "$("$python/bin/python" -c 'import importlib.metadata as m, sys; print(m.version(sys.argv[1]))' "$1" 2>/dev/null)" = "$2" ] && return
  echo "installing the Python package $1 $2 into $python" >&2
  "$python/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "$1==$2" >&2 ||
    { echo "could not install the Python package $1 $2 into $python" >&2; exit 1; }
}

for tool in "$@"; do
  case $tool in
    rust) command -v cargo >/dev/null || { echo "cargo is missing: install a Rust toolchain with rustup (version: rust-toolchain.toml)" >&2; exit 1; } ;;
    node) command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer" >&2; exit 1; } ;;
    cc) command -v cc >/dev/null || apt_install build-essential ;;
    nextest) command -v cargo-nextest >/dev/null || [ -x "$tools/bin/cargo-nextest" ] || cargo_install cargo-nextest 0.9.143 --no-default-features --features default-no-update ;;
    deny) command -v cargo-deny >/dev/null || [ -x "$tools/bin/cargo-deny" ] || cargo_install cargo-deny 0.20.2 ;;
    pip:*=*) package=${tool#pip:}; pip_install "${package%%=*}" "${package#*=}" ;;
    *=*) command -v "${tool#*=}" >/dev/null || apt_install "${tool%%=*}" ;;
    *) echo "need.sh: unknown tool $tool" >&2; exit 2 ;;
  esac
done
