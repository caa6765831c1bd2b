#!/usr/bin/env bash
# The closed loop on real servers, told while it happens.
#   scripts/demo.sh BIN_DIR
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/need.sh redis-server=redis-server
export FLYBALL_BIN_DIR=$1
exec "$1/flyball-demo"
