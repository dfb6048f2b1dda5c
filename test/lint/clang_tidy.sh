#!/bin/bash
# clang_tidy.sh: clang-tidy (.clang-tidy says which checks) on the C files that differ from origin/main, or, where there is no
# such branch, on those not committed yet. DM_TIDY=all takes all files.
command -v clang-tidy >/dev/null || { echo "clang-tidy not run: not installed"; exit 77; }
cd "$1" || exit 1
base=HEAD
git rev-parse -q --verify origin/main >/dev/null 2>&1 && base=$(git merge-base origin/main HEAD 2>/dev/null || echo HEAD)
if [ "${DM_TIDY:-}" = all ]; then
  mapfile -t files < <(ls src/*.c src/*/*.c)
else
  mapfile -t files < <({ git diff --name-only --diff-filter=d "$base" -- 'src/*.c' && git ls-files -o --exclude-standard -- 'src/*.c'; } 2>/dev/null)
fi
[ ${#files[@]} -gt 0 ] || { echo "clang-tidy not run: no C file has changed"; exit 77; }
clang-tidy --quiet --warnings-as-errors='*' "${files[@]}" -- -std=gnu11 -Isrc \
  -I"$(/usr/lib/postgresql/15/bin/pg_config --includedir-server)" -D_GNU_SOURCE 2>/dev/null
