"""docs.py: what users can call, set or read is in docs/reference.md, and links between documents lead somewhere."""
import glob
import os
import re
import sys

from source import Report, SQL_SKIPPED, blank, c_files, line_of, read

REFERENCE = "docs/reference.md"


def check_named(report, path, text, pattern, known):
    """Every name that pattern finds in text must be a word of the reference."""
    for hit in re.finditer(pattern, text):
        name = hit.group(1)
        if not re.search(r"(?<![\w])" + re.escape(name) + r"(?!\w)", known):
            report.fault(path, line_of(text, hit.start()), f"{name} is not in {REFERENCE}")


def check_links(root, path, report):
    text = read(root, path)
    for hit in re.finditer(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        if not os.path.exists(os.path.join(root, os.path.dirname(path), hit.group(1))):
            report.fault(path, line_of(text, hit.start()), f"link to {hit.group(1)}, which is not there")


def main():
    root, report = sys.argv[1], Report()
    known = read(root, REFERENCE)
    for path in sorted(glob.glob(os.path.join(root, "sql", "*.sql"))):
        path = os.path.relpath(path, root)
        code = blank(read(root, path), SQL_SKIPPED)
        check_named(report, path, code, r"CREATE\s+(?:FUNCTION|PROCEDURE|VIEW)\s+datamill\.(?!\w+_handler\b|\w+_validator\b)(\w+)", known)
    for path in c_files(root):
        text = read(root, path)
        check_named(report, path, text, r'DefineCustom\w+Variable\(\s*"(datamill\.\w+)"', known)
        check_named(report, path, text, r'\{\s*"(\w+)",\s*DM_OPTION_\w+', known)
    for path in ["README.md"] + sorted(os.path.relpath(p, root) for p in glob.glob(os.path.join(root, "docs", "*.md"))):
        check_links(root, path, report)
    report.end()


main()
