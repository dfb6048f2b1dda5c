#!/bin/bash
# scripts.sh: every script parses.
cd "$1" || exit 1
rc=0
for f in test/*.sh test/*/*.sh .ci/run; do
  [ -e "$f" ] || continue
  bash -n "$f" || rc=1
done
for f in test/*/*.py; do
  [ -e "$f" ] || continue
  python3 -c 'import ast, sys; ast.parse(open(sys.argv[1], encoding="utf-8").read(), sys.argv[1])' "$f" || rc=1
done
exit $rc
