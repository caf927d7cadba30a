#!/usr/bin/env python3
"""The same visitors straight to the replicas, then through Seawall, side by side.

Settings, from the environment:
  USERS (300), DURATION (60s), SPAWN_RATE (USERS / 10), PROCESSES (Locust processes, 1)
  REPLICAS (3), BASE_PORT (8001), PORT (8080, Seawall), ADMIN_URL (http://127.0.0.1:9090)
  SEAWALL_BIN (the release build), SEAWALL_CONF (conf/seawall.toml)
  MAX_P95_MS (300), MAX_ERROR_PERCENT (0.5)

Exits with 1 when the run through Seawall misses a target. Replicas or a Seawall
that run already are used as they are; otherwise both are started and stopped here.
All traffic stays on the loopback interface.
"""

import contextlib
import csv
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

LOAD = Path(__file__).resolve().parent
ROOT = LOAD.parent
DATA = LOAD / ".data"

USERS = int(os.environ.get("USERS") or 300)
DURATION = os.environ.get("DURATION") or "60s"
SPAWN_RATE = float(os.environ.get("SPAWN_RATE") or max(1, USERS / 10))
PROCESSES = int(os.environ.get("PROCESSES") or 1)
REPLICAS = int(os.environ.get("REPLICAS") or 3)
BASE_PORT = int(os.environ.get("BASE_PORT") or 8001)
PORT = int(os.environ.get("PORT") or 8080)
ADMIN_URL = (os.environ.get("ADMIN_URL") or "http://127.0.0.1:9090").rstrip("/")
SEAWALL_CONF = os.environ.get("SEAWALL_CONF") or "conf/seawall.toml"
MAX_P95_MS = float(os.environ.get("MAX_P95_MS") or 300)
MAX_ERROR_PERCENT = float(os.environ.get("MAX_ERROR_PERCENT") or 0.5)

REPLICA_URLS = [f"http://127.0.0.1:{BASE_PORT + n}" for n in range(REPLICAS)]
SEAWALL_URL = f"http://127.0.0.1:{PORT}"


def main():
    if seconds(DURATION) is None:
        sys.exit(f"DURATION: {DURATION!r} is not like 60s or 2m")
    raise_open_files_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    subprocess.run([ROOT / "scripts" / "setup-python.sh", LOAD / ".venv", LOAD / "requirements.txt"], check=True)

    with contextlib.ExitStack() as stack:
        if all(get(f"{url}/healthz") for url in REPLICA_URLS):
            say("Using the replicas that run already.")
        else:
            stack.enter_context(replicas())

        say(f"Straight to {REPLICAS} replicas: {USERS} users, {DURATION} ...")
        direct = run(REPLICA_URLS)

        if get(f"{ADMIN_URL}/readyz"):
            say("Using the Seawall that runs already: its cache may be warm.")
        else:
            stack.enter_context(seawall())
        say(f"Through Seawall: {USERS} users, {DURATION} ...")
        shielded = run([SEAWALL_URL])
        shielded["hit ratio"] = hit_ratio()

    return report(direct, shielded)


# --- Running -------------------------------------------------------------------


@contextlib.contextmanager
def replicas():
    """On a fresh database each time, so that runs compare."""
    shutil.rmtree(DATA, ignore_errors=True)
    command = [ROOT / "scripts" / "sample-app.py", "--data-dir", DATA]
    command += ["--replicas", str(REPLICAS), "--base-port", str(BASE_PORT)]
    with running("the sample app", command):
        wait_for([f"{url}/healthz" for url in REPLICA_URLS], 90)
        yield


@contextlib.contextmanager
def seawall():
    target = Path(os.environ.get("CARGO_TARGET_DIR") or "target")
    binary = Path(os.environ.get("SEAWALL_BIN") or ROOT / target / "release" / "seawall").resolve()
    if not binary.exists():
        sys.exit(f"{binary.name} is not built: run `make build` first")
    DATA.mkdir(exist_ok=True)
    with (
        open(DATA / "access.log", "wb") as access_log,
        running("Seawall", [binary, "serve", SEAWALL_CONF], access_log, PORT=str(PORT)),
    ):
        wait_for([f"{ADMIN_URL}/readyz"], 30)
        yield


STARTED = []


@contextlib.contextmanager
def running(name, command, log=None, **env):
    # Its own session: Ctrl-C reaches this script, which stops what it started.
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **env}, start_new_session=True, stdout=log
    )
    STARTED.append((name, process))
    try:
        yield
    finally:
        STARTED.remove((name, process))
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def run(targets):
    """One Locust run. Figures include the ramp-up and, through Seawall, the empty cache."""
    origin_before = origin_requests()
    with tempfile.TemporaryDirectory() as directory:
        command = [LOAD / ".venv" / "bin" / "locust", "--locustfile", LOAD / "locustfile.py", "--headless"]
        command += ["--users", str(USERS), "--spawn-rate", str(SPAWN_RATE), "--run-time", DURATION]
        command += ["--stop-timeout", "5", "--csv", f"{directory}/run", "--only-summary", "--loglevel", "WARNING"]
        if PROCESSES > 1:
            command += ["--processes", str(PROCESSES)]
        log = Path(directory) / "log"
        with log.open("w") as output:
            finished = subprocess.run(
                command,
                env={**os.environ, "TARGETS": ",".join(targets)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Bounded, even should Locust hang.
                timeout=seconds(DURATION) + USERS / SPAWN_RATE + 60,
            )
        rows = read_csv(Path(directory) / "run_stats.csv")
        failures = read_csv(Path(directory) / "run_failures.csv")
        if finished.returncode != 0 or not rows:
            sys.exit(f"Locust failed:\n{log.read_text()[-3000:]}")
    for name, process in STARTED:
        if process.poll() is not None:
            sys.exit(f"{name} died during the run, exit status {process.returncode}")

    result = {"steps": {}, "failures": failures}
    for row in rows:
        figures = {
            "requests": int(row["Request Count"]),
            "failed": int(row["Failure Count"]),
            "rps": float(row["Requests/s"]),
            **{key: float(row[column] or 0) for key, column in [("p50", "50%"), ("p95", "95%"), ("p99", "99%")]},
        }
        if row["Name"] == "Aggregated":
            result.update(figures)
        else:
            result["steps"][row["Name"]] = figures
    if not result["requests"]:
        sys.exit("Locust made no requests")
    result["errors"] = 100 * result["failed"] / result["requests"]
    result["origin"] = origin_requests() - origin_before
    return result


def read_csv(path):
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def origin_requests():
    total = 0
    for url in REPLICA_URLS:
        body = get(f"{url}/__stats")
        if body is None:
            sys.exit(f"{url}/__stats does not answer")
        total += json.loads(body)["requests"]
    return total


def hit_ratio():
    """From the gauge seawall_cache_hit_ratio{zone="..."} of Seawall's metrics."""
    metrics = get(f"{ADMIN_URL}/metrics") or ""
    found = re.findall(r"^seawall_cache_hit_ratio(?:\{([^}]*)\})? +(\S+)", metrics, re.MULTILINE)
    ratios = []
    for labels, value in found:
        zone = re.search(r'zone="([^"]*)"', labels)
        name = f"{zone[1]} " if zone and len(found) > 1 else ""
        ratios.append(f"{name}{100 * float(value):.1f} %")
    return ", ".join(ratios) or "n/a"


# --- Reporting -----------------------------------------------------------------


def report(direct, shielded):
    both = [direct, shielded]
    rows = [
        ("requests", [f"{r['requests']:,}" for r in both]),
        ("requests/s", [f"{r['rps']:.1f}" for r in both]),
        *((key, [f"{r[key]:.0f} ms" for r in both]) for key in ("p50", "p95", "p99")),
        ("error rate", [f"{r['errors']:.2f} %" for r in both]),
        ("origin requests", [f"{r['origin']:,}" for r in both]),
        ("origin per request", [f"{r['origin'] / r['requests']:.2f}" for r in both]),
        ("hit ratio", ["-", shielded["hit ratio"]]),
    ]
    say()
    table(["", "straight to replicas", "through Seawall"], rows)
    say()
    steps = list(dict.fromkeys([*direct["steps"], *shielded["steps"]]))
    table(
        ["p95 by step", "straight to replicas", "through Seawall"],
        [(step, [f"{r['steps'][step]['p95']:.0f} ms" if step in r["steps"] else "-" for r in both]) for step in steps],
    )
    for name, result in (("straight to replicas", direct), ("through Seawall", shielded)):
        if result["failures"]:
            say(f"\nfailures, {name}:")
            for row in result["failures"][:10]:
                say(f"  {row['Occurrences']:>6} x {row['Method']} {row['Name']}: {row['Error'][:120]}")
    say()
    targets = [
        (shielded["p95"] < MAX_P95_MS, f"p95 through Seawall under {MAX_P95_MS:g} ms: {shielded['p95']:.0f} ms"),
        (
            shielded["errors"] < MAX_ERROR_PERCENT,
            f"errors through Seawall under {MAX_ERROR_PERCENT:g} %: {shielded['errors']:.2f} %",
        ),
    ]
    for met, text in targets:
        say(f"{'PASS' if met else 'MISS'}  {text}")
    return 0 if all(met for met, _ in targets) else 1


def table(head, rows):
    lines = [head, *([name, *cells] for name, cells in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for number, line in enumerate(lines):
        say("  ".join([line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]))
        if number == 0:
            say("-" * (sum(widths) + 2 * (len(widths) - 1)))


def say(text=""):
    print(text, flush=True)


# --- Small things --------------------------------------------------------------


def get(url):
    """The body of a 200, or None."""
    try:
        with urllib.request.urlopen(url, timeout=15) as response:
            return response.read().decode() if response.status == 200 else None
    except (urllib.error.URLError, OSError):
        return None


def wait_for(urls, timeout):
    deadline = time.monotonic() + timeout
    for url in urls:
        while get(url) is None:
            for name, process in STARTED:
                if process.poll() is not None:
                    sys.exit(f"{name} did not start, exit status {process.returncode}")
            if time.monotonic() > deadline:
                sys.exit(f"{url} did not answer within {timeout} s")
            time.sleep(0.2)


def seconds(duration):
    """60, 60s, 2m, 1m30s -> seconds; None when it is not like that or is nothing."""
    match = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s?)?", duration)
    total = 60 * int(match[1] or 0) + int(match[2] or 0) if match else 0
    return total or None


def raise_open_files_limit():
    """A socket per user on both sides of the proxy; what we start inherits the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(65536, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
