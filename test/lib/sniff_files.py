#!/usr/bin/env python3
"""sniff_files.py FOLDER SEED COUNT: CSV files in many dialects, written by Python's csv module into FOLDER as 000.csv and so on.

Prints name, delimiter (comma, semicolon, tab, bar), whether there is a header (t, f) and the number of columns, with tabs between.
"""
import csv
import random
import sys

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu Nürnberg O'Neill".split()


def value(rng, kind, delimiter):
    if kind == "int":
        return str(rng.randint(-1000, 10 ** rng.randint(1, 12)))
    if kind == "float":
        return f"{rng.uniform(-1e6, 1e6):.3f}"
    if kind == "date":
        return f"{rng.randint(1990, 2030)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    words = " ".join(rng.choices(WORDS, k=rng.randint(1, 4)))
    chance = rng.random()
    if chance < 0.1:
        words += delimiter + rng.choice(WORDS)
    elif chance < 0.2:
        words += rng.choice([',', ';', '|', '"', '\n', ' "quoted" ', ', and; so | on'])
    return words


def main(folder, seed, count):
    rng = random.Random(seed)
    for number in range(count):
        name = rng.choice(list(DELIMITERS))
        delimiter = DELIMITERS[name]
        kinds = [rng.choice(["int", "float", "date", "text", "text"]) for _ in range(rng.randint(2, 7))]
        header = rng.random() < 0.6
        with open(f"{folder}/{number:03}.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=delimiter, lineterminator=rng.choice(["\n", "\r\n", "\r"]),
                                quoting=rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
            if header:
                writer.writerow([f"{rng.choice(['id', 'name', 'Total amount', 'city', 'Größe'])}_{i}" for i in range(len(kinds))])
            for _ in range(rng.randint(2, 60)):
                writer.writerow([value(rng, kind, delimiter) for kind in kinds])
        print(f"{number:03}.csv", name, "t" if header else "f", len(kinds), sep="\t")


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
