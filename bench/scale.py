#!/usr/bin/env python3
"""`make bench-scale`: whether costs grow with what is stored, configured, connected and restarted.

Settings, from the environment:
  ROUNDS (3), SECONDS (3)   as for `make bench`
  OBJECTS (1000000)         most stored objects
  CLIENTS (10000)           most connections
  ONLY                      objects, rules, connections, restart; the page is then left as it is

Writes docs/performance.md.
"""

import os
import socket
import sys
import time

import measure
import report
from measure import median, sample, wrk
from servers import Bench, Seawall, get, seawall_has_disk

ROUNDS = int(os.environ.get("ROUNDS") or 3)
SECONDS = int(os.environ.get("SECONDS") or 3)
OBJECTS = int(os.environ.get("OBJECTS") or 1_000_000)
CLIENTS = int(os.environ.get("CLIENTS") or 10_000)
ONLY = [name for name in os.environ.get("ONLY", "").replace(",", " ").split() if name]


def rounds(server, load):
    load(1)
    return median([sample(server, lambda: load(SECONDS)) for _ in range(ROUNDS)])


def steps(least, most):
    """Powers of ten from the one to the other."""
    step = least
    while step < most:
        yield step
        step *= 10
    yield most


def growth(title, first, results, most):
    """A table of (what, sample, further cells); and the verdict, when there is a target."""
    base = results[0][1].cpu
    rows = [
        [what, report.micro(result.cpu), f"{result.cpu / base:.2f}", f"{result.rps:,.0f}",
         report.milli(result.p50), report.milli(result.p99), *more]
        for what, result, more in results
    ]
    titles = [first, "CPU µs/request", "to the first", "requests/s", "p50 ms", "p99 ms"]
    if results[0][2]:
        titles.append("memory")
    text = report.table(titles, rows)
    if most:
        worst = max(result.cpu / base for _, result, _ in results)
        text += f"\n\nTarget: at most {most:.2f} times the first. Measured: {worst:.2f}, {'pass' if worst <= most else '**miss**'}."
    strays = [what for what, result, _ in results if result.strays > result.rps * SECONDS / 100]
    if strays:
        text += f"\n\nNot all were hits with {', '.join(strays)}."
    return title, text


# --- What grows --------------------------------------------------------------------


def objects(bench):
    """Every object has its turn: what is measured includes the processor's caches missing more often."""
    results = []
    server = Seawall(bench, memory="6 GiB")
    url = f"http://127.0.0.1:{server.port}/"
    for count in steps(min(1000, OBJECTS), OBJECTS):
        measure.fill(server.port, "/hit/1024/object", count)
        result = rounds(server, lambda seconds: wrk(url, seconds, script="cycle.lua", arguments=("/hit/1024/object", count)))
        results.append((f"{count:,}", result, [f"{server.memory() / 2**20:,.0f} MiB"]))
    server.stop()
    yield growth("Hits on more and more stored objects of 1 KiB", "stored objects", results, 1.25)


def rules(bench):
    def by_place(number):
        return [
            f'starts_with(http.request.uri.path, "/section-{number}/")',
            f'http.host eq "site-{number}.example" and http.request.uri.path wildcard "/shop/*"',
            f'http.request.uri.path eq "/page-{number}.html"',
            f'http.request.uri.path wildcard "/api/{number}/*" and http.request.method eq "GET"',
        ][number % 4]

    def tenth_by_cookie(number):
        return by_place(number) if number % 10 else f'http.cookie contains "experiment={number}"'

    for title, expression, most in [
        ("Rules about paths and hosts", by_place, 1.5),
        ("Rules of which a tenth is about a cookie, which no index finds", tenth_by_cookie, None),
    ]:
        results = []
        for count in steps(10, 1000):
            text = "".join(
                f"\n[[zones.bench.cache_rules]]\nname = \"rule {number}\"\nexpression = '{expression(number)}'\n"
                f'edge_ttl = {{ mode = "override_origin", default = "{60 + number}s" }}\n'
                for number in range(count)
            )
            server = Seawall(bench, rules=text)
            url = f"http://127.0.0.1:{server.port}/hit/1024/page"
            results.append((f"{count:,}", rounds(server, lambda seconds: wrk(url, seconds)), []))
            server.stop()
        yield growth(f"1 KiB hits, more and more rules: {title}", "rules", results, most)


def connections(bench):
    results = []
    for count in sorted({64, min(1000, CLIENTS), CLIENTS}):
        server = Seawall(bench)
        url = f"http://127.0.0.1:{server.port}/hit/1024/page"
        # Connecting takes a while, and is part of it.
        result = rounds(server, lambda seconds: wrk(url, seconds + count // 1000, connections=count))
        results.append((f"{count:,}", result, [f"{server.memory() / 2**20:,.0f} MiB"]))
        server.stop()
    yield growth("1 KiB hits, more and more connections", "connections", results, None)


def restart(bench):
    title = f"Restart with {OBJECTS:,} objects of 1 KiB on disk"
    if not seawall_has_disk():
        yield title, "Not measured: this build has no disk tier."
        return
    rows = []
    for count in steps(min(10_000, OBJECTS), OBJECTS):
        section = '[cache.disk]\ndirectory = "@DISK@"\ncapacity = "16 GiB"'
        server = Seawall(bench, memory="64 MiB", disk_section=section)
        filling = measure.fill(server.port, "/hit/1024/object", count)
        # Writing is behind the answers; ending in good order writes what is left.
        time.sleep(2)
        stop_gracefully(server)
        began = time.monotonic()
        server.launch()
        first = first_hit(server, began, count)
        full = full_recovery(server, began, count)
        rows.append([f"{count:,}", f"{filling:.1f}", *(f"{figure:.2f}" if figure else "never" for figure in (first, full))])
        server.stop()
    text = report.table(["objects", "seconds to fill", "seconds to the first hit", "to full recovery"], rows)
    text += "\n\nFrom the start of the process. Full recovery: 1,000 objects in a row, from all over, are hits."
    yield title, text


def stop_gracefully(server):
    for process in server.processes:
        process.terminate()
        process.wait(60)
        server.bench.processes.remove(process)
    server.processes.clear()


def first_hit(server, began, count):
    """Seconds until an object came without a request to the origin; each try asks for another one."""
    for attempt in range(6000):
        before = server.bench.origin_requests()
        try:
            get(server.port, f"/hit/1024/object{attempt * 7919 % count}")
            if server.bench.origin_requests() == before:
                return time.monotonic() - began
        except OSError:
            pass
        time.sleep(0.005)
    return None


def full_recovery(server, began, count):
    """Seconds until the look began that found everything."""
    for attempt in range(100):
        before, looked = server.bench.origin_requests(), time.monotonic()
        with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
            reader = connection.makefile("rb")
            for number in range(1000):
                path = f"/hit/1024/object{(attempt * 31 + number * max(count // 1000, 1)) % count}"
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: bench.test\r\n\r\n".encode())
                while reader.readline() not in (b"\r\n", b""):
                    pass
                reader.read(1024)
        if server.bench.origin_requests() == before:
            return looked - began
        time.sleep(0.05)
    return None


PARTS = {"objects": objects, "rules": rules, "connections": connections, "restart": restart}


def main():
    unknown = set(ONLY) - set(PARTS)
    if unknown:
        sys.exit(f"unknown in ONLY: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    measure.raise_open_files_limit()
    texts = []
    with Bench() as bench:
        for name, part in PARTS.items():
            if not ONLY or name in ONLY:
                for title, text in part(bench):
                    print(f"\n{title}\n\n{text}", flush=True)
                    texts.append(f"### {title}\n\n{text}")
    if not ONLY:
        report.write("make bench-scale", "\n\n".join([report.machine(["Seawall", "commit", "wrk"]), *texts]))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
