#!/bin/bash
# big_object.sh: writes one object of about 2 GB to a real S3 server (Ceph RGW, data in memory) and reads it back: time, and the
# backend's own memory (RssAnon) at its peak. See docs/benchmarks.md.
#
#   bash test/bench/big_object.sh        ROWS=2000000 (of 1 kB), needs 6 GB of memory and 5 GB of disk
#
# Exit status 1 if what is read is not what was written, or if memory went beyond datamill.prefetch_memory plus 48 MB.
set -euo pipefail
DM_REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
. "$DM_REPO/test/lib/env.sh"

ROWS=${ROWS:-2000000}
PREFETCH_MB=64
OVERHEAD_MB=48
failed=0

# Runs the SQL $2 in one session; $1 is what it is. Sets ms (of the last statement), result, base and peak (kB of RssAnon, before it and highest in it).
measure() {
  local out=$DM_PRIVATE/big.out pid kb
  mkfifo "$DM_PRIVATE/big.in"
  psql_private -At -d postgres -v ON_ERROR_STOP=1 <"$DM_PRIVATE/big.in" >"$out" 2>&1 &
  exec 5>"$DM_PRIVATE/big.in"
  rm "$DM_PRIVATE/big.in"
  printf '%s\n' "SET datamill.prefetch_memory = '${PREFETCH_MB}MB';" "SELECT count(*) FROM small;" "SELECT 'pid ' || pg_backend_pid();" >&5
  until pid=$(sed -n 's/^pid //p' "$out") && [ -n "$pid" ]; do sleep 0.05; done
  base=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status") peak=0
  printf '%s\n' '\timing on' "$2;" "\\echo end" >&5
  exec 5>&-
  until grep -q '^end\|ERROR' "$out"; do
    kb=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2>/dev/null) || break
    [ "${kb:-0}" -le "$peak" ] || peak=$kb
    sleep 0.02
  done
  wait $!
  ! grep ERROR "$out" || die "failed: $1"
  ms=$(sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' "$out" | tail -n 1)
  result=$(grep -v '^Timing\|^Time:\|^pid\|^end\|^SET' "$out" | tail -n 1)
  awk -v what="$1" -v ms="$ms" -v bytes="${bytes:-0}" -v base="$base" -v peak="$peak" 'BEGIN {
    printf "%-34s %6.2f s", what, ms / 1000; if (bytes) printf ", %4.0f MB/s", bytes / ms / 1000
    printf ", RssAnon %.0f MB before, %.0f MB at its peak\n", base / 1024, peak / 1024 }'
  if [ $((peak - base)) -gt $(((PREFETCH_MB + OVERHEAD_MB) * 1024)) ]; then
    echo "  more than $PREFETCH_MB + $OVERHEAD_MB MB"
    failed=1
  fi
}

step "packages"
# shellcheck disable=SC2086
packages_install $DM_PACKAGES_BUILD $DM_PACKAGES_TEST || die "packages are missing"
env_init
env_lock
need_space 6000
step "build"
build
install_private
rgw=$DM_PRIVATE/big-rgw
port=$((21000 + RANDOM % 400 * 25))
trap 'bash "$DM_REPO/test/lib/rgw.sh" down "$rgw"; cluster_use bench; cluster_stop immediate; rm -f "$DM_PRIVATE/big.file"' EXIT
trap 'exit 130' INT TERM
cluster_use bench
cluster_make "shared_buffers = 128MB" "fsync = off" "autovacuum = off" "jit = off"
cluster_start
step "S3 server"
PORT=$port STORE=memstore bash "$DM_REPO/test/lib/rgw.sh" up "$rgw" >"$DM_PRIVATE/big-rgw.log" 2>&1 || die "RGW did not start"
export S3_ENDPOINT=http://127.0.0.1:$port
python3 "$DM_REPO/test/lib/s3.py" mb bucket
server_folder "$DM_CLUSTER/big" 700
as_server mkdir "$DM_CLUSTER/big/bucket"
psql_private -q -d postgres -v ON_ERROR_STOP=1 -c "CREATE EXTENSION datamill" \
  -c "CREATE SERVER r FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint '$S3_ENDPOINT')" \
  -c "CREATE USER MAPPING FOR PUBLIC SERVER r OPTIONS (access_key_id 'RGWTESTKEY', secret_access_key 'rgw/test+secret=key')" \
  -c "CREATE SERVER l FOREIGN DATA WRAPPER datamill_s3 OPTIONS (endpoint 'file://$DM_CLUSTER/big')" \
  -c "SELECT datamill.unload('SELECT 1 AS id, ''x'' AS text', 's3://bucket/small/x', '{\"server\": \"r\"}')" \
  -c "CREATE FOREIGN TABLE small (id bigint, text text) SERVER r OPTIONS (url 's3://bucket/small/*', format 'csv')" \
  -c "CREATE FOREIGN TABLE big (id bigint, text text) SERVER r OPTIONS (url 's3://bucket/big/*', format 'csv')" >/dev/null
rows="SELECT g AS id, repeat(md5(g::text), 32) AS text FROM generate_series(1, $ROWS) g"

step "one object of $ROWS rows"
measure "the rows alone, no object" "SELECT sum(hashtextextended(text, id)), count(*) FROM ($rows) r"
expected=$result
measure "unload to a local directory" "SELECT bytes FROM datamill.unload('$rows', 's3://bucket/big/x', '{\"server\": \"l\"}')"
bytes=$result
rm -rf "$DM_CLUSTER/big/bucket"
measure "unload to S3" "SELECT bytes FROM datamill.unload('$rows', 's3://bucket/big/x', '{\"server\": \"r\"}')"
[ "$result" = "$bytes" ] || die "$result bytes instead of $bytes"
measure "scan from S3, all columns" "SELECT sum(hashtextextended(text, id)), count(*) FROM big"
[ "$result" = "$expected" ] || die "read $result instead of $expected"
begin=$(date +%s%N)
python3 "$DM_REPO/test/lib/s3.py" get bucket big/x00000.csv >"$DM_PRIVATE/big.file"
end=$(date +%s%N)
awk -v b="$bytes" -v ns=$((end - begin)) 'BEGIN { printf "%-34s %6.2f s, %4.0f MB/s\n", "s3.py get", ns / 1e9, b * 1000 / ns }'
[ "$(stat -c %s "$DM_PRIVATE/big.file")" = "$bytes" ] || die "s3.py got another size"
python3 "$DM_REPO/test/lib/s3.py" rm bucket big/x00000.csv
sleep 5
begin=$(date +%s%N)
curl -sf --aws-sigv4 aws:amz:us-east-1:s3 --user 'RGWTESTKEY:rgw/test+secret=key' -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' \
  -T "$DM_PRIVATE/big.file" "$S3_ENDPOINT/bucket/curl" || die "curl -T failed"
end=$(date +%s%N)
awk -v b="$bytes" -v ns=$((end - begin)) 'BEGIN { printf "%-34s %6.2f s, %4.0f MB/s\n", "curl -T of the file, no digest", ns / 1e9, b * 1000 / ns }'
exit $failed
