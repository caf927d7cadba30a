#!/usr/bin/env python3
"""`make eviction`: runs benches/eviction.rs and puts its table into docs/performance.md.

KEYS and REQUESTS from the environment make it smaller; the page is then left as it is.
"""

import os
import re
import subprocess
import sys

import report
from servers import ROOT

OURS, AT_LEAST, ABOVE = "Seawall", "S3-FIFO", "LRU"
COLUMN = "1 %, with scans"


def main():
    command = ["cargo", "bench", "--locked", "--bench", "eviction"]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = [line for line in output.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]
    ratios = {row[0]: [float(re.sub(r"[ %]", "", cell)) for cell in row[1:]] for row in cells[1:]}
    column = cells[0].index(COLUMN) - 1
    met = all(
        row[column] >= ratios[AT_LEAST][column] and row[column] > ratios[ABOVE][column]
        for name, row in ratios.items()
        if name.startswith(OURS)
    )
    text = report.table(cells[0], cells[1:])
    text += f"\n\nTarget, {COLUMN}: at least {AT_LEAST}'s and above {ABOVE}'s. {'Pass' if met else '**Miss**'}."
    print(text)
    if not os.environ.get("KEYS") and not os.environ.get("REQUESTS"):
        report.write("make eviction", "\n\n".join([report.machine(["Seawall", "commit"]), text]))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
