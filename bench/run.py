#!/usr/bin/env python3
"""`make bench`: what a request costs in Seawall, beside its peers, and whether the targets are met.

Every server has one core and one worker; the load generator and the origin have the other core. For
each workload the servers take turns, several rounds, and the medians count. CPU time is that of all
the server's processes, divided by the requests served. Times differ from machine to machine and from
day to day: what counts are the ratios of one run.

Settings, from the environment:
  ROUNDS (3)     turns of each server
  SECONDS (3)    length of one turn
  ONLY           names of workloads (see WORKLOADS), with commas; the page is then left as it is
  CLIENTS (10000), OBJECTS (100000) for the herd, idle connections and memory
  SEAWALL_BIN    another binary than the release build

Writes docs/performance.md. Misses are reported, and are no failure of the run.
"""

import collections
import os
import sys
import time

import measure
import report
from measure import h2load, median, sample, wrk
from servers import Bench, Floor, Haproxy, Nginx, NginxOpenFiles, Seawall, Varnish, seawall_has_disk

ROUNDS = int(os.environ.get("ROUNDS") or 3)
SECONDS = int(os.environ.get("SECONDS") or 3)
ONLY = [name for name in os.environ.get("ONLY", "").replace(",", " ").split() if name]
CLIENTS = int(os.environ.get("CLIENTS") or 10_000)
OBJECTS = int(os.environ.get("OBJECTS") or 100_000)

# The objects of the disk workload, and the memory that Seawall has then: less than a tenth of them.
DISK_OBJECTS, DISK_MEMORY = 2_000, "12 MiB"

Target = collections.namedtuple("Target", "work wanted measured met")


class Run:
    def __init__(self, bench):
        self.bench = bench
        self.parts = []
        self.targets = []

    def show(self, title, text):
        print(f"\n{title}\n\n{text}", flush=True)
        self.parts.append(f"### {title}\n\n{text}")

    def target(self, work, wanted, measured, met):
        self.targets.append(Target(work, wanted, measured, met))


# --- Turns -------------------------------------------------------------------------


def take_turns(run, title, servers, load, targets, hits=True, note=""):
    """`load(server)` gives a function for `measure.sample`; `targets` are (base, most, words)."""
    for server in servers:
        load(server, 1)()
    samples = {server: [] for server in servers}
    for _ in range(ROUNDS):
        for server in servers:
            samples[server].append(sample(server, load(server, SECONDS)))
    results = {server.name: median(samples[server]) for server in servers}
    base = results["nginx"].cpu
    rows = []
    for name, result in results.items():
        rows.append([
            name, report.micro(result.cpu), f"{result.cpu / base:.2f}", f"{result.rps:,.0f}",
            report.milli(result.p50), report.milli(result.p99), f"{result.busy:.0%}",
        ])
        # A few requests may reach the origin; many mean that something else was measured.
        if hits and result.strays > result.rps * SECONDS / 100:
            note += f" {name} sent {result.strays:,.0f} requests to the origin in a round: not all were hits."
    titles = ["server", "CPU µs/request", "to nginx", "requests/s", "p50 ms", "p99 ms", "core busy"]
    run.show(title, report.table(titles, rows) + (f"\n\n{note.strip()}" if note.strip() else ""))
    for name, most, words in targets:
        ratio = results["Seawall"].cpu / results[name].cpu
        run.target(words, f"≤ {most:.2f} × {name}", f"{ratio:.2f}", ratio <= most)


def over_http(path, port=lambda server: server.port, scheme="http", **options):
    return lambda server, seconds: lambda: wrk(f"{scheme}://127.0.0.1:{port(server)}{path}", seconds, **options)


def hit(size):
    def port(server):
        return server.ports[size] if isinstance(server, Floor) else server.port

    return over_http(f"/hit/{size}/page", port)


def with_servers(run, kinds, work):
    servers = []
    try:
        for kind in kinds:
            servers.append(kind(run.bench))
        work(servers)
    finally:
        for server in servers:
            server.stop()


# --- Workloads ---------------------------------------------------------------------

HTTP1 = [Floor, Nginx, NginxOpenFiles, Seawall, Varnish, Haproxy]


def hit_1k(run):
    targets = [("nginx", 0.65, "1 KiB hit"), ("bare tokio loop", 1.25, "1 KiB hit")]
    with_servers(run, HTTP1, lambda servers: take_turns(
        run, "1 KiB hit, HTTP/1.1, 64 connections", servers, hit(1024), targets))


def hit_16k(run):
    with_servers(run, HTTP1, lambda servers: take_turns(
        run, "16 KiB hit, HTTP/1.1, 64 connections", servers, hit(16384), [("nginx", 0.80, "16 KiB hit")]))


def hit_1m(run):
    targets = [("nginx", 1.3, "1 MiB hit, first"), ("nginx", 1.0, "1 MiB hit, then")]
    with_servers(run, HTTP1, lambda servers: take_turns(
        run, "1 MiB hit, HTTP/1.1, 64 connections", servers, hit(1048576), targets))


def pipelined(run):
    def load(server, seconds):
        return lambda: wrk(f"http://127.0.0.1:{server.port}/hit/1024/page", seconds, script="pipeline.lua")

    with_servers(run, HTTP1, lambda servers: take_turns(
        run, "1 KiB hit, HTTP/1.1, 64 connections, 8 requests pipelined", servers, load, []))


def guarded(bench):
    """Seawall with 50 custom rules, ten rate limits that are for every request, and 100,000 listed networks."""
    fields = ["http.request.uri.path", "http.request.uri.query", "http.user_agent"]
    rules = [
        f"""[[zones.bench.custom_rules]]
expression = '{fields[number % 3]} contains "probe-{number}"'
action = "block"
""" for number in range(50)
    ] + [
        f"""[[zones.bench.rate_limit_rules]]
name = "limit {number}"
requests_per_period = 1000000000
period = "{60 + number}s"
""" for number in range(10)
    ]
    networks = bench.directory / "networks"
    networks.write_text("".join(
        f"{number >> 16 & 63 | 64}.{number >> 8 & 255}.{number & 255}.0/28\n" for number in range(0, 1_000_000, 10)
    ))
    rules.append(f"""[[zones.bench.ip_access_rules]]
action = "block"
ip = "$listed"
[lists]
listed = {{ file = "{networks}", format = "netset" }}
""")
    server = Seawall(bench, rules="".join(rules))
    server.name = "Seawall, guarded"
    return server


def guard(run):
    agent = "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0"
    load = over_http("/hit/1024/page", fields=[agent])
    with_servers(run, [Nginx, Seawall, guarded], lambda servers: take_turns(
        run, "1 KiB hit, HTTP/1.1, 64 connections, with and without rules of the guard", servers, load, [],
        note="50 custom rules, ten rate limits for every request, 100,000 listed networks."))


def http2(run):
    def load(server, seconds):
        return lambda: h2load(f"http://127.0.0.1:{server.h2_port}/hit/1024/page", seconds)

    with_servers(run, [Nginx, Seawall, Varnish, Haproxy], lambda servers: take_turns(
        run, "1 KiB hit, HTTP/2 in cleartext, 8 connections of 32 streams", servers, load,
        [("nginx", 0.75, "HTTP/2 1 KiB hit")], note="h2load tells the mean, which stands under p50."))


def tls(run):
    load = over_http("/hit/1024/page", lambda server: server.tls_port, "https")
    with_servers(run, [Nginx, NginxOpenFiles, Seawall, Haproxy], lambda servers: take_turns(
        run, "1 KiB hit, HTTP/1.1 over TLS 1.3, 64 connections", servers, load, [("nginx", 0.90, "TLS 1.3 1 KiB hit")]))


def disk(run):
    title = f"64 KiB hit on disk, page cache warm, {DISK_OBJECTS:,} objects, HTTP/1.1, 64 connections"
    if not seawall_has_disk():
        run.show(title, "Not measured: this build has no disk tier.")
        run.target("disk hit, 64 KiB", "≤ 1.20 × nginx", "–", None)
        return

    def seawall(bench):
        section = '[cache.disk]\ndirectory = "@DISK@"\ncapacity = "1 GiB"'
        return Seawall(bench, memory=DISK_MEMORY, disk_section=section)

    def load(server, seconds):
        return over_http("/", script="cycle.lua", arguments=("/hit/65536/", DISK_OBJECTS))(server, seconds)

    def work(servers):
        for server in servers:
            fill_whole(run.bench, server)
        take_turns(run, title, servers, load, [("nginx", 1.2, "disk hit, 64 KiB")])

    def fill_whole(bench, server):
        # What was filled is written behind the answers, and what the disk could not take is left out.
        for _ in range(10):
            before = bench.origin_requests()
            measure.fill(server.port, "/hit/65536/", DISK_OBJECTS, 4, 4)
            if bench.origin_requests() == before:
                return
            time.sleep(2)
        raise RuntimeError(f"{server.name} does not keep {DISK_OBJECTS:,} objects")

    with_servers(run, [Nginx, NginxOpenFiles, seawall], work)


def passing(run):
    load = over_http("/pass/1024/page", lambda server: server.pass_port)
    targets = [("nginx", 1.25, "pass-through, first"), ("nginx", 1.0, "pass-through, then")]
    with_servers(run, [Nginx, Seawall, Varnish, Haproxy], lambda servers: take_turns(
        run, "Pass-through to the origin, 1 KiB, HTTP/1.1, 64 connections", servers, load, targets, hits=False))


def herd(run):
    """Counts only: who waits for whom."""
    rows = []
    for kind in [Nginx, Seawall, Varnish, Haproxy]:
        server = kind(run.bench)
        before, began = run.bench.origin_requests(), time.monotonic()
        connections, whole = measure.crowd(server.port, "/slow/1024/herd", CLIENTS)
        elapsed = time.monotonic() - began
        for connection in connections:
            connection.close()
        fetches = run.bench.origin_requests() - before
        rows.append([server.name, f"{fetches:,}", f"{whole:,}", f"{elapsed:.1f}"])
        if kind is Seawall:
            run.target(f"{CLIENTS:,} clients on one cold key", "1 origin fetch, all served",
                       f"{fetches} fetches, {whole:,} served", fetches == 1 and whole == CLIENTS)
        server.stop()
    titles = ["server", "origin fetches", "clients served", "seconds, connecting included"]
    run.show(f"{CLIENTS:,} clients on one cold key that takes 300 ms", report.table(titles, rows))


def idle(run):
    rows = []
    for kind in [Nginx, Seawall, Varnish, Haproxy]:
        server = kind(run.bench)
        # A few connections first: pools and buffers that are there once are not the connections'.
        measure.fill(server.port, "/hit/1024/idle", 64, 64, 1)
        before = server.memory()
        connections, whole = measure.crowd(server.port, "/hit/1024/idle0", CLIENTS)
        time.sleep(1)
        each = (server.memory() - before) / CLIENTS
        for connection in connections:
            connection.close()
        rows.append([server.name, f"{whole:,}", report.kib(each)])
        if kind is Seawall:
            run.target(f"{CLIENTS:,} idle connections", "≤ 12 KiB each", report.kib(each), each <= 12 * 1024)
        server.stop()
    titles = ["server", "connections", "memory each"]
    run.show(f"{CLIENTS:,} idle keep-alive connections, each after one hit", report.table(titles, rows))


def memory(run):
    """What 1 KiB objects take beyond their bytes; nginx's files on tmpfs count as its memory. HAProxy
    takes the memory for its whole cache when it starts, and is left out."""
    rows = []
    for kind in [Nginx, Seawall, Varnish]:
        server = kind(run.bench)
        measure.fill(server.port, "/hit/1024/warm", 1000)
        before = server.memory()
        seconds = measure.fill(server.port, "/hit/1024/object", OBJECTS)
        time.sleep(1)
        beyond = (server.memory() - before) / OBJECTS - 1024
        # Some of them once more, to see that they stayed.
        fetched = run.bench.origin_requests()
        measure.fill(server.port, "/hit/1024/object", 1000)
        lost = run.bench.origin_requests() - fetched
        rows.append([server.name, f"{beyond:,.0f}", f"{OBJECTS / seconds:,.0f}", f"{lost:,}"])
        if server.name == "Seawall":
            run.target("memory per stored 1 KiB object, beyond its bytes", "≤ 700 B", f"{beyond:,.0f} B", beyond <= 700)
        server.stop()
    titles = ["server", "bytes beyond the body", "objects stored a second", "of the first 1,000 lost"]
    run.show(f"{OBJECTS:,} stored objects of 1 KiB", report.table(titles, rows))


WORKLOADS = {
    "1k": hit_1k, "16k": hit_16k, "1m": hit_1m, "guard": guard, "pipelined": pipelined, "h2": http2, "tls": tls,
    "disk": disk, "pass": passing, "herd": herd, "idle": idle, "memory": memory,
}


def main():
    unknown = set(ONLY) - set(WORKLOADS)
    if unknown:
        sys.exit(f"unknown in ONLY: {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    if os.cpu_count() < 2:
        sys.exit("`make bench` needs two cores: one for the server, one for the load.")
    measure.raise_open_files_limit()
    began = time.monotonic()
    with Bench() as bench:
        run = Run(bench)
        for name, workload in WORKLOADS.items():
            if not ONLY or name in ONLY:
                workload(run)
    rows = [
        [target.work, target.wanted, target.measured, {True: "pass", False: "**miss**", None: "not measured"}[target.met]]
        for target in run.targets
    ]
    summary = report.table(["work", "target", "measured", ""], rows)
    print(f"\nTargets\n\n{summary}\n\n{time.monotonic() - began:.0f} s in all")
    if not ONLY:
        about = report.machine(["Seawall", "commit", "nginx", "Varnish", "HAProxy", "wrk", "h2load"])
        about += f"\n* {ROUNDS} rounds of {SECONDS} s for each server and workload, in turn; medians"
        report.write("make bench", "\n\n".join([about, "### Targets", summary, *run.parts]))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
