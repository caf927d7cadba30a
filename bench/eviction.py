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

OURS, AT_LEAST, ABOVE = "Seawall's memory tier", "S3-FIFO", "LRU"


def main():
    command = ["cargo", "bench", "--locked", "--bench", "eviction"]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = [line for line in output.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])]
    ratios = {row[0]: [float(re.sub(r"[ %]", "", cell)) for cell in row[1:]] for row in cells[1:]}
    met = all(
        ours >= at_least and ours > above
        for ours, at_least, above in zip(ratios[OURS], ratios[AT_LEAST], ratios[ABOVE])
    )
    text = report.table(cells[0], cells[1:])
    text += f"\n\nTarget: at least {AT_LEAST}'s and above {ABOVE}'s in every column: {'pass' if met else '**miss**'}."
    print(text)
    if not os.environ.get("KEYS") and not os.environ.get("REQUESTS"):
        report.write("make eviction", "\n\n".join([report.machine(["Seawall", "commit"]), text]))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
