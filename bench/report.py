"""Markdown tables, on the screen and in docs/performance.md between markers."""

import datetime
import os
import platform
import re
import subprocess
from pathlib import Path

from servers import ROOT, SEAWALL

PAGE = ROOT / "docs" / "performance.md"


def table(titles, rows):
    cells = [list(map(str, row)) for row in [titles, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(titles))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in cells]
    rule = "|" + "|".join("-" * (width + 2) if column == 0 else "-" * (width + 1) + ":" for column, width in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def machine(programs):
    """What the figures were measured on; `programs` are the names of programs whose versions count."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    versions = [found for program in programs if (found := VERSIONS[program]())]
    return "\n".join([
        f"* Date: {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}",
        f"* Machine: {model.group(1) if model else platform.machine()}, {os.cpu_count()} cores, "
        f"{int(memory.group(1)) / 1048576:.0f} GiB of memory, Linux {platform.release().split('-')[0]}",
        f"* Versions: {', '.join(versions)}",
    ])


def version(command, pattern, name):
    def ask():
        try:
            output = subprocess.run(command, capture_output=True, text=True)
        except OSError:
            return None
        found = re.search(pattern, output.stdout + output.stderr)
        return f"{name} {found.group(1)}" if found else None

    return ask


VERSIONS = {
    "Seawall": version([SEAWALL, "--version"], r"seawall (\S+)", "Seawall"),
    "commit": version(["git", "-C", ROOT, "rev-parse", "--short=10", "HEAD"], r"(\w+)", "commit"),
    "nginx": version(["nginx", "-v"], r"nginx/(\S+)", "nginx"),
    "Varnish": version(["varnishd", "-V"], r"varnish-(\S+)", "Varnish"),
    "HAProxy": version(["haproxy", "-v"], r"version (\d[\d.]*)", "HAProxy"),
    "wrk": version(["wrk", "-v"], r"wrk \S*?(\d[\d.]+)", "wrk"),
    "h2load": version(["h2load", "--version"], r"nghttp2/(\S+)", "h2load"),
}


def write(section, text):
    """Puts `text` between the markers of `section` in docs/performance.md."""
    begin, end = f"<!-- {section}: generated -->", f"<!-- {section}: end -->"
    page = PAGE.read_text()
    before, found, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{PAGE} has no markers {begin} … {end}")
    PAGE.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")
    print(f"\nWritten to {PAGE.relative_to(ROOT)}.")


def kib(size):
    return f"{size / 1024:.1f} KiB"


def micro(seconds):
    return "–" if seconds is None else f"{seconds * 1e6:.1f}"


def milli(seconds):
    return "–" if seconds is None else f"{seconds * 1e3:.2f}"
