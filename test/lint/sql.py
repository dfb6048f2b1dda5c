"""sql.py: the install scripts: every function says how it behaves, every object has a comment, nothing is left to chance."""
import glob
import os
import re
import sys

from source import Report, SQL_SKIPPED, blank, line_of, read

OBJECT = re.compile(r"\s*CREATE\s+(?:UNLOGGED\s+|CONSTRAINT\s+)?"
                    r"(FUNCTION|PROCEDURE|AGGREGATE|TABLE|VIEW|MATERIALIZED VIEW|TYPE|DOMAIN|SEQUENCE|FOREIGN DATA WRAPPER|EVENT TRIGGER)"
                    r"\s+([\w.\"]+)", re.I)
NO_SCHEMA = ("FOREIGN DATA WRAPPER", "EVENT TRIGGER")


def statements(code):
    """(offset, text) of each statement of text without comments and literals."""
    start = 0
    for hit in re.finditer(r";", code):
        text = code[start:hit.start()]
        yield start + len(text) - len(text.lstrip()), text.strip()
        start = hit.end()


def check_function(path, line, name, text, report):
    if not re.search(r"\b(VOLATILE|STABLE|IMMUTABLE)\b", text, re.I):
        report.fault(path, line, f"{name} does not state its volatility")
    if not re.search(r"\bPARALLEL\s+(SAFE|RESTRICTED|UNSAFE)\b", text, re.I):
        report.fault(path, line, f"{name} does not state PARALLEL")
    if re.search(r"\bSECURITY\s+DEFINER\b", text, re.I) and not re.search(r"\bSET\s+search_path\b", text, re.I):
        report.fault(path, line, f"{name} is SECURITY DEFINER without a search_path of its own")


def check(root, path, report):
    code = blank(read(root, path), SQL_SKIPPED)
    # \echo lines are psql's, not SQL.
    code = re.sub(r"^\\.*$", lambda m: " " * len(m.group()), code, flags=re.M)
    for hit in re.finditer(r"\bOR\s+REPLACE\b|\bIF\s+NOT\s+EXISTS\b", code, re.I):
        report.fault(path, line_of(code, hit.start()), f"{hit.group()}: an object made by someone else would be taken over")
    commented = {(kind.upper(), name.lower()) for kind, name in
                 re.findall(r"\bCOMMENT\s+ON\s+(FUNCTION|PROCEDURE|AGGREGATE|TABLE|VIEW|MATERIALIZED VIEW|TYPE|DOMAIN|SEQUENCE|"
                            r"FOREIGN DATA WRAPPER|EVENT TRIGGER)\s+([\w.\"]+)", code, re.I)}
    for offset, text in statements(code):
        hit = OBJECT.match(text)
        if not hit:
            continue
        kind, name, line = hit.group(1).upper(), hit.group(2).lower(), line_of(code, offset)
        if kind not in NO_SCHEMA and not name.startswith("datamill."):
            report.fault(path, line, f"{kind.lower()} {name} is not qualified with datamill")
        if (kind, name) not in commented:
            report.fault(path, line, f"no COMMENT ON {kind} {name}")
        if kind in ("FUNCTION", "PROCEDURE"):
            check_function(path, line, name, text, report)


def main():
    root, report = sys.argv[1], Report()
    for path in sorted(glob.glob(os.path.join(root, "sql", "*.sql"))):
        check(root, os.path.relpath(path, root), report)
    report.end()


main()
