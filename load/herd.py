#!/usr/bin/env python3
"""A herd: many clients ask for the same key at once, and the origin's requests are counted.

Keys: a cold one that may be stored, one of private answers (twice, the second herd after the
first), and two that fail: the origin closes the connection, or answers 503 without a lifetime.
The origin, in this process, takes DELAY for each answer.

Settings, from the environment:
  CLIENTS (1000), DELAY (0.2, seconds), SEAWALL_BIN (the release build)

Exits with 1 when the cold key was asked for more than once, when a client of it or of the private
key got anything but its own whole answer, or when a client was left without any.
"""

import asyncio
import collections
import contextlib
import os
import resource
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = int(os.environ.get("CLIENTS") or 1000)
DELAY = float(os.environ.get("DELAY") or 0.2)
SEAWALL_BIN = os.environ.get("SEAWALL_BIN") or (
    Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release" / "seawall"
)
PATIENCE = 120

CONFIG = """
listen = ["127.0.0.1:{port}"]
admin = {{ listen = "127.0.0.1:{admin}" }}
log = {{ access = false }}
pools.origin = {{ servers = ["http://127.0.0.1:{origin}"] }}

[zones.herd]
hosts = ["*"]
pool = "origin"
cache_rules = [{{ expression = "true", cache = "eligible" }}]
"""

HERDS = ["cold", "private", "private again", "closed", "503"]


async def main():
    raise_open_files_limit()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    origin = Origin()
    async with contextlib.AsyncExitStack() as stack:
        server = await asyncio.start_server(origin.connection, "127.0.0.1", 0, backlog=4096)
        stack.push_async_callback(stop_listening, server)
        port = await stack.enter_async_context(seawall(server.sockets[0].getsockname()[1]))

        print(f"{CLIENTS} clients at once; the origin takes {DELAY * 1000:.0f} ms for each answer")
        print(f"{'key':14}  {'statuses':28}  {'origin requests':>15}  {'most at once':>12}  {'slowest client':>14}")
        faults = []
        for herd in HERDS:
            path = "/" + herd.split()[0]
            origin.reset()
            answers = await run(port, path)
            slowest = max(answer.seconds for answer in answers)
            statuses = collections.Counter(answer.status for answer in answers)
            shown = ", ".join(f"{count} × {status}" for status, count in statuses.most_common())
            print(f"{herd:14}  {shown:28}  {origin.requests:15}  {origin.most:12}  {slowest * 1000:11.0f} ms")
            faults += [f"{herd}: {fault}" for fault in judge(path, answers, origin)]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def judge(path, answers, origin):
    if any(answer.status == "none" for answer in answers):
        yield "clients without an answer"
    if path in ("/cold", "/private") and any(answer.status != "200" for answer in answers):
        yield "clients without their page"
    bodies = {answer.body for answer in answers}
    if path == "/cold" and (origin.requests != 1 or len(bodies) != 1):
        yield f"{origin.requests} requests to the origin, {len(bodies)} different bodies"
    if path == "/private" and len(bodies) != len(answers):
        yield f"{len(answers) - len(bodies)} clients saw another's answer"


# --- The origin ------------------------------------------------------------------


class Origin:
    """Counts requests, and how many of them wait for their answer at once."""

    def __init__(self):
        self.answered = 0
        self.reset()

    def reset(self):
        self.requests = self.outstanding = self.most = 0

    async def connection(self, reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ", 2)[1].decode()
                self.requests += 1
                self.outstanding += 1
                self.most = max(self.most, self.outstanding)
                try:
                    await asyncio.sleep(DELAY)
                finally:
                    self.outstanding -= 1
                if path == "/closed":
                    break
                writer.write(self.answer(path))
                await writer.drain()
        writer.close()

    def answer(self, path):
        self.answered += 1
        status, fields = {
            "/cold": ("200 OK", "Cache-Control: max-age=3600\r\n"),
            "/private": ("200 OK", "Cache-Control: private\r\n"),
            "/503": ("503 Service Unavailable", ""),
        }[path]
        body = f"answer {self.answered:08} ".encode() * 500
        return f"HTTP/1.1 {status}\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def stop_listening(server):
    server.close()


# --- The clients -----------------------------------------------------------------

Answer = collections.namedtuple("Answer", "status body seconds")


async def run(port, path):
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CLIENTS)]
    return await asyncio.gather(*(ask(*connection, path) for connection in connections))


async def ask(reader, writer, path):
    began = time.monotonic()
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: herd.test\r\nConnection: close\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(-1), PATIENCE)
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head[9:12].decode() or "none"
        length = next((line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), None)
        if length is not None and int(length) != len(body):
            status += " cut short"
    except (OSError, asyncio.TimeoutError):
        status, body = "none", b""
    writer.close()
    return Answer(status, body, time.monotonic() - began)


# --- Seawall ---------------------------------------------------------------------


@contextlib.asynccontextmanager
async def seawall(origin):
    port, admin = free_port(), free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(CONFIG.format(port=port, admin=admin, origin=origin))
        config.flush()
        process = await asyncio.create_subprocess_exec(
            SEAWALL_BIN, "serve", config.name, env={"SEAWALL_LOG": "off", **os.environ}
        )
        try:
            await listening(process, port)
            yield port
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def listening(process, port):
    for _ in range(300):
        if process.returncode is not None:
            sys.exit("Seawall did not start.")
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.1)
    sys.exit(f"Seawall does not listen on port {port}.")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def raise_open_files_limit():
    """For clients and origin connections here; Seawall inherits it."""
    wanted = 4 * CLIENTS + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        sys.exit(f"CLIENTS={CLIENTS} needs {wanted} open files; the limit is {hard} (ulimit -Hn).")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
