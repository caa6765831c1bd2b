#!/usr/bin/env bash
# Makes sure that the named tools are there; installs Debian packages where it may, else says in one line what is missing.
#   scripts/need.sh [rust] [node] [cc] [nextest] [deny] [PACKAGE=COMMAND ...]
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

for tool in "$@"; do
  case $tool in
    rust) command -v cargo >/dev/null || { echo "cargo is missing: install a Rust toolchain with rustup (version: rust-toolchain.toml)" >&2; exit 1; } ;;
    node) command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer" >&2; exit 1; } ;;
    cc) command -v cc >/dev/null || apt_install build-essential ;;
    nextest) command -v cargo-nextest >/dev/null || [ -x "$tools/bin/cargo-nextest" ] || cargo_install cargo-nextest 0.9.143 --no-default-features --features default-no-update ;;
    deny) command -v cargo-deny >/dev/null || [ -x "$tools/bin/cargo-deny" ] || cargo_install cargo-deny 0.20.2 ;;
    *=*) command -v "${tool#*=}" >/dev/null || apt_install "${tool%%=*}" ;;
    *) echo "need.sh: unknown tool $tool" >&2; exit 2 ;;
  esac
done
