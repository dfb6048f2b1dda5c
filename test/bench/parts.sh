# parts.sh: the parts of run.sh about merges of other shapes and sizes, and about compressed input. Sourced by run.sh.

# Prints $2 for each name of the comma-separated list $1, with the name for @, separated by $3.
each() {
  local name out=
  for name in ${1//,/ }; do out=$out${out:+$3}${2//@/$name}; done
  printf '%s' "$out"
}

# Prints the option "columns" for a list of columns with their types.
types_json() {
  printf '{"columns": {%s}}' "$(sed -E 's/([a-z0-9]+) ([a-z]+)/"\1": "\2"/g' <<<"$1")"
}

# Sets hand_ms to the time of day 2 in merge_by_hand.sql, from $1.csv to $2.csv, with columns $3, keys $4 and values $5.
merge_by_hand() {
  psql_private -d bench -v ON_ERROR_STOP=1 -v day1="$BUCKET/$1.csv" -v day2="$BUCKET/$2.csv" -v columns="$3" -v keys="$4" -v bare="$5" \
    -v new_keys="$(each "$4" 'coalesce(s.@, c.@) @' ', ')" -v joined="$(each "$4" 's.@ = c.@' ' AND ')" \
    -v of_s="$(each "$5" s.@ ', ')" -v of_c="$(each "$5" c.@ ', ')" -v assigned="$(each "$5" '@ = s.@' ', ')" \
    -f "$DM_REPO/test/bench/merge_by_hand.sql" >"$DM_PRIVATE/bench.hand" 2>&1 ||
    { tail "$DM_PRIVATE/bench.hand" >&2; die "merge_by_hand.sql failed"; }
  hand_ms=$(awk '/^day 2$/ { on = 1 } on && /^Time: / { sum += $2 } on && /^COMMIT/ { print sum; exit }' "$DM_PRIVATE/bench.hand")
}

# Merges $1.csv and then $2.csv by hand and with cdc_merge, MERGES times each, and compares the tables; columns $3, keys $4, values $5.
# Sets hand_against to the two medians.
merges_alternate() {
  local i hand=() ours=() sum="count(*), sum(hashtextextended(($4, $5)::text, 0))"
  for i in $(seq "$MERGES"); do
    merge_by_hand "$@"
    hand+=("$hand_ms")
    MERGE=$((${MERGE:-0} + 1))
    TARGET=dim.d$MERGE
    DAY1_MS=$(timed "SELECT * FROM datamill.cdc_merge('$TARGET', 's3://bench/$1.csv', keys => '{$4}', effective => '2019-06-18', options => '$(types_json "$3")')")
    ours+=("$(timed "SELECT * FROM datamill.cdc_merge('$TARGET', 's3://bench/$2.csv', effective => '2019-06-19')")")
    echo "  run $i: by hand ${hand[-1]} ms, cdc_merge ${ours[-1]} ms (day 1 $DAY1_MS ms)"
    ask "SELECT op, $sum FROM by_hand_current GROUP BY 1 ORDER BY 1" >"$DM_PRIVATE/bench.theirs"
    ask "SELECT operation, $sum FROM $TARGET GROUP BY 1 ORDER BY 1" >"$DM_PRIVATE/bench.ours"
    cmp -s "$DM_PRIVATE/bench.theirs" "$DM_PRIVATE/bench.ours" || die "the current tables differ"
    ask "SELECT $sum FROM by_hand_history" >"$DM_PRIVATE/bench.theirs"
    ask "SELECT $sum FROM ${TARGET}_history" >"$DM_PRIVATE/bench.ours"
    cmp -s "$DM_PRIVATE/bench.theirs" "$DM_PRIVATE/bench.ours" || die "the history tables differ"
    ask "DROP TABLE by_hand_current, by_hand_history" >/dev/null
  done
  hand_against="$(median "${hand[@]}") $(median "${ours[@]}")"
}

# (b) Day 2 with cdc_merge, against the merge an expert writes by hand.
bench_merge() {
  step "merge: $MERGES alternating runs"
  merges_alternate day1 day2 "$COLUMNS" "$K" "$N"
  merge_ms=$hand_against
}

# (b2) The same where every row of day 1 comes again with another value.
bench_changed() {
  step "all rows changed: $MERGES alternating runs"
  ask "COPY (SELECT ${K}, n1 + 1 AS n1, ${N#n1,} FROM file_day1) TO '$BUCKET/changed.csv' WITH (FORMAT csv, HEADER)" >/dev/null
  merges_alternate day1 changed "$COLUMNS" "$K" "$N"
  rm -f "$BUCKET/changed.csv"
  changed_ms=$hand_against
}

# (b3) Three text keys and 40 columns of numeric, timestamptz, text and jsonb, WIDE_ROWS of them: day 2, and all rows changed.
bench_wide() {
  local i columns="k1 text, k2 text, k3 text" values=
  for i in $(seq 10); do
    columns="$columns, a$i numeric, b$i timestamptz, c$i text, d$i jsonb"
    values="$values${values:+,}a$i,b$i,c$i,d$i"
  done
  step "wide rows, $WIDE_ROWS of them: $MERGES alternating runs"
  psql_private -q -d bench -v ON_ERROR_STOP=1 -v rows="$WIDE_ROWS" -v dir="$BUCKET" -f "$DM_REPO/test/bench/data_wide.sql"
  merges_alternate wide1 wide2 "$columns" k1,k2,k3 "$values"
  wide_ms=$hand_against
  ask "CREATE FOREIGN TABLE file_wide1 ($columns) SERVER files OPTIONS (filename '$BUCKET/wide1.csv', format 'csv', header 'true')" >/dev/null
  ask "COPY (SELECT k1, k2, k3, a1 + 1 AS a1, ${values#a1,} FROM file_wide1) TO '$BUCKET/wide3.csv' WITH (FORMAT csv, HEADER)" >/dev/null
  merges_alternate wide1 wide3 "$columns" k1,k2,k3 "$values"
  wide_changed_ms=$hand_against
  rm -f "$BUCKET"/wide?.csv
}

# (e2) load() of day 1 compressed with gzip, and a scan of it, against gzip -dc of it.
bench_gzip() {
  local i gzip=() load=() scan=() begin list
  list="count(*), $(each "$K" 'sum(uuid_hash(@))' ', '), $(each "$N" 'sum(@)' ', ')"
  step "gzip: $RUNS alternating runs"
  gzip -c "$BUCKET/day1.csv" >"$DM_PRIVATE/bench.gz"
  mv "$DM_PRIVATE/bench.gz" "$BUCKET/day1.csv.gz"
  ask "CREATE FOREIGN TABLE gzip_day1 ($COLUMNS) SERVER lake OPTIONS (url 's3://bench/day1.csv.gz', format 'csv', header 'true')" >/dev/null
  ask "SELECT $list FROM file_day1" >"$DM_PRIVATE/bench.theirs"
  for i in $(seq "$RUNS"); do
    begin=$(date +%s%N)
    gzip -dc "$BUCKET/day1.csv.gz" >/dev/null
    gzip+=("$((($(date +%s%N) - begin) / 1000000))")
    ask "DROP TABLE IF EXISTS loaded; CREATE TABLE loaded ($COLUMNS)" >/dev/null
    load+=("$(timed "SELECT * FROM datamill.load('s3://bench/day1.csv.gz', 'loaded')")")
    scan+=("$(timed "SELECT $list FROM gzip_day1" "$DM_PRIVATE/bench.ours")")
    cmp -s "$DM_PRIVATE/bench.theirs" "$DM_PRIVATE/bench.ours" || die "the scan of the compressed file differs"
    echo "  run $i: gzip -dc ${gzip[-1]} ms, load() ${load[-1]} ms, scan ${scan[-1]} ms"
  done
  ask "SELECT $list FROM loaded" >"$DM_PRIVATE/bench.ours"
  cmp -s "$DM_PRIVATE/bench.theirs" "$DM_PRIVATE/bench.ours" || die "what was loaded differs"
  rm -f "$BUCKET/day1.csv.gz"
  gzip_load_ms="$(median "${gzip[@]}") $(median "${load[@]}")"
  gzip_scan_ms="$(median "${gzip[@]}") $(median "${scan[@]}")"
}

# Prints a query of the narrow rows 1 to $1 (two bigint keys, text, timestamptz), those of which $2 is true.
narrow() {
  echo "SELECT g AS k1, g % 97 AS k2, md5(g::text) AS v, timestamptz '2019-01-01 00:00:00+00' + g * interval '1 second' AS t
        FROM generate_series(1::bigint, $1) g WHERE ${2:-true}"
}

# (i) A delta of 1,000 rows (900 changed, 100 new) into 10 x ROWS narrow rows, against the same into ROWS / 10.
bench_delta() {
  local i rows into times_small=() times_large=() ms
  step "delta: $RUNS alternating runs"
  for into in small large; do
    rows=$([ $into = small ] && echo $((ROWS / 10)) || echo $((ROWS * 10)))
    timed "SELECT * FROM datamill.cdc_merge('dim.delta_$into', \$q\$$(narrow "$rows")\$q\$, keys => '{k1,k2}', effective => '2019-06-18')" >/dev/null
    ask "ANALYZE dim.delta_$into" >/dev/null
  done
  for i in $(seq "$RUNS"); do
    for into in small large; do
      rows=$([ $into = small ] && echo $((ROWS / 10)) || echo $((ROWS * 10)))
      ask "COPY (SELECT CASE WHEN g % 10 = 0 THEN $rows * 10 + g + $i * 1000 ELSE g * ($rows / 1000) END AS k1,
                        CASE WHEN g % 10 = 0 THEN 1 ELSE (g * ($rows / 1000)) % 97 END AS k2, md5((g * 1000 + $i)::text) AS v,
                        timestamptz '2020-01-01 00:00:00+00' AS t FROM generate_series(1::bigint, 1000) g)
           TO '$BUCKET/delta.csv' WITH (FORMAT csv, HEADER)" >/dev/null
      ms=$(timed "SELECT inserted, updated FROM datamill.cdc_merge('dim.delta_$into', 's3://bench/delta.csv', mode => 'delta',
                  effective => date '2019-06-18' + $i)" "$DM_PRIVATE/bench.counts")
      [ "$(cat "$DM_PRIVATE/bench.counts")" = "100|900" ] || die "a delta gave $(cat "$DM_PRIVATE/bench.counts")"
      if [ $into = small ]; then times_small+=("$ms"); else times_large+=("$ms"); fi
    done
    echo "  run $i: into $((ROWS / 10)) rows ${times_small[-1]} ms, into $((ROWS * 10)) rows ${times_large[-1]} ms"
  done
  delta_ms="$(median "${times_small[@]}") $(median "${times_large[@]}")"
}

# Has a process take and touch memory, and give 64 MB of it back five times a second from now on, until memory_release. Some hosts take
# back what a virtual machine does not use, within seconds; to touch it again then costs six times as much as usual, and that would
# fall to the large side of a ratio alone. So there is always memory free that was in use a moment ago.
memory_keep() {
  local blocks
  blocks=$(awk '/^MemAvailable/ { n = int($2 / 1024 / 64 / 4); print (n > 96 ? 96 : n) }' /proc/meminfo)
  exec 6< <(exec perl -e '$| = 1; my @kept = map { "x" x (64 << 20) } 1 .. $ARGV[0]; print "ready\n"; while (@kept) { select undef, undef, undef, 0.2; undef $kept[-1]; pop @kept }' "$blocks")
  keeper=$!
  read -r <&6
}

# Ends that.
memory_release() {
  kill "$keeper" 2>/dev/null || true # it ends by itself when it has given all back
  exec 6<&-
}

# Merges day 2 of $1 narrow rows, in the order $2, into those of day 1, in one session. Sets ms, and grown_kb: how far RssAnon rose above what it was before.
merge_measured() {
  local out=$DM_PRIVATE/bench.large pid kb base peak=0 day2 client
  day2="$(narrow "$1" "g % 5 > 2") UNION ALL SELECT k1, k2, v || 'x', t FROM ($(narrow "$1" "g % 5 IN (1, 2)")) c
        UNION ALL SELECT k1 + 10 * $1, k2, v, t FROM ($(narrow "$1" "g % 5 = 0")) n"
  timed "SELECT * FROM datamill.cdc_merge('dim.large$1', \$q\$$(narrow "$1")\$q\$, keys => '{k1,k2}', effective => '2019-06-18')" >/dev/null
  ask "CREATE UNLOGGED TABLE large_day2 AS SELECT * FROM ($day2) d $2" >/dev/null
  ask "VACUUM ANALYZE large_day2" >/dev/null
  ask CHECKPOINT >/dev/null
  memory_keep
  rm -f "$DM_PRIVATE/bench.in"
  mkfifo "$DM_PRIVATE/bench.in"
  psql_private -At -d bench -v ON_ERROR_STOP=1 <"$DM_PRIVATE/bench.in" >"$out" 2>&1 9>&- &
  client=$!
  exec 5>"$DM_PRIVATE/bench.in"
  rm "$DM_PRIVATE/bench.in"
  echo "SELECT 'pid ' || pg_backend_pid();" >&5
  for _ in $(seq 200); do
    pid=$(sed -n 's/^pid //p' "$out")
    [ -z "$pid" ] || break
    sleep 0.05
  done
  base=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status")
  printf '%s\n' '\timing on' "SELECT inserted, updated, deleted, unchanged FROM datamill.cdc_merge('dim.large$1', 'large_day2', effective => '2019-06-19');" >&5
  exec 5>&-
  while kill -0 "$client" 2>/dev/null; do
    kb=$(awk '/^RssAnon/ { print $2 }' "/proc/$pid/status" 2>/dev/null) || break
    [ "${kb:-0}" -le "$peak" ] || peak=$kb
    sleep 0.02
  done
  memory_release
  wait "$client" || { cat "$out" >&2; die "the merge of $1 rows failed"; }
  grep -qx "$(($1 / 5))|$(($1 / 5 * 2))|$(($1 / 5))|$(($1 / 5 * 2))" "$out" || { cat "$out" >&2; die "the merge of $1 rows gave other counts"; }
  ms=$(sed -n 's/^Time: \([0-9.]*\) ms.*/\1/p' "$out" | tail -n 1)
  grown_kb=$((peak - base))
  ask "DROP TABLE large_day2" >/dev/null
  ask "SELECT datamill.drop_dataset('dim.large$1')" >/dev/null
}

# (j) Day 2 of 10 x ROWS narrow rows, against ROWS: time, and the backend's own memory. In the order of the key, as most exports are; in that of a
# hash; and all rows that stay as they are before all that changed before all new ones. Not part of "all".
bench_large() {
  local i order rows most=0
  local -A times=() orders=([key]="ORDER BY k1, k2" [hash]="ORDER BY md5(v)" [sections]="")
  step "large: one merge that does not count, since it is the first to touch the server's buffers and log; then $MERGES alternating runs"
  merge_measured $((ROWS * 10)) "${orders[key]}"
  for i in $(seq "$MERGES"); do
    for order in key hash sections; do
      for rows in "$ROWS" $((ROWS * 10)); do
        merge_measured "$rows" "${orders[$order]}"
        times[$order.$rows]="${times[$order.$rows]:-} $ms"
        [ "$rows" = "$ROWS" ] || [ "$grown_kb" -le "$most" ] || most=$grown_kb
      done
      echo "  run $i, in the order of $order: $ROWS rows ${times[$order.$ROWS]##* } ms, $((ROWS * 10)) rows $ms ms"
    done
  done
  for order in key hash sections; do
    # shellcheck disable=SC2086
    printf -v "large_${order}_ms" '%s %s' "$(median ${times[$order.$ROWS]})" "$(median ${times[$order.$((ROWS * 10))]})"
  done
  large_line="10 x ROWS, work_mem 64MB     own memory rose by at most $((most / 1024)) MB (target 400)"
  [ "$most" -lt $((400 * 1024)) ] || { missed=1; large_line="$large_line: missed"; }
}
