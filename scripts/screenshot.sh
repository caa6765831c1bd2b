#!/usr/bin/env bash
# Makes docs/dashboard.png: a real collector and agent with a few minutes of data, drawn by headless Chromium.
#   scripts/screenshot.sh BIN_DIR
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/need.sh node chromium=chromium
[ -d dashboard/node_modules ] || (cd dashboard && npm ci --no-audit --no-fund)
FLYBALL_BIN_DIR=$1 exec "$1/flyball-bench" screenshot --script dashboard/e2e/screenshot.mjs --output docs/dashboard.png
