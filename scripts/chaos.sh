#!/usr/bin/env bash
# The long form of the fault tests on the release binaries. FLYBALL_CHAOS_SEED replays a run, FAULTS sets how many faults (default 1000),
# KILLS how often collectors are killed while they carry out changes (default 200).
#   scripts/chaos.sh BIN_DIR
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/need.sh faketime=faketime iproute2=ip mount=mount redis-server=redis-server
export FLYBALL_BIN_DIR=$1
"$1/flyball-chaos" rollout --kills "${KILLS:-200}"
exec "$1/flyball-chaos" --faults "${FAULTS:-1000}"
