#!/usr/bin/env python3
"""More visitors than the app can take: 1,000 users in front of one replica that works at 20 requests at once.

The replica, a process of its own, takes WORK for a page while it has 20 requests or fewer. With more of them it
gets slower for all, as a database does, and from 100 on it fails. The users ask for shop pages (stored for a
second, so that they are stale most of the time), for pages that are private but anonymous, and, logged in, for
private ones. After each answer, a user thinks for a second or so.

Played: straight to the replica; through Seawall with a cap, as docs/overload.md advises; through Seawall
without a cap, with a limit that it learns.

Settings, from the environment:
  USERS (1000), SECONDS (30) of each, RUNS ("direct cap adaptive"), SEAWALL_BIN (the release build)

Exits with 1 when, with the cap, the replica had more than 20 requests at once, a shop page or a page of somebody
logged in was missing, the 95th percentile of shop pages is over 300 ms, or throughput does not hold.
"""

import asyncio
import contextlib
import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
USERS = int(os.environ.get("USERS") or 1000)
SECONDS = float(os.environ.get("SECONDS") or 30)
RUNS = (os.environ.get("RUNS") or "direct cap adaptive").split()
SEAWALL_BIN = os.environ.get("SEAWALL_BIN") or (
    Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release" / "seawall"
)
PLACES = 20
WORK = 0.05
FAILS_FROM = 100
THINKING = (0.5, 1.5)
# A user who has waited this long has failed.
PATIENCE = 15
# Throughput is told by intervals of this many seconds; the first of them is the start.
INTERVAL = 5
# Kind, share of the requests, how many pages, cookie.
KINDS = [
    ("shop page", 0.5, 300, False),
    ("private, anonymous", 0.3, 10_000, False),
    ("private, logged in", 0.2, 10_000, True),
]

CONFIG = """
listen = ["127.0.0.1:{port}"]
admin = {{ listen = "127.0.0.1:{admin}" }}
log = {{ access = false }}
server = {{ upgrade_socket = "{directory}/upgrade.sock" }}

[pools.app]
servers = ["http://127.0.0.1:{origin}"]
{limit}
queue = {{ length = 500, timeout = "5s" }}

[zones.shop]
hosts = ["*"]
pool = "app"

[[zones.shop.cache_rules]]
name = "pages"
expression = 'true'
cache = "eligible"
serve_stale = {{ while_revalidating = "30s", if_error = "1h", when_overloaded = "1h" }}
"""
LIMITS = {"cap": f"max_requests_per_replica = {PLACES}", "adaptive": "adaptive_concurrency = true"}


# --- The replica, which is this script with arguments ------------------------------------


def replica(port):
    """Answers, and tells at /outstanding how many requests it had at once at most, and how many in all."""
    state = {"now": 0, "most": 0, "all": 0}

    async def connection(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode()
                if path == "/outstanding":
                    writer.write(answer("200 OK", "no-store", f"{state['most']} {state['all']}"))
                    await writer.drain()
                    continue
                state["now"] += 1
                state["all"] += 1
                state["most"] = max(state["most"], state["now"])
                if state["now"] > FAILS_FROM:
                    await asyncio.sleep(WORK)
                    status = "500 Internal Server Error"
                else:
                    status = "200 OK"
                    done = 0.0
                    while done < 1.0:
                        await asyncio.sleep(WORK / 5)
                        done += 0.2 * min(1.0, (PLACES / state["now"]) ** 1.5)
                state["now"] -= 1
                shared = path.startswith("/shop")
                control = "public, max-age=1" if shared else "private, no-store"
                writer.write(answer(status, control, "x" * 10_000))
                await writer.drain()
        writer.close()

    def answer(status, control, body):
        head = f"HTTP/1.1 {status}\r\nCache-Control: {control}\r\nContent-Length: {len(body)}\r\n\r\n"
        return (head + body).encode()

    async def serve():
        server = await asyncio.start_server(connection, "127.0.0.1", port, backlog=2048)
        async with server:
            await server.serve_forever()

    raise_open_files_limit()
    asyncio.run(serve())


# --- The users ---------------------------------------------------------------------------


async def user(port, until, answers):
    """Asks and thinks until it is over."""
    reader = writer = None
    await asyncio.sleep(random.uniform(0, THINKING[1]))
    while time.monotonic() < until:
        kind, _, pages, cookie = random.choices(KINDS, [share for _, share, *_ in KINDS])[0]
        path = f"/{kind.split()[0].strip(',')}/{int(pages * random.random() ** 3)}"
        session = "Cookie: sessionid=a-user\r\n" if cookie else ""
        began = time.monotonic()
        status, stale, again = "none", False, False
        try:
            async with asyncio.timeout(PATIENCE):
                if writer is None:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(f"GET {path} HTTP/1.1\r\nHost: shop.test\r\n{session}\r\n".encode())
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                await reader.readexactly(int(fields["content-length"]))
                status, again = head[9:12], "retry-after" in fields
                told = fields.get("cache-status", "")
                stale = "; hit" in told and "ttl=-" in told
                if fields.get("connection") == "close":
                    writer.close()
                    writer = None
        except (OSError, asyncio.IncompleteReadError, TimeoutError, KeyError):
            if writer:
                writer.close()
            writer = None
        now = time.monotonic()
        answers.append((kind, status, stale, again, now - began, now))
        await asyncio.sleep(random.uniform(*THINKING))
    if writer:
        writer.close()


async def play(port, origin):
    began = time.monotonic()
    answers = []
    await asyncio.gather(*(user(port, began + SECONDS, answers) for _ in range(USERS)))
    reader, writer = await asyncio.open_connection("127.0.0.1", origin)
    writer.write(b"GET /outstanding HTTP/1.1\r\nHost: origin\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    most, all_requests = map(int, (await reader.read(100)).split())
    writer.close()
    return began, answers, most, all_requests


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command, port, log=None):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
    for _ in range(200):
        if process.poll() is not None:
            sys.exit(f"{command[0]} did not start\n{Path(log.name).read_text() if log else ''}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return process
        time.sleep(0.05)
    sys.exit(f"{command[0]} does not listen")


@contextlib.contextmanager
def servers(run, directory):
    """The replica and, unless it is asked directly, Seawall in front of it: the port to ask, and its own."""
    processes = []
    origin = port = free_port()
    try:
        processes.append(start([sys.executable, __file__, "replica", str(origin)], origin))
        if run != "direct":
            port = free_port()
            path = Path(directory) / f"{run}.toml"
            path.write_text(CONFIG.format(
                port=port, admin=free_port(), origin=origin, directory=directory, limit=LIMITS[run],
            ))
            with open(Path(directory) / f"{run}.log", "wb") as log:
                command = [SEAWALL_BIN, "serve", path]
                processes.append(start(command, port, log))
        yield port, origin
    finally:
        for process in processes:
            process.kill()
            process.wait()


# --- What is told ------------------------------------------------------------------------


def at(times, share):
    return sorted(times)[int((len(times) - 1) * share)] * 1000 if times else 0.0


def report(run, began, answers, most, all_requests):
    """Prints what became of it, and gives the faults."""
    faults = []
    name = {"direct": "straight to the replica", "cap": f"Seawall with a cap of {PLACES}",
            "adaptive": "Seawall, no cap, a limit that is learnt"}[run]
    print(f"\n{name}: the replica had {most} requests at once at most, {all_requests} in all")
    print(f"  {'':20} {'ok':>7} {'of them stale':>13} {'503, come again':>15} {'failed':>7}"
          f" {'p50':>8} {'p95':>8} {'p99':>8}  (of those that are ok)")
    for kind, *_ in KINDS:
        own = [answer for answer in answers if answer[0] == kind]
        ok = [answer for answer in own if answer[1] == "200"]
        shed = sum(status == "503" and again for _, status, _, again, *_ in own)
        failed = len(own) - len(ok) - shed
        times = [answer[4] for answer in ok]
        print(f"  {kind:20} {len(ok):7} {sum(answer[2] for answer in ok):13} {shed:15} {failed:7}"
              f" {at(times, 0.5):5.0f} ms {at(times, 0.95):5.0f} ms {at(times, 0.99):5.0f} ms")
        if kind == "shop page" and at(times, 0.95) > 300:
            faults.append(f"shop pages: p95 is {at(times, 0.95):.0f} ms")
        missing = shed + failed if kind != "private, anonymous" else failed
        if missing > 0.005 * len(own):
            faults.append(f"{kind}: {missing} of {len(own)} are missing")
    counts = [0] * int(SECONDS // INTERVAL)
    for _, status, *_, when in answers:
        place = int((when - began) // INTERVAL)
        if status == "200" and place < len(counts):
            counts[place] += 1
    rates = [count / INTERVAL for count in counts]
    print("  pages a second, by 5 s: " + " ".join(f"{rate:.0f}" for rate in rates))
    if most > PLACES:
        faults.append(f"the replica had {most} requests at once")
    if len(rates) > 2 and min(rates[1:]) < 0.8 * max(rates[1:]):
        faults.append("throughput does not hold")
    return faults if run == "cap" else []


def raise_open_files_limit():
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 65_536), most))


def main():
    if sys.argv[1:2] == ["replica"]:
        return replica(int(sys.argv[2]))
    raise_open_files_limit()
    print(f"{USERS} users for {SECONDS:.0f} s; the replica works at {PLACES} requests at once, {WORK * 1000:.0f} ms each")
    faults = []
    with tempfile.TemporaryDirectory() as directory:
        for run in RUNS:
            with servers(run, directory) as (port, origin):
                faults += report(run, *asyncio.run(play(port, origin)))
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
