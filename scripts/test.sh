#!/usr/bin/env bash
# Installs what the tests need and runs all of them, the quickest first. Nothing is skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/need.sh rust cc node nextest deny chromium=chromium faketime=faketime iproute2=ip redis-server=redis-server memcached=memcached nginx-light=nginx haproxy=haproxy
PATH=$PATH:${XDG_CACHE_HOME:-$HOME/.cache}/flyball/tools/bin

step() { printf '\n== %s (%ds)\n' "$1" "$SECONDS"; }

step "dashboard: types, unit tests, build, size"
(cd dashboard && npm ci --no-audit --no-fund && npm run check && npm test && npm run build)
step "format, lints, docs, dependency policy, sizes"
scripts/check.sh
step "binaries"
cargo build --locked --workspace --bins
step "embedded engine"
"${CARGO_TARGET_DIR:-target}/debug/flyball-collector" engine fetch
step "unit, property, integration and browser tests"
cargo nextest run --locked --workspace --no-fail-fast
step "doc tests"
cargo test --locked --workspace --doc --quiet
step "done"
