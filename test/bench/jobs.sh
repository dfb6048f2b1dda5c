#!/bin/bash
# jobs.sh: how soon, how many and at what cost jobs run, in a private Postgres. See docs/benchmarks.md.
#
#   bash test/bench/jobs.sh              all; JOBS=1000 SECONDS_EACH=20 IDLE=120 in the environment
#   bash test/bench/jobs.sh start|burst|tick|idle
#
# Exit status 1 if a run is lost or a target is missed.
set -euo pipefail
DM_REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
. "$DM_REPO/test/lib/env.sh"
JOBS=${JOBS:-1000}
SECONDS_EACH=${SECONDS_EACH:-20}
IDLE=${IDLE:-120}
missed=0

# Runs SQL and prints the result without decoration.
ask() {
  psql_private -At -d postgres -v ON_ERROR_STOP=1 -c "$1"
}

# Prints whether $1 <= $2 and notes a miss; $3 says what.
target() {
  if awk -v a="$1" -v b="$2" 'BEGIN { exit !(a <= b) }'; then echo "$3 (target $2: reached)"; else echo "$3 (target $2: missed)"; missed=1; fi
}

# Makes the cluster.
setup() {
  cluster_use bench-jobs
  cluster_make "shared_preload_libraries = 'datamill'" "max_worker_processes = 40" "datamill.max_runs = 24" "fsync = off" "autovacuum = off" \
    "shared_buffers = 256MB" "log_min_messages = debug1"
  cluster_start
  ask 'CREATE EXTENSION datamill' >/dev/null
}

# JOBS jobs, each due every JOBS / 100 seconds, evenly spread: 100 starts a second. How late do they start?
bench_start() {
  local every=$(((JOBS + 99) / 100)) line
  step "start: $JOBS jobs, 100 due a second, for $SECONDS_EACH s"
  ask "SELECT count(datamill.create_job('start' || i, 'SELECT 1', 'every $every s')) FROM generate_series(1, $JOBS) i" >/dev/null
  ask "UPDATE datamill.job_catalog SET anchor = a, next_due = a FROM (SELECT job_id AS id, date_trunc('second', now()) + interval '2 s' + (row_number() OVER (ORDER BY job_id)) * interval '10 ms' AS a
         FROM datamill.job_catalog) x WHERE id = job_id; SELECT datamill.set_pool('default', 1000)" >/dev/null
  sleep $((SECONDS_EACH + 4))
  ask "SELECT count(datamill.pause(name)) FROM datamill.jobs" >/dev/null
  sleep 2
  line=$(ask "SELECT concat_ws(' ', count(*), round((percentile_cont(0.5) WITHIN GROUP (ORDER BY late))::numeric, 1), round((percentile_cont(0.99) WITHIN GROUP (ORDER BY late))::numeric, 1), round(max(late), 1),
      round(count(*) / extract(epoch FROM max(finished_at) - min(finished_at)), 1), count(*) FILTER (WHERE state <> 'succeeded'))
    FROM (SELECT *, extract(epoch FROM started_at - scheduled_time) * 1000 AS late FROM datamill.runs WHERE started_at IS NOT NULL) r")
  # shellcheck disable=SC2086
  set -- $line
  start_line="start: $1 runs, late by $2 ms at the median, $3 ms at p99, $4 ms at most; $5 a second, $6 not succeeded"
  start_p99=$3
  [ "$6" = 0 ] || missed=1
}

# 500 runs asked for at once: how many a second?
bench_burst() {
  step "burst: 500 runs at once"
  ask "SELECT count(datamill.create_job('burst' || i, 'SELECT 1')) FROM generate_series(1, 500) i" >/dev/null
  ask "SELECT count(datamill.run('burst' || i)) FROM generate_series(1, 500) i" >/dev/null
  for _ in $(seq 300); do
    [ "$(ask "SELECT count(*) FROM datamill.runs WHERE name LIKE 'burst%' AND state = 'succeeded'")" != 500 ] || break
    sleep 0.2
  done
  burst_rate=$(ask "SELECT round(count(*) / extract(epoch FROM max(finished_at) - min(started_at)), 1) FROM datamill.runs WHERE name LIKE 'burst%' AND state = 'succeeded'")
}

# 10,000 jobs, of which 100 are due at once, and may not start: how long is the tick that queues them? Median of ten.
bench_tick() {
  local i ticks=()
  step "tick: 10,000 jobs"
  ask "SELECT count(datamill.create_job('tick' || i, 'SELECT 1', '0 3 1 1 *', overlap => 'allow')) FROM generate_series(1, 10000) i" >/dev/null
  ask 'VACUUM ANALYZE datamill.job_catalog' >/dev/null
  ask "SELECT datamill.set_pool('default', 0)" >/dev/null
  for i in $(seq 10); do
    sleep 0.5
    ask "UPDATE datamill.job_catalog SET next_due = clock_timestamp() + interval '600 ms' WHERE job_id IN
           (SELECT job_id FROM datamill.job_catalog WHERE name ~ '^tick' ORDER BY job_id LIMIT 100 OFFSET $((i * 100)))" >/dev/null
    ask "SELECT datamill.set_pool('default', 0)" >/dev/null
    sleep 1
    ticks+=("$(grep -a 'a tick of' "$DM_LOG/server.log" | tail -n 1 | sed 's/.*a tick of \([0-9.]*\) ms.*/\1/')")
  done
  [ "$(ask "SELECT count(*) FROM datamill.runs WHERE name LIKE 'tick%' AND state = 'queued'")" = 1000 ] || { echo "not all were queued"; missed=1; }
  ask "SELECT datamill.set_pool('default', 1000); SELECT count(datamill.cancel(run_id)) FROM datamill.runs WHERE name LIKE 'tick%'" >/dev/null
  tick_ms=$(printf '%s\n' "${ticks[@]}" | sort -n | awk '{ a[NR] = $1 } END { print a[int((NR + 1) / 2)] }')
  tick_max=$(printf '%s\n' "${ticks[@]}" | sort -n | tail -n 1)
}

# Prints "SWITCHES TICKS" of launcher and scheduler: how often they slept, and clock ticks of processor time.
process_cost() {
  local p
  for p in $(ask "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'datamill%'"); do
    echo "$(sed -n 's/^voluntary_ctxt_switches:[[:space:]]*//p' "/proc/$p/status") $(awk '{ print $14 + $15 }' "/proc/$p/stat")"
  done | awk '{ a += $1; b += $2 } END { print a, b }'
}

# Jobs that are due far ahead, and nothing to do.
bench_idle() {
  local before after
  step "idle: $IDLE s"
  ask "SELECT datamill.create_job('yearly', 'SELECT 1', '@yearly')" >/dev/null
  sleep 3
  before=$(process_cost)
  sleep "$IDLE"
  after=$(process_cost)
  idle_line="idle: in $IDLE s launcher and scheduler woke $((${after% *} - ${before% *})) times, for $(((${after#* } - ${before#* }) * 10)) ms of processor time"
}

part=${1:-all}
case $part in
  all | start | burst | tick | idle) ;;
  *) sed -n '4,5s/^# *//p' "$0" >&2; exit 2 ;;
esac
step "packages"
# shellcheck disable=SC2086
packages_install $DM_PACKAGES_BUILD || die "packages are missing"
env_init
env_lock
step "build"
build
install_private
trap 'cluster_use bench-jobs; cluster_stop immediate' EXIT
trap 'exit 130' INT TERM
setup
if [ "$part" = all ]; then
  for each_part in start burst tick idle; do "bench_$each_part"; done
else
  "bench_$part"
fi
echo
echo "$(nproc) processors, load $(cut -d' ' -f1 /proc/loadavg) at the end"
[ -z "${start_line:-}" ] || target "$start_p99" 100 "$start_line"
[ -z "${burst_rate:-}" ] || echo "burst: $burst_rate runs a second (target 100: $(awk -v r="$burst_rate" 'BEGIN { print (r >= 100 ? "reached" : "missed") }'))"
[ -z "${tick_ms:-}" ] || target "$tick_ms" 20 "tick: 100 due of 10,000 jobs take $tick_ms ms at the median, $tick_max ms at most"
[ -z "${idle_line:-}" ] || echo "$idle_line"
exit $missed
