#!/bin/bash
# run.sh: installs what the tests need, builds with -Werror, and runs them in a private Postgres. See docs/testing.md.
#
#   bash test/run.sh                   everything
#   bash test/run.sh lint [check]      the checks of test/lint/
#   bash test/run.sh unit [name]       test/unit/NAME.c
#   bash test/run.sh regress [name..]  test/sql/NAME.sql
#   bash test/run.sh isolation [name]  test/specs/NAME.spec
#   bash test/run.sh tap [name]        test/t/NAME.pl
#   bash test/run.sh quickstart        test/quickstart.sh, with a local directory and with the S3 server
#
# The last line is "N passed, N failed". Exit status 1 if anything failed or nothing was run.
set -uo pipefail
DM_REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
. "$DM_REPO/test/lib/env.sh"

# Regress tests that also run with hashes that collide, buffers that are too small for a field and little memory.
DM_AGAIN=(cdc_feed cdc_feed_debezium cdc_feed_undo cdc_history cdc_inspect cdc_main_job cdc_merge_full cdc_merge_image cdc_merge_oracle cdc_merge_writers
  cdc_sensitive cdc_settings_oracle cdc_undo cdc_undo_writers codec_csv_copy source_query)

passed=0 failed=0 skipped=0
failures=()
declare -A tap_runs=() # TAP tests that run: process id => name

# Counts one check: $1 is its exit status, $2 its name.
count() {
  if [ "$1" = 0 ]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    failures+=("$2")
    echo "FAILED: $2"
  fi
}

# Prints $1's base name without its suffix.
name_of() {
  local base=${1##*/}
  echo "${base%.*}"
}

# Prints the files of $1 with suffix $2; of the names that follow only those, if any follow.
files_of() {
  local dir=$1 suffix=$2 f n
  shift 2
  for f in "$dir"/*."$suffix"; do
    [ -e "$f" ] || continue
    if [ $# = 0 ]; then echo "$f"; continue; fi
    for n in "$@"; do
      if [ "$(name_of "$f")" = "${n%."$suffix"}" ]; then echo "$f"; fi
    done
  done
}

# Counts what the TAP output in $1 says. $2 is the program's exit status, $3 its name.
count_tap() {
  local ok not_ok skips todo planned seen
  ok=$(grep -c '^ok' "$1") not_ok=$(grep -c '^not ok' "$1")
  skips=$(grep -Eic '^ok.*# *skip' "$1") todo=$(grep -Eic '^not ok.*# *todo' "$1")
  planned=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$1" | tail -n 1)
  seen=$((ok + not_ok)) not_ok=$((not_ok - todo))
  passed=$((passed + ok - skips)) failed=$((failed + not_ok)) skipped=$((skipped + skips + todo))
  if [ "$not_ok" -gt 0 ]; then
    failures+=("$3 ($not_ok)")
    grep -A 12 '^not ok' "$1"
  fi
  # A test that died, was killed, or did not run all it planned has failed even if all it did was ok.
  if [ "$not_ok" = 0 ] && { [ "$2" != 0 ] || [ -z "$planned" ] || [ "$planned" != "$seen" ]; }; then
    count 1 "$3: exit status $2, $seen of ${planned:-an unknown number of} tests"
    tail -n 20 "$1"
  elif [ "$planned" = 0 ]; then
    skipped=$((skipped + 1))
    echo "skipped: $3: $(grep '^1\.\.0' "$1")"
  fi
}

# The checks of test/lint/, each one pass or fail; 77 means that its program is not installed.
run_lint() {
  local IFS=$'\n'
  local f rc
  step "lint"
  for f in $(files_of "$DM_REPO/test/lint" sh "$@") $(files_of "$DM_REPO/test/lint" py "$@"); do
    case $f in
      */source.py) continue ;;
      *.py) PYTHONDONTWRITEBYTECODE=1 timeout 120 python3 "$f" "$DM_REPO" ;;
      *) timeout 600 bash "$f" "$DM_REPO" ;;
    esac
    rc=$?
    if [ $rc = 77 ]; then skipped=$((skipped + 1)); else count $rc "lint $(name_of "$f")"; fi
  done
}

# test/unit/*.c: stand-alone programs that print TAP.
run_unit() {
  local IFS=$'\n'
  local f n log
  for f in $(files_of "$DM_REPO/test/unit" c "$@"); do
    [ "$f" != "" ] || continue
    n=$(name_of "$f") log=$DM_PRIVATE/unit/$n.log
    step "unit $n"
    mkdir -p "$DM_PRIVATE/unit"
    make -C "$DM_REPO" -s PG_CONFIG="$DM_PG_CONFIG" WERROR=-Werror UNIT_DIR="$DM_PRIVATE/unit" "$DM_PRIVATE/unit/$n" >"$log" 2>&1 ||
      { cat "$log"; count 1 "unit $n: does not build"; continue; }
    timeout 120 "$DM_PRIVATE/unit/$n" >"$log" 2>&1
    count_tap "$log" $? "unit $n"
  done
}

# Makes the cluster that pg_regress and the isolation tester use, with fresh copies of test/ and its data.
test_cluster() {
  [ -z "${test_cluster_made:-}" ] || return 0
  test_cluster_made=yes
  cluster_use test
  cluster_make "fsync = off" "max_prepared_transactions = 10" "wal_level = logical" "shared_buffers = 128MB" \
    "log_min_messages = warning" "log_error_verbosity = default" "log_statement = all" \
    "shared_preload_libraries = 'datamill'" "datamill.scheduler = off"
  test_copy
  copy_for_server "$DM_REPO/test/data/buckets" "$DM_CLUSTER/buckets"
  server_folder "$DM_CLUSTER/tmp"
  cluster_start
}

# Copies test/ to where the server's user can read it.
test_copy() {
  local f
  copy_for_server "$DM_REPO/test" "$DM_PRIVATE/test-copy"
  mkdir -p "$DM_PRIVATE/test-copy/expected"
  # pg_regress gives up at a test without an expected file; with an empty one it goes on and shows all as different.
  for f in "$DM_PRIVATE"/test-copy/sql/*.sql "$DM_PRIVATE"/test-copy/specs/*.spec; do
    [ ! -e "$f" ] || { f=$(name_of "$f"); touch -a "$DM_PRIVATE/test-copy/expected/$f.out"; }
  done
}

# pg_regress over test/sql/*.sql; with no names given, some of them once more with settings that must not change any result.
run_regress() {
  local IFS=$'\n'
  local names=() again=() f
  for f in $(files_of "$DM_REPO/test/sql" sql "$@"); do names+=("$(name_of "$f")"); done
  [ ${#names[@]} -gt 0 ] || return 0
  regress_pass regress "" "${names[@]}"
  [ $# = 0 ] || return 0
  for f in $(files_of "$DM_REPO/test/sql" sql "${DM_AGAIN[@]}"); do again+=("$(name_of "$f")"); done
  [ ${#again[@]} -gt 0 ] || return 0
  regress_pass regress-again "-c datamill.hash_bits=4 -c datamill.csv_buffer_size=7 -c work_mem=64kB" "${again[@]}"
}

# Runs pg_regress: $1 is the kind, $2 the options of its sessions, the others are the names of tests.
regress_pass() {
  local kind=$1 options=$2 out=$DM_PRIVATE/test/$1 log=$DM_PRIVATE/$1.log rc
  shift 2
  step "$kind $options"
  test_cluster
  copy_for_server "$DM_REPO/test/data/buckets" "$DM_CLUSTER/buckets"
  server_folder "$out" 755
  as_server "${test_env[@]}" "PGOPTIONS=$options" timeout 900 "$DM_PGXS/src/test/regress/pg_regress" \
    --inputdir="$DM_PRIVATE/test-copy" --outputdir="$out" --bindir="$DM_BIN" --dlpath="$DM_PGROOT$DM_PG_LIB/lib" \
    --host="$DM_SOCKET" --port="$DM_PORT" --user=postgres --dbname=regression --load-extension=datamill "$@" >"$log" 2>&1 </dev/null
  rc=$?
  grep -E '^test ' "$log"
  count_regress "$log" $rc "$out" "$kind"
}

# test/specs/*.spec with the isolation tester.
run_isolation() {
  local IFS=$'\n'
  local names=() f out=$DM_PRIVATE/test/isolation log=$DM_PRIVATE/isolation.log rc
  for f in $(files_of "$DM_REPO/test/specs" spec "$@"); do names+=("$(name_of "$f")"); done
  [ ${#names[@]} -gt 0 ] || return 0
  step "isolation"
  test_cluster
  server_folder "$out" 755
  as_server "${test_env[@]}" timeout 600 "$DM_PGXS/src/test/isolation/pg_isolation_regress" --inputdir="$DM_PRIVATE/test-copy" \
    --outputdir="$out" --bindir="$DM_BIN" --dlpath="$DM_PGROOT$DM_PG_LIB/lib" --host="$DM_SOCKET" --port="$DM_PORT" \
    --user=postgres --dbname=isolation --load-extension=datamill "${names[@]}" >"$log" 2>&1 </dev/null
  rc=$?
  grep -E '^test ' "$log"
  count_regress "$log" $rc "$out" isolation
}

# Counts the results in pg_regress's log $1, exit status $2, output folder $3, kind $4, and shows what differs.
count_regress() {
  local name result before=$failed
  while IFS=' ' read -r name result; do
    [ "$result" = ok ]
    count $? "$4 $name"
  done < <(sed -nE 's/^test +([^ ]+) +\.\.\. (ok|FAILED).*/\1 \2/p' "$1")
  if [ "$2" != 0 ] && [ "$failed" = "$before" ]; then
    count 1 "$4: pg_regress ended with status $2"
    tail -n 20 "$1"
  fi
  if [ "$failed" != "$before" ]; then
    cat "$3/regression.diffs" 2>/dev/null
    echo "results are in $3/results; the server's log in $DM_LOG/server.log"
  fi
}

# Ends what the TAP test in folder $1 has left running: a test that is killed cannot do so itself.
tap_end() {
  local pid sid
  while read -r pid; do
    as_server pg_ctl -D "${pid%/postmaster.pid}" -m immediate -w -t 30 stop >/dev/null 2>&1
  done < <(as_server find "$1/run" -name postmaster.pid 2>/dev/null)
  sid=$(cat "$1/run/session" 2>/dev/null)
  case $sid in
    "" | *[!0-9]*) ;;
    *) as_server pkill -KILL -s "$sid" ;;
  esac
}

# test/t/*.pl, each in a folder and a session of its own, DM_TAP_JOBS at once. One of them is taken from the front, the others from the
# end: the tests of jobs mostly wait and those of S3 mostly compute, so they go well beside each other.
run_tap() {
  local IFS=$'\n'
  local names=() front='' f name pid rc
  for f in $(files_of "$DM_REPO/test/t" pl "$@"); do names+=("$(name_of "$f")"); done
  [ ${#names[@]} -gt 0 ] || return 0
  [ -n "${test_cluster_made:-}" ] || test_copy
  mkdir -p "$DM_PRIVATE/tap"
  server_folder "$DM_PRIVATE/tap/ports" # PostgreSQL::Test reserves its ports there
  while [ ${#names[@]} -gt 0 ] || [ ${#tap_runs[@]} -gt 0 ]; do
    while [ ${#names[@]} -gt 0 ] && [ ${#tap_runs[@]} -lt "${DM_TAP_JOBS:-2}" ]; do
      if [ -z "$front" ]; then
        name=${names[0]} names=("${names[@]:1}")
        tap_start "$name"
        front=$!
      else
        name=${names[-1]}
        unset 'names[-1]'
        tap_start "$name"
      fi
      tap_runs[$!]=$name
    done
    wait -n -p pid "${!tap_runs[@]}"
    rc=$?
    [ "$pid" != "$front" ] || front=
    name=${tap_runs[$pid]}
    unset "tap_runs[$pid]"
    tap_end "$DM_PRIVATE/tap/$name"
    count_tap "$DM_PRIVATE/tap/$name.log" $rc "tap $name"
    [ $rc = 0 ] || echo "tap $name: output is in $DM_PRIVATE/tap/$name.log, logs are in $DM_PRIVATE/tap/$name/run/tmp_check/log"
  done
}

# Starts the TAP test $1 in the background.
tap_start() {
  local dir=$DM_PRIVATE/tap/$1
  step "tap $1"
  rm -rf "$dir"
  mkdir -p "$dir"
  server_folder "$dir/run"
  copy_for_server "$DM_REPO/test/data/buckets" "$dir/buckets"
  server_folder "$dir/tmp"
  as_server "${tap_env[@]}" TESTDIR="$dir/run" DM_BUCKETS="$dir/buckets" DM_TMP="$dir/tmp" setsid -w \
    bash -c 'echo $$ >"$TESTDIR/session"; exec "$@"' tap timeout -k 10 "${DM_TAP_TIMEOUT:-600}" \
    perl -I "$DM_PGXS/src/test/perl" -I "$DM_PRIVATE/test-copy/lib" "$DM_PRIVATE/test-copy/t/$1.pl" >"$DM_PRIVATE/tap/$1.log" 2>&1 </dev/null &
}

# test/quickstart.sh as a user runs it, in a cluster of its own.
run_quickstart() {
  local option rc log=$DM_PRIVATE/quickstart-test.log
  quickstart_runs=yes
  for option in "" --s3; do
    step "quickstart $option"
    DM_LOCKED=yes DM_NAME=quickstart-test timeout -k 10 400 bash "$DM_REPO/test/quickstart.sh" $option >"$log" 2>&1 9>&- </dev/null
    rc=$?
    count $rc "quickstart $option"
    [ $rc = 0 ] || tail -n 40 "$log"
  done
  quickstart_end
}

# Stops the servers of the quickstart's test.
quickstart_end() {
  DM_NAME=quickstart-test timeout 100 bash "$DM_REPO/test/quickstart.sh" stop >>"$DM_PRIVATE/quickstart-test.log" 2>&1
  quickstart_runs=
}

part=${1:-all}
[ $# = 0 ] || shift
case $part in
  all | lint | unit | regress | isolation | tap | quickstart) ;;
  *) sed -n '4,10s/^# *//p' "$0" >&2; exit 2 ;;
esac

step "packages"
# shellcheck disable=SC2086
packages_install $DM_PACKAGES_BUILD $DM_PACKAGES_TEST || die "packages are missing"
env_init
env_lock
need_space 2000
DM_PGXS=$(dirname "$("$DM_PG_CONFIG" --pgxs)")/../..
DM_PGXS=$(cd "$DM_PGXS" && pwd)
test_env=("DM_BUCKETS=$DM_PRIVATE/test/buckets" "DM_DATA=$DM_PRIVATE/test-copy/data" "DM_TMP=$DM_PRIVATE/test/tmp")
tap_env=("DM_DATA=$DM_PRIVATE/test-copy/data" "DM_LIB=$DM_PRIVATE/test-copy/lib" "PG_REGRESS=$DM_PGXS/src/test/regress/pg_regress"
  "PG_TEST_TIMEOUT_DEFAULT=60" "PG_TEST_PORT_DIR=$DM_PRIVATE/tap/ports" "DM_FEED_SEEDS=${DM_FEED_SEEDS:-12}" "DM_FEED_FIRST=${DM_FEED_FIRST:-1}")

if [ "$part" != lint ]; then
  step "build"
  build WERROR=-Werror
  install_private WERROR=-Werror
fi
# Ends whatever still runs, on every way out.
end_all() {
  local f
  for f in "${tap_runs[@]}"; do tap_end "$DM_PRIVATE/tap/$f"; done
  [ -z "${quickstart_runs:-}" ] || quickstart_end
  [ -z "${test_cluster_made:-}" ] || { cluster_use test; cluster_stop immediate; }
}
trap end_all EXIT
trap 'exit 130' INT TERM

if [ "$part" = all ]; then
  for part in lint unit regress isolation tap quickstart; do "run_$part"; done
else
  "run_$part" "$@"
fi

[ ${#failures[@]} = 0 ] || printf 'failed: %s\n' "${failures[@]}"
[ $skipped = 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
