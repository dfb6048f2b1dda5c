#!/usr/bin/env python3
"""page_check.py FILE: checks a status page: HTML5 by html5lib in strict mode, its SVGs as XML, and that nothing is fetched or run.

Prints a line for each finding, then "jobs N", "nodes N", "edges N" and "ticks N".
"""
import re
import sys
import xml.etree.ElementTree as ElementTree

sys.path.append("/usr/lib/python3/dist-packages")
import html5lib  # noqa: E402

XHTML = "{http://www.w3.org/1999/xhtml}"
SVG = "{http://www.w3.org/2000/svg}"


def main():
    text = open(sys.argv[1], encoding="utf-8").read()
    try:
        tree = html5lib.HTMLParser(strict=True).parse(text)
    except html5lib.html5parser.ParseError as error:
        print("HTML:", error)
        return
    for svg in re.findall(r"<svg.*?</svg>", text, re.S):
        try:
            ElementTree.fromstring(svg)
        except ElementTree.ParseError as error:
            print("SVG:", error)
    ids, targets = [], []
    for element in tree.iter():
        name = str(element.tag).split("}")[-1]
        if name in ("script", "iframe", "img", "link", "object", "embed", "base", "form"):
            print("element", name)
        for key, value in element.attrib.items():
            if key.lower().startswith("on"):
                print("handler", key, value)
            if key == "id":
                ids.append(value)
            if key.split("}")[-1] in ("href", "src"):
                targets.append(value)
    for target in targets:
        if not target.startswith("#") or target[1:] not in ids:
            print("reference", target)
    for url in re.findall(r"(?:https?:)?//[\w.]+[^\"' <]*|@import|url\([^#]", text.replace("http://www.w3.org/2000/svg", "")):
        print("address", url)
    if len(ids) != len(set(ids)):
        print("an id that comes twice")
    classes = [element.get("class", "") for element in tree.iter() if element.tag == XHTML + "article"]
    print("jobs", len(classes))
    print("nodes", sum(1 for e in tree.iter(SVG + "rect") if e.get("class") == "box"))
    print("edges", sum(1 for e in tree.iter(SVG + "path") if "marker-end" in e.attrib))
    print("ticks", sum(1 for e in tree.iter(SVG + "g")))


main()
