"""style.py: what docs/style.md asks of C files and a program can check: file comments, lengths, function comments."""
import re
import sys

from source import Report, blank, c_files, line_of, read

MAX_FUNCTION = 150
LONG_FILE = 800
MAX_FILE = 1200
FUNCTION = re.compile(r"^(\w+)\([^;{}]*\)\n\{\n(.*?)^\}$", re.M | re.S)


def check_file(path, text, report):
    """Length and the comment at the top, which names the file."""
    lines = text.count("\n")
    name = path.split("/")[-1]
    comment = re.match(r"/\*\n \* " + re.escape(name) + r":.*?\*/", text, re.S)
    if not comment:
        report.fault(path, 1, f'does not start with a comment "{name}: what it does"')
    if lines > MAX_FILE:
        report.fault(path, 1, f"{lines} lines; the end is {MAX_FILE}")
    elif lines > LONG_FILE and not (comment and re.search(r"\blong\b|\blength\b|\blines\b", comment.group())):
        report.fault(path, 1, f"{lines} lines and its comment does not say why it is that long (above {LONG_FILE})")
    for hit in re.finditer(r"[ \t]+$", text, re.M):
        report.fault(path, line_of(text, hit.start()), "blanks at the end of the line")
    for hit in re.finditer(r"\b(TODO|FIXME|XXX)\b", text):
        report.fault(path, line_of(text, hit.start()), f"{hit.group()}: do it or drop it")


def check_functions(path, text, report):
    """Length of each function, and that a comment stands above it."""
    code = blank(text)
    lines = text.split("\n")
    for hit in FUNCTION.finditer(code):
        first = line_of(code, hit.start())
        body = hit.group(2).count("\n")
        if body > MAX_FUNCTION:
            report.fault(path, first, f"{hit.group(1)} has {body} lines; the end is {MAX_FUNCTION}")
        above = first - 3  # over the line of the return type
        if above > 0 and lines[above] == "" and lines[above - 1].startswith("PG_FUNCTION_INFO_V1"):
            above -= 1
        while above >= 0 and lines[above].startswith("PG_FUNCTION_INFO_V1"):
            above -= 1
        if above < 0 or not lines[above].rstrip().endswith("*/"):
            report.fault(path, first, f"no comment above {hit.group(1)}")


def main():
    root, report = sys.argv[1], Report()
    for path in c_files(root):
        text = read(root, path)
        check_file(path, text, report)
        if path.endswith(".c"):
            check_functions(path, text, report)
    report.end()


main()
