#!/bin/bash
# quickstart.sh: from a fresh clone to datamill doing its main job, in a private Postgres. See README.md.
#
#   bash test/quickstart.sh          two days of a customer extract, merged, in a local directory as object store
#   bash test/quickstart.sh --s3     the same with a real S3 server (Ceph RADOS Gateway) on this machine
#   bash test/quickstart.sh stop     stops the server (and the S3 server)
set -euo pipefail
DM_REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
. "$DM_REPO/test/lib/env.sh"
DM_NAME=${DM_NAME:-quickstart}

usage() {
  sed -n '4,6s/^# *//p' "$0" >&2
  exit 2
}

# Stops what an earlier run has left running.
stop_all() {
  cluster_use "$DM_NAME"
  cluster_stop
  s3_stop
}

# Stops the S3 server, if there is one.
s3_stop() {
  local dir=$DM_PRIVATE/$DM_NAME-s3
  [ ! -f "$dir/rgw.sh" ] || as_server bash "$dir/rgw.sh" down "$dir/files/d"
}

# Starts the S3 server with an empty bucket "retail" and sets DM_S3 to its endpoint.
s3_start() {
  local port dir=$DM_PRIVATE/$DM_NAME-s3 log=$DM_PRIVATE/$DM_NAME-s3.log
  s3_stop
  rm -rf "$dir"
  mkdir -p "$dir"
  server_folder "$dir/files"
  cp "$DM_REPO/test/lib/rgw.sh" "$dir/"
  port=$(free_port_range 21) || die "no free range of ports for the S3 server"
  as_server PORT="$port" STORE=memstore timeout 180 bash "$dir/rgw.sh" up "$dir/files/d" >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; die "the S3 server did not start"; }
  DM_S3=http://127.0.0.1:$port
  S3_ENDPOINT=$DM_S3 python3 "$DM_REPO/test/lib/s3.py" mb retail || die "the S3 server at $DM_S3 did not make the bucket"
}

# Fails unless $2 equals $3; $1 says what they are.
check() {
  [ "$2" = "$3" ] || die "$1: expected $3, got $2"
}

s3=no
case ${1:-} in
  "") ;;
  --s3) s3=yes ;;
  stop) env_init; stop_all; echo "stopped"; exit 0 ;;
  *) usage ;;
esac

packages=$DM_PACKAGES_BUILD
[ $s3 = no ] || packages="$packages $DM_PACKAGES_S3"
step "packages"
# shellcheck disable=SC2086
packages_install $packages || die "packages are missing"
env_init
env_lock
need_space 600
step "build"
build
install_private

step "private cluster"
cluster_use "$DM_NAME"
if [ ! -f "$DM_DATA/PG_VERSION" ] || [ -z "$DM_PORT" ]; then
  cluster_make "shared_buffers = 128MB" "max_connections = 20"
fi
cluster_start
psql_private -q -d postgres -v ON_ERROR_STOP=1 \
  -c 'SET client_min_messages = warning' -c 'DROP DATABASE IF EXISTS demo WITH (FORCE)' -c 'CREATE DATABASE demo'

if [ $s3 = yes ]; then
  step "S3 server"
  s3_start
  endpoint="endpoint '$DM_S3', region 'us-east-1', url_style 'path'"
else
  s3_stop
  server_folder "$DM_CLUSTER/buckets"
  as_server mkdir "$DM_CLUSTER/buckets/retail"
  endpoint="endpoint 'file://$DM_CLUSTER/buckets'"
fi

step "the main job"
out=$DM_PRIVATE/$DM_NAME.out
{
  cat <<SQL
CREATE EXTENSION datamill;
CREATE SERVER lake FOREIGN DATA WRAPPER datamill_s3 OPTIONS ($endpoint);
SQL
  [ $s3 = no ] || cat <<SQL
CREATE USER MAPPING FOR CURRENT_USER SERVER lake OPTIONS (access_key_id 'RGWTESTKEY', secret_access_key 'rgw/test+secret=key');
SQL
  cat "$DM_REPO/test/lib/quickstart.sql"
} | psql_private -e -d demo -v ON_ERROR_STOP=1 2>&1 | tee "$out"

grep -Eq '^ +10000 \| +0 \| +0 \| +0 \|' "$out" || die "day 1 did not insert 10000"
grep -Eq '^ +2000 \| +4000 \| +2000 \| +4000 \|' "$out" || die "day 2 is not I 2000, U 4000, D 2000, N 4000"
ask() { psql_private -At -d demo -c "$1"; }
check "rows of dim.customer" "$(ask 'SELECT count(*) FROM dim.customer')" 10000
check "rows of dim.customer_changes" "$(ask 'SELECT count(*) FROM dim.customer_changes')" 18000
check "changes by operation" "$(ask "SELECT string_agg(c, ' ' ORDER BY c) FROM (SELECT effective::date || operation || count(*) c
  FROM dim.customer_changes GROUP BY effective::date, operation) x")" \
  "2019-06-18I10000 2019-06-19D2000 2019-06-19I2000 2019-06-19U4000"
check "versions shown" "$(grep -Ec '^ 0006[0-9a-f-]* \|' "$out")" 3
[ $s3 = yes ] || check "the digest in day 1's receipt" \
  "$(ask "SELECT r.inputs->0->>'sha256' FROM datamill.receipts r JOIN datamill.merges m ON m.receipt = r.id ORDER BY merge_id LIMIT 1")" \
  "$(sha256sum <"$DM_CLUSTER/buckets/retail/day1/part-00000.csv" | cut -d' ' -f1)"
check "customers as of 2019-06-18" "$(ask "SELECT count(*) FROM dim.customer_versions WHERE valid @> '2019-06-18'::date")" 10000

cat <<END

Counts are right. The server keeps running, with all its files in $DM_PRIVATE
  connect:  $DM_BIN/psql -h $DM_SOCKET -p $DM_PORT -U postgres demo
  stop:     bash test/quickstart.sh stop
END
