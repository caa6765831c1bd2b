#!/usr/bin/env bash
# What needs no server: format, lints as errors, documentation, dependency policy, size limits.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/need.sh rust cc deny
PATH=$PATH:${XDG_CACHE_HOME:-$HOME/.cache}/flyball/tools/bin
cargo fmt --all --check
cargo clippy --locked --workspace --all-targets -- -D warnings
RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --locked --workspace --no-deps --document-private-items --quiet
cargo deny --log-level error check bans licenses sources
python3 scripts/sizes.py
