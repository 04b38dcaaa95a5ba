"""run.py NAME: one of the works on health checks, in namespaces of its own. Prints its rows, and
adds them to the file that HEALTH_JSON names. See docs/performance.md."""

import json
import os
import statistics
import sys
from types import SimpleNamespace

import bed
import works

QUICK = os.environ.get("QUICK") == "1"
PLAN = SimpleNamespace(rounds=3 if QUICK else 7, window=0.3 if QUICK else 0.7)


def shown(row):
    work, figure, unit, subject, rounds, against, others, target = row
    value = statistics.median(rounds)
    text = f"| {work}: {figure} | {subject} | {value:.2f} {unit} "
    if against is not None:
        ratios = [one / other for one, other in zip(rounds, others)]
        other = statistics.median(others)
        value = value / other
        text += f"| {against} | {other:.2f} {unit} | {value:.2f} "
        text += f"({min(ratios):.2f}-{max(ratios):.2f}) "
    else:
        text += f"| | | ({min(rounds):.2f}-{max(rounds):.2f}) "
    if target is None:
        return text + "| | |"
    met = value <= target[1]
    return text + f"| {target[0]} {target[1]} | {'met' if met else 'MISSED'} |"


def main(name):
    bed.sh("mount -t tmpfs tmpfs /run")
    rows = works.ALL[name](PLAN)
    for row in rows:
        print(shown(row), flush=True)
    path = os.environ.get("HEALTH_JSON")
    if path:
        with open(path, "a") as file:
            for row in rows:
                file.write(json.dumps(row) + "\n")


main(sys.argv[1])
