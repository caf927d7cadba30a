#!/usr/bin/env python3
"""A network on one machine: three edge nodes, two shields, three replicas and a Redis, each a process.

What is counted: requests to the origin for keys that every edge is asked for; what clients notice while a
shield is killed, Redis is stopped, and a replica hangs or flaps; how long it takes until no edge serves what
was purged on one of them, and whether a node that was away serves it when it is back.

Settings, from the environment:
  KEYS (1000), PURGES (1000), SECONDS (6) of each disturbance, RATE (300) requests a second,
  SEAWALL_BIN (the release build)

Exits with 1 when a client was left without its page, when the origin was asked more often than once for a
key, or when a purged page was served by a node that came back.
"""

import asyncio
import contextlib
import json
import mmap
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KEYS = int(os.environ.get("KEYS") or 1000)
PURGES = int(os.environ.get("PURGES") or 1000)
SECONDS = float(os.environ.get("SECONDS") or 6)
RATE = int(os.environ.get("RATE") or 300)
SEAWALL_BIN = os.environ.get("SEAWALL_BIN") or (
    Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release" / "seawall"
)
TOKEN = "a-token-of-many-characters"
SECRET = "a-secret-of-many-characters"
# A request that takes longer than this has failed its visitor.
SLOW = 1.0

CONFIG = """
listen = ["{address}"]
admin = {{ listen = "{admin}" }}
log = {{ access = false }}
server = {{ threads = 1, upgrade_socket = "{directory}/upgrade.sock", drain_timeout = "1s" }}
purge = {{ token = "{token}", rate = 1000000 }}
shared = {{ redis = "redis://127.0.0.1:{redis}", timeout = "200ms" }}

[cache]
disk = {{ directory = "{directory}/store", capacity = "64 MiB" }}

[tiers]
name = "{name}"
secret = "{secret}"

[pools.app]
servers = [{replicas}]
health_check = {{ path = "/health", interval = "500ms", timeout = "300ms", fall = 2, rise = 2 }}
timeouts = {{ connect = "500ms", first_byte = "1s" }}

[zones.site]
hosts = ["*"]
pool = "app"
cache_rules = [{{ expression = "true", cache = "eligible", serve_stale = {{ if_error = "1h" }} }}]
"""
UPPER = '\n[tiers.upper.shield]\nservers = [{shields}]\ntimeouts = {{ connect = "300ms", first_byte = "3s" }}\n'


# --- A replica, which is this script with arguments ------------------------------------


def replica(port, requests, versions):
    """Answers with the version of a page, and notes every request but those for its health."""
    with open(versions, "r+b") as file:
        pages = mmap.mmap(file.fileno(), 0)
    log = open(requests, "ab", buffering=0)

    async def connection(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
                if path == "/health":
                    fields, body = "Cache-Control: no-store\r\n", b"well"
                else:
                    number = int(path.rsplit("/", 1)[1])
                    version = pages[number % len(pages)]
                    log.write(path.encode() + b"\n")
                    await asyncio.sleep(0.01)
                    fields = f"Cache-Control: max-age=3600\r\nCache-Tag: page-{number}\r\nETag: \"{version}\"\r\n"
                    body = f"version {version:03} ".encode() * 50
                head = f"HTTP/1.1 200 OK\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        writer.close()

    async def serve():
        server = await asyncio.start_server(connection, "127.0.0.1", port, backlog=1024)
        async with server:
            await server.serve_forever()

    asyncio.run(serve())


# --- The network -----------------------------------------------------------------------


class Node:
    def __init__(self, network, name):
        self.network, self.name = network, name
        self.port, self.admin = free_port(), free_port()
        self.directory = network.directory / name
        self.directory.mkdir()

    def start(self, shields):
        config = CONFIG.format(
            address=f"127.0.0.1:{self.port}", admin=f"127.0.0.1:{self.admin}", directory=self.directory,
            token=TOKEN, secret=SECRET, name=self.name, redis=self.network.redis_port,
            replicas=", ".join(f'"http://127.0.0.1:{port}"' for port in self.network.replica_ports),
        )
        if shields:
            config += 'upper_tiers = ["shield"]\n'
            config += UPPER.format(shields=", ".join(f'"http://127.0.0.1:{shield.port}"' for shield in shields))
        path = self.directory / "seawall.toml"
        path.write_text(config)
        log = open(self.directory / "log", "ab")
        self.process = subprocess.Popen([SEAWALL_BIN, "serve", path], stdout=subprocess.DEVNULL, stderr=log)
        wait_for(self.port, self.process, self.directory / "log")

    def kill(self):
        self.process.kill()
        self.process.wait()


class Network:
    def __init__(self, directory):
        self.directory = directory
        self.requests, self.versions = directory / "requests", directory / "versions"
        self.requests.touch()
        self.versions.write_bytes(bytes(max(PURGES, 1) + 16))
        with open(self.versions, "r+b") as file:
            self.pages = mmap.mmap(file.fileno(), 0)
        self.replica_ports = [free_port() for _ in range(3)]
        self.redis_port = free_port()
        self.replicas, self.nodes = [], []

    def start(self):
        self.start_redis()
        for port in self.replica_ports:
            command = [sys.executable, __file__, "replica", str(port), self.requests, self.versions]
            self.replicas.append(subprocess.Popen(command))
        for port, process in zip(self.replica_ports, self.replicas):
            wait_for(port, process)

    def start_redis(self):
        command = ["redis-server", "--port", str(self.redis_port), "--bind", "127.0.0.1", "--save", "",
                   "--dir", self.directory, "--appendonly", "yes"]
        self.redis = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_for(self.redis_port, self.redis)

    def start_nodes(self, kind, tiered):
        self.shields = [Node(self, f"{kind}-shield-{number}") for number in (1, 2)] if tiered else []
        self.edges = [Node(self, f"{kind}-edge-{number}") for number in (1, 2, 3)]
        self.nodes = self.shields + self.edges
        for node in self.shields:
            node.start([])
        for node in self.edges:
            node.start(self.shields)

    def stop_nodes(self):
        for node in self.nodes:
            node.kill()

    def stop(self):
        for process in [node.process for node in self.nodes] + self.replicas + [self.redis]:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()

    def origin_requests(self):
        return self.requests.read_bytes().count(b"\n")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port, process, log=None):
    for _ in range(200):
        if process.poll() is not None:
            sys.exit(f"{process.args[0]} did not start\n{log.read_text() if log else ''}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.05)
    sys.exit(f"{process.args[0]} does not listen")


# --- Clients ---------------------------------------------------------------------------


class Client:
    """One connection that is kept, and opened anew when it was closed."""

    def __init__(self, port):
        self.port, self.reader, self.writer = port, None, None

    async def get(self, path):
        """Status and body, or ("none", b"")."""
        for _ in range(2):
            try:
                fresh = self.writer is None
                if fresh:
                    self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
                self.writer.write(f"GET {path} HTTP/1.1\r\nHost: site.test\r\n\r\n".encode())
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
                length = next(line for line in head.split("\r\n") if line.lower().startswith("content-length:"))
                return head[9:12], await self.reader.readexactly(int(length.split(":")[1]))
            except (OSError, asyncio.IncompleteReadError, StopIteration):
                self.close()
                if fresh:
                    break
        return "none", b""

    def close(self):
        if self.writer:
            self.writer.close()
        self.reader = self.writer = None


async def all_keys(network, prefix):
    """Every key on every edge, in another order on each; the statuses that were not 200."""
    async def ask(edge, paths):
        client = Client(edge.port)
        statuses = [(await client.get(path))[0] for path in paths]
        client.close()
        return statuses

    tasks = []
    for edge in network.edges:
        paths = [f"/{prefix}/{number}" for number in range(KEYS)]
        random.shuffle(paths)
        tasks += [ask(edge, paths[start::20]) for start in range(20)]
    return [status for statuses in await asyncio.gather(*tasks) for status in statuses if status != "200"]


async def disturbed(network, name, disturb):
    """Clients on all edges ask for old and new keys while `disturb` runs; what they noticed."""
    answers = []
    clients = {edge: [] for edge in network.edges}

    async def ask(edge, number):
        client = clients[edge].pop() if clients[edge] else Client(edge.port)
        # Half of the requests are for keys that nobody has asked for.
        path = f"/{name}/{number}" if number % 2 else f"/tiered/{random.randrange(KEYS)}"
        began = time.monotonic()
        status, _ = await client.get(path)
        answers.append((began, time.monotonic() - began, status))
        clients[edge].append(client)

    began = time.monotonic()
    disturbing = asyncio.create_task(disturb())
    tasks = []
    for number in range(int(RATE * SECONDS)):
        await asyncio.sleep(max(0.0, began + number / RATE - time.monotonic()))
        tasks.append(asyncio.create_task(ask(random.choice(network.edges), number)))
    await asyncio.gather(*tasks)
    disturbed_at = await disturbing
    for kept in clients.values():
        for client in kept:
            client.close()
    bad = [when + took for when, took, status in answers if status != "200" or took > SLOW]
    times = sorted(took for _, took, _ in answers)
    return {
        "requests": len(answers),
        "failed": sum(status != "200" for *_, status in answers),
        "slow": sum(took > SLOW for _, took, _ in answers),
        "p95": times[int(len(times) * 0.95)],
        "slowest": times[-1],
        "recovered": max((at - disturbed_at for at in bad), default=0.0),
    }


# --- Disturbances ----------------------------------------------------------------------


def disturbances(network):
    third = SECONDS / 3

    async def nothing():
        return time.monotonic()

    async def kill_shield():
        await asyncio.sleep(third)
        network.shields[0].kill()
        return time.monotonic()

    async def stop_redis():
        await asyncio.sleep(third)
        at = time.monotonic()
        network.redis.send_signal(signal.SIGSTOP)
        await asyncio.sleep(third)
        network.redis.send_signal(signal.SIGCONT)
        return at

    async def hang_replica():
        await asyncio.sleep(third)
        at = time.monotonic()
        network.replicas[0].send_signal(signal.SIGSTOP)
        await asyncio.sleep(third)
        network.replicas[0].send_signal(signal.SIGCONT)
        return at

    async def flap_replica():
        at = time.monotonic()
        while time.monotonic() < at + SECONDS - 0.4:
            for what in (signal.SIGSTOP, signal.SIGCONT):
                network.replicas[0].send_signal(what)
                await asyncio.sleep(0.2)
        return at

    return [
        ("undisturbed", nothing),
        ("Redis stopped", stop_redis),
        ("a replica hangs", hang_replica),
        ("a replica flaps every 200 ms", flap_replica),
        ("a shield is killed", kill_shield),
    ]


# --- Purges ----------------------------------------------------------------------------


async def purge(node, tag):
    reader, writer = await asyncio.open_connection("127.0.0.1", node.admin)
    body = json.dumps({"tags": [tag]})
    writer.write(
        f"POST /purge HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
    )
    answer = await reader.read()
    writer.close()
    if b" 200 " not in answer.split(b"\r\n", 1)[0]:
        sys.exit(f"the purge was refused: {answer.decode()}")


async def purges(network):
    """Seconds from a purge on one edge until no edge serves the old version, sorted."""
    clients = [Client(edge.port) for edge in network.edges]
    for number in range(PURGES):
        for client in clients:
            await client.get(f"/purge/{number}")
    times = []
    for number in range(PURGES):
        network.pages[number] += 1
        new = f"version {network.pages[number]:03} ".encode()
        began = time.monotonic()

        async def until_new(client):
            while True:
                _, body = await client.get(f"/purge/{number}")
                if body.startswith(new):
                    return time.monotonic() - began

        seen = asyncio.gather(*(until_new(client) for client in clients))
        await purge(network.edges[0], f"page-{number}")
        times.append(max(await seen))
    for client in clients:
        client.close()
    return sorted(times)


async def purged_while_away(network, count):
    """How many of `count` pages, purged while a node with a disk was down, it serves when it is back."""
    away, other = network.edges[2], network.edges[0]
    client = Client(away.port)
    for number in range(count):
        await client.get(f"/purge/{number}")
    client.close()
    await asyncio.sleep(1)  # the disk is written behind
    away.kill()
    for number in range(count):
        network.pages[number] += 1
        await purge(other, f"page-{number}")
    away.start([shield for shield in network.shields if shield.process.poll() is None])
    client, old = Client(away.port), 0
    for number in range(count):
        _, body = await client.get(f"/purge/{number}")
        old += not body.startswith(f"version {network.pages[number]:03} ".encode())
    client.close()
    return old


# --- The run ---------------------------------------------------------------------------


async def run(network):
    faults = []
    print(f"{KEYS} cold keys, each asked for on 3 edges")
    for kind, tiered in (("flat", False), ("tiered", True)):
        network.start_nodes(kind, tiered)
        before = network.origin_requests()
        failed = await all_keys(network, kind)
        asked = network.origin_requests() - before
        print(f"  {kind:7} {asked:6} requests to the origin, {len(failed)} failed")
        if failed or (tiered and asked != KEYS):
            faults.append(f"{kind}: {asked} requests to the origin, {len(failed)} failed")
        if not tiered:
            network.stop_nodes()

    times = await purges(network)
    at = lambda share: times[int((len(times) - 1) * share)] * 1000
    print(f"\n{PURGES} purges by tag on one edge: no edge serves the old version after")
    print(f"  p50 {at(0.5):.1f} ms, p99 {at(0.99):.1f} ms, longest {at(1):.1f} ms")
    old = await purged_while_away(network, 50)
    print(f"  50 pages purged while an edge with a disk was down: {old} served old by it afterwards")
    if old:
        faults.append(f"{old} purged pages were served by a node that came back")

    print(f"\n{RATE} requests a second for {SECONDS:.0f} s, half of them for cold keys")
    print(f"  {'':30} {'requests':>8} {'failed':>7} {'over 1 s':>8} {'p95':>9} {'slowest':>9}  last bad answer after")
    for name, disturb in disturbances(network):
        seen = await disturbed(network, name.replace(" ", "-"), disturb)
        print(
            f"  {name:30} {seen['requests']:8} {seen['failed']:7} {seen['slow']:8} {seen['p95'] * 1000:6.0f} ms"
            f" {seen['slowest'] * 1000:6.0f} ms  {seen['recovered']:.2f} s"
        )
        if seen["failed"]:
            faults.append(f"{name}: {seen['failed']} requests failed")
    return faults


def main():
    if sys.argv[1:2] == ["replica"]:
        return replica(int(sys.argv[2]), sys.argv[3], sys.argv[4])
    if not shutil.which("redis-server"):
        sys.exit("redis-server is not installed (scripts/setup-test.sh does it)")
    with tempfile.TemporaryDirectory() as directory:
        network = Network(Path(directory))
        try:
            network.start()
            faults = asyncio.run(run(network))
        finally:
            network.stop()
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
