#!/bin/bash
# run.sh: the yardsticks, as ratios, measured in a private Postgres. See docs/benchmarks.md.
#
#   bash test/bench/run.sh               all but large; ROWS=1000000 RUNS=5 MERGES=3 WIDE_ROWS=250000 in the environment
#   bash test/bench/run.sh scan|merge|repeat|changed|wide|delta|large|load|copy|gzip|json|unload|s3
#
# Both sides of a ratio run in one server with the same settings, each step after a checkpoint, alternating; figures are
# medians. Exit status 1 if the two sides do not give the same result or a target is missed.
set -euo pipefail
DM_REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
. "$DM_REPO/test/lib/env.sh"

ROWS=${ROWS:-1000000}
RUNS=${RUNS:-5}
MERGES=${MERGES:-3}
WIDE_ROWS=${WIDE_ROWS:-$((ROWS / 4))}
K=k1,k2,k3,k4,k5
N=n1,n2,n3,n4,n5,n6,n7,n8,n9,n10
COLUMNS="$(for c in ${K//,/ }; do printf '%s uuid, ' "$c"; done)$(for c in ${N//,/ }; do printf '%s bigint, ' "$c"; done)"
COLUMNS=${COLUMNS%, }
missed=0
. "$DM_REPO/test/bench/parts.sh"
export PGOPTIONS="-c client_min_messages=warning"

# Runs SQL and prints the result without decoration.
ask() {
  psql_private -At -d bench -v ON_ERROR_STOP=1 -c "$1"
}

# Checkpoints, runs the SQL statement $1 and prints its milliseconds. The statement's result goes to the file $2.
timed() {
  psql_private -q -d bench -c 'CHECKPOINT'
  psql_private -At -d bench -v ON_ERROR_STOP=1 -c '\timing on' -c "$1" >"$DM_PRIVATE/bench.out" || die "failed: $1"
  grep -v '^Timing is on\|^Time: ' "$DM_PRIVATE/bench.out" >"${2:-/dev/null}" || true
  sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' "$DM_PRIVATE/bench.out" | tail -n 1
}

# Prints the median of its arguments.
median() {
  printf '%s\n' "$@" | sort -n | awk '{ a[NR] = $1 } END { print NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'
}

# Prints a line of the result: $1 what, $2 and $3 name and ms of the other side, $4 ms of datamill, $5 target or -.
ratio() {
  awk -v what="$1" -v other="$2" -v a="$3" -v b="$4" -v target="$5" 'BEGIN {
    printf "%-28s %s %.2f s, datamill %.2f s, ratio %.2f", what, other, a / 1000, b / 1000, b / a
    if (target != "-") printf " (target %s: %s)", target, b / a <= target ? "reached" : "missed"
    printf "\n"; exit !(target == "-" || b / a <= target) }' || missed=1
}

# Makes the cluster, the two files and the two ways to read them.
setup() {
  local bucket=$DM_PRIVATE/bench-buckets/bench
  cluster_use bench
  cluster_make "shared_buffers = 1GB" "max_wal_size = 8GB" "min_wal_size = 4GB" "checkpoint_timeout = 1h" "work_mem = 64MB" \
    "maintenance_work_mem = 256MB" "fsync = off" "autovacuum = off" "jit = off" "max_parallel_workers_per_gather = 0"
  cluster_start
  psql_private -q -d postgres -c 'CREATE DATABASE bench'
  if [ "$(cat "$DM_PRIVATE/bench-rows" 2>/dev/null)" != "$ROWS" ]; then
    step "data: $ROWS rows a day"
    rm -f "$DM_PRIVATE/bench-rows"
    rm -rf "$DM_PRIVATE/bench-buckets"
    mkdir "$DM_PRIVATE/bench-buckets"
    server_folder "$bucket" 755
    psql_private -q -d bench -v ON_ERROR_STOP=1 -v rows="$ROWS" -v dir="$bucket" -f "$DM_REPO/test/bench/data.sql"
    echo "$ROWS" >"$DM_PRIVATE/bench-rows"
  fi
  psql_private -q -d bench -v ON_ERROR_STOP=1 <<SQL
CREATE EXTENSION datamill;
CREATE EXTENSION file_fdw;
CREATE EXTENSION pageinspect;
CREATE SERVER lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'file://${bucket%/*}');
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE lake_day1 ($COLUMNS) SERVER lake OPTIONS (url 's3://bench/day1.csv', format 'csv', header 'true');
CREATE FOREIGN TABLE file_day1 ($COLUMNS) SERVER files OPTIONS (filename '$bucket/day1.csv', format 'csv', header 'true');
SQL
  BUCKET=$bucket
}

# (a) A scan of day 1 with every column converted, against file_fdw on the same file.
bench_scan() {
  local list i ours=() theirs=() c
  list="count(*)"
  for c in ${K//,/ }; do list="$list, sum(uuid_hash($c))"; done
  for c in ${N//,/ }; do list="$list, sum($c)"; done
  step "scan: $RUNS alternating runs"
  for i in $(seq "$RUNS"); do
    theirs+=("$(timed "SELECT $list FROM file_day1" "$DM_PRIVATE/bench.theirs")")
    ours+=("$(timed "SELECT $list FROM lake_day1" "$DM_PRIVATE/bench.ours")")
    cmp -s "$DM_PRIVATE/bench.theirs" "$DM_PRIVATE/bench.ours" || die "the two scans differ"
    echo "  run $i: file_fdw ${theirs[-1]} ms, datamill ${ours[-1]} ms"
  done
  scan_ms="$(median "${theirs[@]}") $(median "${ours[@]}")"
}

# (h) Day 1 from a real S3 server (Ceph RGW, data in memory) on the same machine, against file_fdw on the local file: with one process, with
# two parallel workers, two of the columns; and 10,000 small objects, against the same with one request after another on one connection.
bench_s3() {
  local list c i theirs=() ours=() two=() parallel=() one=() many=() s3="python3 $DM_REPO/test/lib/s3.py"
  local port=$((21000 + RANDOM % 400 * 25))
  RGW=$DM_PRIVATE/bench-rgw
  list="count(*)"
  for c in ${K//,/ }; do list="$list, sum(uuid_hash($c))"; done
  for c in ${N//,/ }; do list="$list, sum($c)"; done
  step "S3 server"
  # shellcheck disable=SC2086
  packages_install $DM_PACKAGES_S3 || die "packages are missing"
  PORT=$port STORE=memstore bash "$DM_REPO/test/lib/rgw.sh" up "$RGW" >"$DM_PRIVATE/bench-rgw.log" 2>&1 </dev/null || die "RGW did not start"
  export S3_ENDPOINT=http://127.0.0.1:$port
  $s3 mb bench
  $s3 put bench day1.csv <"$BUCKET/day1.csv"
  $s3 many bench small/ 10000
  psql_private -q -d bench -v ON_ERROR_STOP=1 <<SQL
CREATE SERVER rgw FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint '$S3_ENDPOINT');
CREATE SERVER rgw_one FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint '$S3_ENDPOINT', max_concurrency '1');
CREATE USER MAPPING FOR PUBLIC SERVER rgw OPTIONS (access_key_id 'RGWTESTKEY', secret_access_key 'rgw/test+secret=key');
CREATE USER MAPPING FOR PUBLIC SERVER rgw_one OPTIONS (access_key_id 'RGWTESTKEY', secret_access_key 'rgw/test+secret=key');
CREATE FOREIGN TABLE rgw_day1 ($COLUMNS) SERVER rgw OPTIONS (url 's3://bench/day1.csv', format 'csv', header 'true');
CREATE FOREIGN TABLE rgw_small (id int, v text) SERVER rgw OPTIONS (url 's3://bench/small/*', format 'csv', header 'true');
CREATE FOREIGN TABLE one_small (id int, v text) SERVER rgw_one OPTIONS (url 's3://bench/small/*', format 'csv', header 'true');
SQL
  step "S3: $RUNS alternating runs"
  for i in $(seq "$RUNS"); do
    theirs+=("$(timed "SELECT $list FROM file_day1" "$DM_PRIVATE/bench.theirs")")
    ours+=("$(timed "SELECT $list FROM rgw_day1" "$DM_PRIVATE/bench.ours")")
    cmp -s "$DM_PRIVATE/bench.theirs" "$DM_PRIVATE/bench.ours" || die "the two scans differ"
    parallel+=("$(PGOPTIONS="$PGOPTIONS -c max_parallel_workers_per_gather=2" timed "SELECT $list FROM rgw_day1" "$DM_PRIVATE/bench.ours")")
    cmp -s "$DM_PRIVATE/bench.theirs" "$DM_PRIVATE/bench.ours" || die "the parallel scan differs"
    two+=("$(timed "SELECT count(n1), sum(n7) FROM rgw_day1")")
    one+=("$(timed "SELECT count(*), sum(id) FROM one_small" "$DM_PRIVATE/bench.theirs")")
    many+=("$(timed "SELECT count(*), sum(id) FROM rgw_small" "$DM_PRIVATE/bench.ours")")
    cmp -s "$DM_PRIVATE/bench.theirs" "$DM_PRIVATE/bench.ours" || die "the scans of small objects differ"
    echo "  run $i: file_fdw ${theirs[-1]} ms, datamill ${ours[-1]} ms, two workers ${parallel[-1]} ms, two columns ${two[-1]} ms;" \
      "small objects one after another ${one[-1]} ms, together ${many[-1]} ms"
  done
  bash "$DM_REPO/test/lib/rgw.sh" down "$RGW"
  s3_ms="$(median "${theirs[@]}") $(median "${ours[@]}")"
  s3_workers_ms="$(median "${theirs[@]}") $(median "${parallel[@]}")"
  s3_two_ms="$(median "${theirs[@]}") $(median "${two[@]}")"
  s3_small_ms="$(median "${one[@]}") $(median "${many[@]}")"
}

# Merges both days into a new dataset, dim.dN; sets TARGET to its name.
merge_both_days() {
  MERGE=$((${MERGE:-0} + 1))
  TARGET=dim.d$MERGE
  timed "SELECT * FROM datamill.cdc_merge('$TARGET', 's3://bench/day1.csv', keys => '{$K}', effective => '2019-06-18')" >/dev/null
  timed "SELECT * FROM datamill.cdc_merge('$TARGET', 's3://bench/day2.csv', effective => '2019-06-19')" >/dev/null
}

# Prints "BYTES PAGES" for the relation $1 with its indexes and toast: size, and how many pages have changed since LSN $2.
pages_since() {
  ask "WITH r AS (SELECT c.oid, c.oid::regclass::text name FROM pg_class c WHERE c.oid = '$1'::regclass
         UNION ALL SELECT indexrelid, indexrelid::regclass::text FROM pg_index WHERE indrelid = '$1'::regclass)
       SELECT sum(pg_relation_size(oid)) || ' ' ||
         sum((SELECT count(*) FROM generate_series(0, pg_relation_size(r.oid) / 8192 - 1) b
              WHERE (page_header(get_raw_page(r.name, b::int))).lsn > '$2')) FROM r"
}

# (c) Day 2 once more: no page of the dataset's tables may change.
bench_repeat() {
  local before after counts ms r result size i list again=() scans=() source
  step "the same merge repeated"
  [ -n "${TARGET:-}" ] || merge_both_days
  ask "VACUUM $TARGET" >/dev/null
  ask "VACUUM ${TARGET}_history" >/dev/null
  size=$(ask "SELECT pg_total_relation_size('$TARGET') + pg_total_relation_size('${TARGET}_history')")
  ask CHECKPOINT >/dev/null
  before=$(ask 'SELECT pg_current_wal_insert_lsn()')
  ms=$(timed "SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('$TARGET', 's3://bench/day2.csv', effective => '2019-06-19')" \
    "$DM_PRIVATE/bench.counts")
  after=$(ask 'SELECT pg_current_wal_insert_lsn()')
  counts=$(cat "$DM_PRIVATE/bench.counts")
  repeat_line="unchanged merge              $counts (I|U|D|N) in $(awk -v ms="$ms" 'BEGIN { printf "%.2f", ms / 1000 }') s,"
  repeat_line="$repeat_line $(ask "SELECT '$after'::pg_lsn - '$before'::pg_lsn") bytes of WAL,"
  for r in "$TARGET" "${TARGET}_history"; do
    result=$(pages_since "$r" "$before")
    repeat_line="$repeat_line ${result#* } pages of ${r#*.} changed,"
    [ "${result#* }" = 0 ] || missed=1
  done
  [ "$size" = "$(ask "SELECT pg_total_relation_size('$TARGET') + pg_total_relation_size('${TARGET}_history')")" ] ||
    { missed=1; repeat_line="$repeat_line the tables grew,"; }
  repeat_line=${repeat_line%,}
  list="count(*), $(each "$K" 'sum(uuid_hash(@))' ', '), $(each "$N" 'sum(@)' ', ')"
  ask "CREATE FOREIGN TABLE lake_day2 ($COLUMNS) SERVER lake OPTIONS (url 's3://bench/day2.csv', format 'csv', header 'true')" >/dev/null
  for i in $(seq "$RUNS"); do
    source=$(timed "SELECT $list FROM lake_day2" "$DM_PRIVATE/bench.theirs")
    ms=$(timed "SELECT $list FROM $TARGET" "$DM_PRIVATE/bench.ours")
    cmp -s "$DM_PRIVATE/bench.theirs" "$DM_PRIVATE/bench.ours" || die "current is not what the source is"
    scans+=("$(awk -v a="$source" -v b="$ms" 'BEGIN { print a + b }')")
    again+=("$(timed "SELECT * FROM datamill.cdc_merge('$TARGET', 's3://bench/day2.csv', effective => '2019-06-19')")")
    echo "  run $i: scan of the source $source ms, of current $ms ms, cdc_merge ${again[-1]} ms"
  done
  repeat_ms="$(median "${scans[@]}") $(median "${again[@]}")"
}

# (d) The first load, against COPY into a table with the same primary key, and against COPY with the key added afterwards.
bench_load() {
  local i copy=() after=() ours=()
  step "first load: $MERGES alternating runs"
  for i in $(seq "$MERGES"); do
    ask "DROP TABLE IF EXISTS copied; CREATE TABLE copied ($COLUMNS, PRIMARY KEY ($K))" >/dev/null
    copy+=("$(timed "COPY copied FROM '$BUCKET/day1.csv' WITH (FORMAT csv, HEADER)")")
    ask "DROP TABLE copied; CREATE TABLE copied ($COLUMNS)" >/dev/null
    after+=("$(timed "COPY copied FROM '$BUCKET/day1.csv' WITH (FORMAT csv, HEADER); ALTER TABLE copied ADD PRIMARY KEY ($K)")")
    MERGE=$((${MERGE:-0} + 1))
    ours+=("$(timed "SELECT * FROM datamill.cdc_merge('dim.d$MERGE', 's3://bench/day1.csv', keys => '{$K}', effective => '2019-06-18')")")
    echo "  run $i: COPY ${copy[-1]} ms, COPY then key ${after[-1]} ms, cdc_merge ${ours[-1]} ms"
  done
  load_ms="$(median "${copy[@]}") $(median "${ours[@]}")"
  load_after_ms="$(median "${after[@]}") $(median "${ours[@]}")"
}

# (e) load() into a bare table, against COPY of the same file into one.
bench_copy() {
  local i copy=() ours=()
  step "load: $RUNS alternating runs"
  for i in $(seq "$RUNS"); do
    ask "DROP TABLE IF EXISTS copied, loaded; CREATE TABLE copied ($COLUMNS); CREATE TABLE loaded ($COLUMNS)" >/dev/null
    copy+=("$(timed "COPY copied FROM '$BUCKET/day1.csv' WITH (FORMAT csv, HEADER)")")
    ours+=("$(timed "SELECT * FROM datamill.load('s3://bench/day1.csv', 'loaded')")")
    echo "  run $i: COPY ${copy[-1]} ms, load() ${ours[-1]} ms"
  done
  [ "$(ask "SELECT sum(hashtextextended(t::text, 0)) FROM copied t")" = "$(ask "SELECT sum(hashtextextended(t::text, 0)) FROM loaded t")" ] ||
    die "the two tables differ"
  copy_ms="$(median "${copy[@]}") $(median "${ours[@]}")"
}

# (f) A scan of day 1 as JSON lines, against COPY into a jsonb column and jsonb_to_record over it.
bench_json() {
  local list i ours=() theirs=() c copied
  list="count(*)"
  for c in ${K//,/ }; do list="$list, sum(uuid_hash($c))"; done
  for c in ${N//,/ }; do list="$list, sum($c)"; done
  step "JSON lines: $RUNS alternating runs"
  local plain="FORMAT csv, QUOTE e'\\x01', DELIMITER e'\\x02'"
  ask "COPY (SELECT row_to_json(d) FROM file_day1 d) TO '$BUCKET/day1.jsonl' WITH ($plain)" >/dev/null
  ask "CREATE FOREIGN TABLE json_day1 ($COLUMNS) SERVER lake OPTIONS (url 's3://bench/day1.jsonl', format 'jsonl')" >/dev/null
  for i in $(seq "$RUNS"); do
    ask "DROP TABLE IF EXISTS raw_day1; CREATE TABLE raw_day1 (j jsonb)" >/dev/null
    copied=$(timed "COPY raw_day1 FROM '$BUCKET/day1.jsonl' WITH ($plain)")
    c=$(timed "SELECT $list FROM raw_day1, jsonb_to_record(j) AS r($COLUMNS)" "$DM_PRIVATE/bench.theirs")
    theirs+=("$(awk -v a="$copied" -v b="$c" 'BEGIN { print a + b }')")
    ours+=("$(timed "SELECT $list FROM json_day1" "$DM_PRIVATE/bench.ours")")
    cmp -s "$DM_PRIVATE/bench.theirs" "$DM_PRIVATE/bench.ours" || die "the two sides differ"
    echo "  run $i: COPY $copied ms, to_record $c ms, datamill ${ours[-1]} ms"
  done
  json_ms="$(median "${theirs[@]}") $(median "${ours[@]}")"
}

# Prints the milliseconds of unload() with the options $1, into an empty folder; COPY TO's bytes must be $2's (read by $3).
unload_ms() {
  local ms
  ms=$(timed "SELECT * FROM datamill.unload('SELECT * FROM copied', 's3://bench/out/f', '{\"overwrite\": \"clean\", $1}')")
  cmp -s <($3 "$BUCKET"/out/f00000.csv*) <($3 "$2") || die "the two files differ"
  echo "$ms"
}

# (g) unload() of day 1 as CSV, against COPY TO a file; with gzip, against COPY TO PROGRAM gzip at the same level.
bench_unload() {
  local i copy=() ours=() copy_gzip=() ours_gzip=()
  step "unload: $RUNS alternating runs"
  rm -rf "$BUCKET/out" "$BUCKET"/core.csv*
  ask "DROP TABLE IF EXISTS copied; CREATE TABLE copied ($COLUMNS)" >/dev/null
  ask "COPY copied FROM '$BUCKET/day1.csv' WITH (FORMAT csv, HEADER)" >/dev/null
  ask "VACUUM copied" >/dev/null
  for i in $(seq "$RUNS"); do
    copy+=("$(timed "COPY copied TO '$BUCKET/core.csv' WITH (FORMAT csv, HEADER)")")
    ours+=("$(unload_ms '"compression": "none"' "$BUCKET/core.csv" cat)")
    copy_gzip+=("$(timed "COPY copied TO PROGRAM 'gzip >$BUCKET/core.csv.gz' WITH (FORMAT csv, HEADER)")")
    ours_gzip+=("$(unload_ms '"compression": "gzip"' "$BUCKET/core.csv.gz" 'gzip -dc')")
    echo "  run $i: COPY TO ${copy[-1]} ms, unload() ${ours[-1]} ms; gzip ${copy_gzip[-1]} ms, unload() ${ours_gzip[-1]} ms"
  done
  rm -rf "$BUCKET/out" "$BUCKET"/core.csv*
  unload_ms="$(median "${copy[@]}") $(median "${ours[@]}")"
  unload_gzip_ms="$(median "${copy_gzip[@]}") $(median "${ours_gzip[@]}")"
}

part=${1:-all}
case $part in
  all | scan | merge | repeat | changed | wide | delta | large | load | copy | gzip | json | unload | s3) ;;
  *) sed -n '4,5s/^# *//p' "$0" >&2; exit 2 ;;
esac

step "packages"
# shellcheck disable=SC2086
packages_install $DM_PACKAGES_BUILD || die "packages are missing"
env_init
env_lock
need_space $((2000 + ROWS / 120))
step "build"
build
install_private
trap 'cluster_use bench; cluster_stop immediate; [ -z "${RGW:-}" ] || bash "$DM_REPO/test/lib/rgw.sh" down "$RGW"' EXIT
trap 'exit 130' INT TERM
setup
if [ "$part" = all ]; then
  for each_part in scan merge repeat changed wide delta load copy gzip json unload s3; do "bench_$each_part"; done
else
  "bench_$part"
fi

echo
echo "$ROWS rows a day, 5 uuid keys, 10 bigint columns; $(nproc) processors, load $(cut -d' ' -f1 /proc/loadavg) at the end"
# shellcheck disable=SC2086
{
  [ -z "${scan_ms:-}" ] || ratio "scan" file_fdw $scan_ms 0.8
  [ -z "${merge_ms:-}" ] || ratio "day-2 merge" "by hand" $merge_ms 0.35
  [ -z "${changed_ms:-}" ] || ratio "merge, all rows changed" "by hand" $changed_ms 1.0
  [ -z "${wide_ms:-}" ] || ratio "wide merge ($WIDE_ROWS rows)" "by hand" $wide_ms 0.35
  [ -z "${wide_changed_ms:-}" ] || ratio "wide, all rows changed" "by hand" $wide_changed_ms 1.0
  [ -z "${delta_ms:-}" ] || ratio "delta of 1,000 rows" "into ROWS / 10" $delta_ms 1.5
  [ -z "${large_key_ms:-}" ] || ratio "merge of 10 x ROWS" "ROWS" $large_key_ms 12
  [ -z "${large_hash_ms:-}" ] || ratio "the same, rows strewn" "ROWS" $large_hash_ms 12
  [ -z "${large_sections_ms:-}" ] || ratio "the same, in sections" "ROWS" $large_sections_ms 12
  [ -z "${large_line:-}" ] || echo "$large_line"
  [ -z "${repeat_line:-}" ] || echo "$repeat_line"
  [ -z "${repeat_ms:-}" ] || ratio "unchanged merge" "both scans" $repeat_ms 1.5
  [ -z "${load_ms:-}" ] || ratio "first load" "COPY" $load_ms 1.3
  [ -z "${load_ms:-}" ] || ratio "first load" "COPY, then key" $load_after_ms -
  [ -z "${copy_ms:-}" ] || ratio "load()" "COPY" $copy_ms 0.75
  [ -z "${gzip_load_ms:-}" ] || ratio "load() of gzip" "gzip -dc" $gzip_load_ms 1.3
  [ -z "${gzip_scan_ms:-}" ] || ratio "scan of gzip" "gzip -dc" $gzip_scan_ms 1.3
  [ -z "${json_ms:-}" ] || ratio "JSON lines" "COPY jsonb, to_record" $json_ms 0.5
  [ -z "${s3_ms:-}" ] || ratio "S3 scan" file_fdw $s3_ms 0.40
  [ -z "${s3_workers_ms:-}" ] || ratio "S3 scan, two workers" file_fdw $s3_workers_ms 0.25
  [ -z "${s3_two_ms:-}" ] || ratio "S3 scan, two columns" "file_fdw, all" $s3_two_ms 0.25
  [ -z "${s3_small_ms:-}" ] || ratio "10,000 small objects" "one by one" $s3_small_ms 0.5
  [ -z "${unload_ms:-}" ] || ratio "unload()" "COPY TO" $unload_ms 1.0
  [ -z "${unload_gzip_ms:-}" ] || ratio "unload(), gzip" "COPY TO gzip" $unload_gzip_ms 1.0
}
exit $missed
