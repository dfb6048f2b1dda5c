#!/bin/bash
# run.sh: builds the fuzz targets of this folder with clang's address and undefined-behaviour sanitizers and runs each.
#
#   bash test/fuzz/run.sh [name]     SECONDS_EACH=60 in the environment
#
# Needs clang and its run-time (Debian: clang libclang-rt-14-dev). Inputs that reached something new are kept in
# .datamill/fuzz/NAME, and an input that fails beside them. Exit status 1 if one failed.
set -uo pipefail
DM_REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
. "$DM_REPO/test/lib/env.sh"
# shellcheck disable=SC2086
packages_install $DM_PACKAGES_BUILD clang libclang-rt-14-dev || die "packages are missing"
env_init
cd "$DM_REPO" || exit 1
failed=0 ran=0
for file in test/fuzz/*.c; do
  name=$(basename "$file" .c)
  [ -z "${1:-}" ] || [ "$name" = "$1" ] || continue
  step "fuzz $name, ${SECONDS_EACH:-60} seconds"
  dir=$DM_PRIVATE/fuzz
  mkdir -p "$dir/$name"
  clang -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -std=gnu11 -D_GNU_SOURCE -Isrc -Itest/unit \
    -I"$("$DM_PG_CONFIG" --includedir-server)" -o "$dir/$name.run" "$file" -L"$("$DM_PG_CONFIG" --pkglibdir)" -lpgcommon -lpgport -ljansson -lexpat -lz -lzstd \
    >"$dir/$name.log" 2>&1 || { cat "$dir/$name.log" >&2; die "$file does not build"; }
  ran=$((ran + 1))
  ASAN_OPTIONS=detect_leaks=0 "$dir/$name.run" -max_len=600 -max_total_time="${SECONDS_EACH:-60}" -artifact_prefix="$dir/$name/FAILED-" \
    "$dir/$name" >"$dir/$name.log" 2>&1 || { failed=$((failed + 1)); tail -n 40 "$dir/$name.log"; }
  tail -n 1 "$dir/$name.log"
done
echo "$((ran - failed)) passed, $failed failed"
[ "$failed" = 0 ] && [ "$ran" -gt 0 ]
