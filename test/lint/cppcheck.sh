#!/bin/bash
# cppcheck.sh: cppcheck over src/; cppcheck.h explains Postgres's macros to it.
command -v cppcheck >/dev/null || { echo "cppcheck not run: not installed"; exit 77; }
here=$(cd "$(dirname "$0")" && pwd)
cd "$1" || exit 1
cppcheck -q --std=c11 --language=c --enable=warning,portability --inline-suppr --error-exitcode=1 -Isrc \
  --include="$here/cppcheck.h" --suppress=missingInclude --suppress=missingIncludeSystem --suppress=legacyUninitvar \
  --template='{file}:{line}: {id}: {message}' src
