#!/usr/bin/env python3
"""Random events of a feed, in random batches, and the versions that all of them together must give.

    feed_oracle.py SEED FOLDER

writes FOLDER/rows/*.jsonl (rows with columns op and seq), FOLDER/debezium/*.jsonl (change events; some columns of some of them
are not available), and FOLDER/rows.txt and FOLDER/debezium.txt: the versions, as id|region|a|b|operation|from|until.

For every third seed b is an untracked column: its change makes no version.

The versions are computed from the sorted list of all events, in the plainest way there is, and share nothing with datamill.
"""
import json
import os
import random
import sys

UNAVAILABLE = "__debezium_unavailable_value"


def make_events(rng):
    """Returns events (op, key, values, seq, told): told are the columns whose values a change event holds."""
    keys = [(i, region) for i in range(rng.randint(1, 6)) for region in ("", "eu")]
    span = rng.choice([5, 15, 60])
    truth = {}  # what an upsert of a key at a sequence says, so that no two contradict each other
    events = []
    for _ in range(rng.randint(5, 160)):
        seq = rng.randint(0, span)
        op = rng.choices("crudt", (2, 1, 6, 3, 0.3))[0]
        if op == "t":
            events.append((op, None, None, seq, ()))
            continue
        key = rng.choice(keys)
        values = truth.setdefault((key, seq), (rng.choice([None, 0, 1, 2]), rng.choice(["x", "y", None, "é \"q\" \\"])))
        told = (True, rng.random() > 0.25) if op == "u" else (True, True)
        events.append((op, key, values, seq, told))
        if rng.random() < 0.15:  # once more, perhaps telling less or more
            events.append((op, key, values, seq, (True, rng.random() > 0.5) if op == "u" else told))
        if rng.random() < 0.1:  # a tie with a delete
            events.append(("d", key, values, seq, (True, True)))
    return events


def versions(events, masked, untracked):
    """Returns the versions that the events give: (id, region, a, b, operation, from, until)."""
    result = []
    truncates = {seq for op, _, _, seq, _ in events if op == "t"}
    for key in {key for _, key, _, _, _ in events if key}:
        mine = [event for event in events if event[1] == key]
        row = None  # [a, b] while the key is there
        for seq in sorted(truncates | {event[3] for event in mine}):
            now = [event for event in mine if event[3] == seq]
            if seq in truncates or any(op == "d" for op, *_ in now):
                if row is not None:
                    result[-1][6] = seq
                row = None
                continue
            new = [None, None] if row is None else list(row)
            for _, _, values, _, told in now:
                for column in (0, 1):
                    if told[column] or not masked:
                        new[column] = values[column]
            if row is not None and untracked and new[0] == row[0]:
                result[-1][3] = new[1]
            elif row is None or new != row:
                if row is not None:
                    result[-1][6] = seq
                result.append([*key, *new, "I" if row is None else "U", seq, None])
            row = new
    return result


def as_row(event):
    op, key, values, seq, _ = event
    row = {"id": key[0] if key else None, "region": key[1] if key else None, "a": None, "b": None, "op": op, "seq": seq}
    if op in "cru":
        row["a"], row["b"] = values
    return row


def as_change(event, rng):
    """Returns an envelope, in one of the shapes that converters and sinks give it."""
    op, key, values, seq, told = event
    row = None
    if key:
        row = {"id": key[0], "region": key[1], "a": values[0], "b": values[1] if told[1] else UNAVAILABLE}
    before = {"id": key[0], "region": key[1], "a": None, "b": None} if op == "d" else None
    by_key = op == "d" and rng.random() < 0.3
    change = {"before": None if by_key else before, "after": row if op in "cru" else None, "op": op, "ts_ms": 1700000000000,
              "source": {"lsn": seq, "table": "t"}}
    key_json = {"id": key[0], "region": key[1]} if key else None
    shape = rng.randint(0, 2)
    if shape == 0 and not by_key:
        return change
    value = {"schema": None, "payload": change} if shape == 1 else change
    return {"key": key_json, "value": value}


def write(path, lines):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        out.writelines(line + "\n" for line in lines)


def main():
    seed, folder = sys.argv[1:]
    rng = random.Random(int(seed))
    events = make_events(rng)
    count = rng.randint(1, 9)
    for kind in ("rows", "debezium"):
        batches = [[] for _ in range(count)]
        for event in events:
            for _ in range(2 if rng.random() < 0.1 else 1):
                rng.choice(batches).append(event)
        rng.shuffle(batches)
        for number, batch in enumerate(b for b in batches if b):
            rng.shuffle(batch)
            made = [as_row(event) if kind == "rows" else as_change(event, rng) for event in batch]
            if kind == "debezium" and rng.random() < 0.5:  # a tombstone, which nothing comes of
                made.append({"key": {"id": 0, "region": ""}, "value": None})
            write(f"{folder}/{kind}/{number}.jsonl", [json.dumps(line, ensure_ascii=rng.random() < 0.5) for line in made])
        lines = ["|".join("" if field is None else str(field) for field in version)
                 for version in versions(events, kind == "debezium", int(seed) % 3 == 0)]
        write(f"{folder}/{kind}.txt", sorted(lines))


main()
