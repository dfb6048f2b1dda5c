"""calls.py: calls that must not be in src/, and errors that users see without an SQLSTATE.

test/lint/calls.allow lists the exceptions, one a line: FILE CALL and why.
"""
import re
import sys

from source import Report, blank, c_files, closing, line_of, read

BANNED = {
    "strcpy": "use strlcpy or a StringInfo", "strcat": "use a StringInfo", "sprintf": "use snprintf or psprintf",
    "vsprintf": "use vsnprintf", "gets": "has no bound", "strtok": "keeps state between calls", "atoi": "hides errors",
    "atol": "hides errors", "atof": "hides errors", "alloca": "has no ceiling",
    "system": "starts a shell", "popen": "starts a shell", "fork": "not in a backend",
    "malloc": "use palloc", "calloc": "use palloc0", "realloc": "use repalloc", "free": "use pfree", "strdup": "use pstrdup",
    "sleep": "wait on the latch", "usleep": "wait on the latch", "nanosleep": "wait on the latch",
    "pg_usleep": "wait on the latch", "printf": "use ereport", "fprintf": "use ereport", "perror": "use ereport",
    "exit": "use ereport", "abort": "use ereport",
}
CALL = re.compile(r"(?<![\w.>])(" + "|".join(BANNED) + r")\s*\(")


def allowed(root):
    exceptions = set()
    for line in read(root, "test/lint/calls.allow").splitlines():
        words = line.split(None, 2)
        if words and not line.startswith("#"):
            if len(words) < 3:
                sys.exit(f"test/lint/calls.allow: no reason given: {line}")
            exceptions.add((words[0], words[1]))
    return exceptions


def main():
    root, report = sys.argv[1], Report()
    exceptions = allowed(root)
    for path in c_files(root):
        code = blank(read(root, path))
        for hit in CALL.finditer(code):
            name = hit.group(1)
            if (path, name) not in exceptions:
                report.fault(path, line_of(code, hit.start()), f"{name}: {BANNED[name]}")
        for hit in re.finditer(r"\bereport(_domain)?\s*\(\s*(ERROR|FATAL|PANIC)\b", code):
            start = code.index("(", hit.start())
            if not re.search(r"\berrcode\w*\s*\(", code[start:closing(code, start)]):
                report.fault(path, line_of(code, hit.start()), "ereport without an errcode")
    report.end()


main()
