#!/usr/bin/env python3
"""metrics_check.py FILE: reads metrics with Prometheus' own client library and prints each sample, with its type."""
import sys

sys.path.append("/usr/lib/python3/dist-packages")
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

for family in text_string_to_metric_families(open(sys.argv[1], encoding="utf-8").read()):
    if not family.documentation or family.type == "unknown":
        print("no HELP or TYPE:", family.name)
    for sample in family.samples:
        print(family.type, sample.name, sorted(sample.labels.items()), sample.value)
