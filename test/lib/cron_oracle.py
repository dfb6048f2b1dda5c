#!/usr/bin/env python3
"""cron_oracle.py SEED [backwards]: random cron expressions and when they are due, by other means than datamill's.

Prints lines of schedule, time zone, a time and the next times after it (seconds since 1970), with tabs between them. Years in UTC
come from croniter. Days around changes of the clock come from walking minute by minute with zoneinfo: what is jumped
over is due at the change, what comes twice the first time only, unless minutes or hours begin with *.
With "backwards" it prints the one time before instead, in UTC, by croniter.
"""
import datetime
import os
import random
import sys

sys.path.append("/usr/lib/python3/dist-packages")
from croniter import croniter  # noqa: E402
from zoneinfo import ZoneInfo  # noqa: E402

UTC = datetime.timezone.utc
BACKWARDS = sys.argv[2:] == ["backwards"]
BOUNDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]
NAMES = {3: "jan feb mar apr may jun jul aug sep oct nov dec".split(), 4: "sun mon tue wed thu fri sat".split()}
# A zone and days on which its clocks are set: forward and back, by an hour, half an hour or a day; before midnight and at it.
CHANGES = [
    ("America/New_York", "2026-03-08"), ("America/New_York", "2026-11-01"), ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"), ("Australia/Lord_Howe", "2026-04-05"), ("Australia/Lord_Howe", "2026-10-04"),
    ("Australia/Sydney", "2026-04-05"), ("Africa/Cairo", "2026-04-24"), ("America/Santiago", "2026-09-06"),
    ("Pacific/Apia", "2011-12-30"), ("Asia/Kolkata", "2026-06-01"), ("America/Havana", "2026-11-01"),
]


def field(rng, i):
    low, high = BOUNDS[i]
    kind = rng.random()
    if kind < (0.45 if i < 2 else 0.6):
        return "*"
    if kind < 0.55 and i < 2:
        return f"*/{rng.choice([2, 5, 7, 15, 20, 30])}"
    parts = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        a, b = sorted(rng.sample(range(low, high + 1), 2))
        if rng.random() < 0.6:
            parts.append(rng.choice(NAMES[i]) if i in NAMES and rng.random() < 0.5 else str(a))
        else:
            parts.append(f"{a}-{b}" + (f"/{rng.randint(1, 9)}" if rng.random() < 0.4 else ""))
    return ",".join(parts)


def expand(text, i):
    """The numbers that a field stands for."""
    low, high = BOUNDS[i]
    result = set()
    for part in text.split(","):
        part, _, step = part.partition("/")
        if part == "*":
            a, b = low, high
        else:
            a, _, b = part.partition("-")
            number = [NAMES[i].index(x) + low if i in NAMES and x in NAMES[i] else int(x) for x in (a, b or a)]
            a, b = number
        result.update(range(a, b + 1, int(step or 1)))
    return result


def due_by_walk(expression, zone, start, days):
    """Times after start, minute by minute."""
    fields = expression.split()
    sets = [expand(text, i) for i, text in enumerate(fields)]
    elapsed = fields[0].startswith("*") or fields[1].startswith("*")

    def matches(local):
        by_day, by_weekday = local.day in sets[2], (local.isoweekday() % 7) in sets[4]
        day = by_day and by_weekday if "*" in (fields[2][0], fields[4][0]) else by_day or by_weekday
        return day and local.month in sets[3] and local.hour in sets[1] and local.minute in sets[0]

    minute = datetime.timedelta(minutes=1)
    at = start - datetime.timedelta(days=2)
    seen = at.astimezone(zone).replace(tzinfo=None) - minute  # the latest local time so far
    result = []
    while at < start + datetime.timedelta(days=days):
        local = at.astimezone(zone).replace(tzinfo=None)
        if elapsed:
            due = matches(local)
        else:
            due = False
            while seen < local:
                seen += minute
                due = due or matches(seen)
        if due and at > start:
            result.append(int(at.timestamp()))
        seen = max(seen, local)
        at += minute
    return result


def main():
    rng = random.Random(int(sys.argv[1]))
    for _ in range(int(os.environ.get("CASES", "150"))):
        fields = [field(rng, i) for i in range(5)]
        if any(text[0] != "*" and len(expand(text, i)) > BOUNDS[i][1] - BOUNDS[i][0] for i, text in enumerate(fields)):
            continue  # a list of all days is no * to cron, but is to croniter
        expression = " ".join(fields)
        start = datetime.datetime(2026, 1, 1, tzinfo=UTC) + datetime.timedelta(seconds=rng.randrange(3 * 366 * 86400))
        try:
            times = croniter(expression, start)
            times = [int(times.get_prev(float))] if BACKWARDS else [int(times.get_next(float)) for _ in range(50)]
            if BACKWARDS and croniter(expression, times[0]).get_next(float) < start.timestamp():
                continue  # it leaves 29 February out on its way back, but not on its way forward
        except Exception:
            continue  # days that never come, which croniter refuses as well
        print(expression, "UTC", int(start.timestamp()), ",".join(map(str, times)), sep="\t")
    for zone, day in [] if BACKWARDS else CHANGES * 4:
        expression = f"{field(rng, 0)} {field(rng, 1)} {rng.choice(['*', '*', '*', '1-31/2'])} * {rng.choice(['*', '*', '0', 'mon-sat'])}"
        expression = expression.replace("mon-sat", "1-6")
        start = datetime.datetime.fromisoformat(day).replace(tzinfo=UTC) + datetime.timedelta(minutes=rng.randrange(-2880, 1440))
        times = due_by_walk(expression, ZoneInfo(zone), start, 4)[:60]
        if times:
            print(expression, zone, int(start.timestamp()), ",".join(map(str, times)), sep="\t")


main()
