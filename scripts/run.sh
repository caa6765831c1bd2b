#!/usr/bin/env bash
# The main job: collector with its embedded ClickHouse, an agent on this host, the dashboard. Ctrl-C stops all of it.
#   scripts/run.sh BIN_DIR     FLYBALL_DATA: directory of the data (default ./data)
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$1 data=${FLYBALL_DATA:-data} collector= agent=
mkdir -p "$data"

stop() {
  trap - EXIT INT TERM
  for pid in $agent $collector; do kill -TERM "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
}
trap stop EXIT
trap 'exit 0' INT TERM

rm -f "$data/collector/endpoints.json"
"$bin/flyball-collector" --data-dir "$data/collector" &
collector=$!
until [ -s "$data/collector/endpoints.json" ]; do
  kill -0 "$collector" 2>/dev/null || { wait "$collector"; exit $?; }
  read -rt 0.1 <> <(:) || true
done
read -r http grpc < <(python3 -c 'import json,sys; e=json.load(open(sys.argv[1])); print(e["http"], e["grpc"])' "$data/collector/endpoints.json")
"$bin/flyball-agent" --collector "http://$grpc" --data-dir "$data/agent" &
agent=$!
printf '\n  Flyball is running. Dashboard: http://%s   API: http://%s/docs   Ctrl-C stops it.\n\n' "$http" "$http"
wait -n "$collector" "$agent"
