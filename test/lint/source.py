"""source.py: what the checks in this folder share: finding C files, blanking comments and literals, reporting faults."""
import os
import re
import sys


class Report:
    """Collects faults and prints them as file:line: message."""

    def __init__(self):
        self.faults = 0

    def fault(self, path, line, message):
        self.faults += 1
        print(f"{path}:{line}: {message}")

    def end(self):
        sys.exit(1 if self.faults else 0)


def c_files(root):
    """Paths of all .c and .h files of src/, relative to root, sorted."""
    found = []
    for folder, _, names in os.walk(os.path.join(root, "src")):
        found += [os.path.relpath(os.path.join(folder, n), root) for n in names if n.endswith((".c", ".h"))]
    return sorted(found)


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


C_SKIPPED = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.S)
SQL_SKIPPED = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:''|[^'])*'|(\$\w*\$).*?\1", re.S)


def blank(text, skipped=C_SKIPPED):
    """The text with comments and literals replaced by blanks, and all newlines kept, so that offsets stay the same."""
    return skipped.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def closing(text, start):
    """Offset behind the parenthesis that closes the one at start."""
    depth = 0
    for i in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[i], 0)
        if depth == 0:
            return i + 1
    return len(text)
