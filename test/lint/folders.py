"""folders.py: a file of src/ includes headers of its own folder and of lower levels only; only compat.h knows versions."""
import re
import sys

from source import Report, blank, c_files, line_of, read

LEVELS = {
    "base": 1,
    "stream": 2, "rows": 2,
    "net": 3, "codec": 3, "receipt": 3,
    "store": 4, "api": 4,
    "source": 5,
    "fdw": 6, "load": 6, "cdc": 6, "transform": 6, "notify": 6,
    "job": 7,
}


def check(root, path, report):
    text = read(root, path)
    parts = path.split("/")
    if path != "src/base/compat.h":
        for hit in re.finditer(r"\bPG_VERSION_NUM\b|\bPG_MAJORVERSION\w*", blank(text)):
            report.fault(path, line_of(text, hit.start()), f"{hit.group()} belongs in base/compat.h only")
    if len(parts) == 2:
        if path != "src/datamill.c":
            report.fault(path, 1, "only datamill.c lies in src/ itself")
        return
    folder = parts[1]
    if folder not in LEVELS or len(parts) > 3:
        report.fault(path, 1, "not in one of the folders of docs/architecture.md")
        return
    for hit in re.finditer(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', text, re.M):
        other = hit.group(1).split("/")[0]
        if "/" not in hit.group(1) or other not in LEVELS or other == folder:
            continue
        if LEVELS[other] >= LEVELS[folder]:
            report.fault(path, line_of(text, hit.start()),
                         f"{folder}/ (level {LEVELS[folder]}) includes {hit.group(1)} (level {LEVELS[other]})")


def main():
    root, report = sys.argv[1], Report()
    for path in c_files(root):
        check(root, path, report)
    report.end()


main()
