#!/bin/sh
# compile_commands.sh: prints a compilation database: $1 is the compiler's command, the other arguments are the sources.
command=$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')
shift
comma=
echo '['
for file in "$@"; do
  printf '%s{"directory": "%s", "file": "%s", "command": "%s -c %s"}' "$comma" "$PWD" "$file" "$command" "$file"
  comma=',
'
done
printf '\n]\n'
