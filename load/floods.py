#!/usr/bin/env python3
"""Slow clients and floods against Seawall, and what bystanders notice of them.

Bystanders ask, one request after the other and from another address, for a page that is in the cache and for one
that is not cached. Their 99th percentile is told before and during each attack, with the memory of Seawall before
and at most, and how the attacker's connections ended. The origin is a second Seawall that answers from memory, so
that it is not the origin that is slow. Attackers run only when nobody else wants to: on a machine of their own
they would take none of this one's time. What they take all the same is told by "nobody", who attacks nothing.

  make floods                                      all of them
  load/.venv/bin/python load/floods.py slow-body   some of them

Settings, from the environment:
  SECONDS (8) of each attack, CONNECTIONS (500) of slow clients, SEAWALL_BIN (the release build),
  CLIENT, lines for [client] of the configuration

Needs what scripts/setup-floods.sh installs. Exits with 1 when bystanders wait for more than twice
as long as before and more than FLOOR, or memory grows beyond BOUND.
"""

import collections
import contextlib
import http.server
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import h2.config
import h2.connection
import h2.exceptions
import h2.settings
from hyperframe.frame import ContinuationFrame, HeadersFrame, PriorityFrame, WindowUpdateFrame

ROOT = Path(__file__).resolve().parent.parent
SECONDS = float(os.environ.get("SECONDS") or 8)
CONNECTIONS = int(os.environ.get("CONNECTIONS") or 500)
CLIENT = os.environ.get("CLIENT") or ""
SEAWALL_BIN = os.environ.get("SEAWALL_BIN") or (
    Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "release" / "seawall"
)
# Milliseconds that are no wait, and MiB that are no growth.
FLOOR = 2.0
BOUND = 192

BACK = """
listen = ["127.0.0.1:{port}"]
admin = {{ listen = "127.0.0.1:{admin}" }}
log = {{ access = false }}
server = {{ upgrade_socket = "{directory}/back.sock" }}
[pools.app]
servers = ["http://127.0.0.1:{origin}"]
[zones.site]
hosts = ["site.test", "127.0.0.1"]
pool = "app"
[[zones.site.cache_rules]]
name = "all"
expression = "true"
cache = "eligible"
"""

FRONT = """
listen = ["127.0.0.1:{port}"]
admin = {{ listen = "127.0.0.1:{admin}" }}
log = {{ access = false, security_events = false }}
server = {{ upgrade_socket = "{directory}/front.sock" }}
[client]
{client}
[pools.app]
servers = ["http://127.0.0.1:{origin}"]
[zones.site]
hosts = ["site.test", "127.0.0.1"]
pool = "app"
[[zones.site.cache_rules]]
name = "kept"
expression = 'starts_with(http.request.uri.path, "/kept")'
cache = "eligible"
[[zones.site.cache_rules]]
name = "past"
expression = 'starts_with(http.request.uri.path, "/past")'
cache = "bypass"
"""


def free_port():
    with socket.socket() as it:
        it.bind(("127.0.0.1", 0))
        return it.getsockname()[1]


class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"x" * ((4 << 20) if "big" in self.path else 2000)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "public, max-age=86400")
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        with contextlib.suppress(OSError):
            self.rfile.read(int(self.headers.get("content-length") or 0))
        self.do_GET()

    def log_message(self, *_):
        pass


class Apps(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1000

    def handle_error(self, *_):
        pass


class Server:
    def __init__(self, name, text, directory, **values):
        self.port, admin = free_port(), free_port()
        path = Path(directory) / f"{name}.toml"
        path.write_text(text.format(port=self.port, admin=admin, directory=directory, **values))
        log = open(Path(directory) / f"{name}.log", "wb")
        command = [SEAWALL_BIN, "serve", path]
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            time.sleep(0.05)
        sys.exit(f"{name} does not start: {(Path(directory) / (name + '.log')).read_text()}")

    def memory(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024

    def cpu(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self):
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        self.process.kill()


def ask(stream, path):
    stream.sendall(f"GET {path} HTTP/1.1\r\nHost: site.test\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = stream.recv(65536)
        if not piece:
            raise ConnectionError("closed")
        answer += piece
    head, body = answer.split(b"\r\n\r\n", 1)
    if not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(head[:40])
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += stream.recv(65536)


def bystander(port, seconds):
    """In a process of its own: the times of hits, and of what is not cached."""
    times, failed = {"/kept": [], "/past": []}, 0
    connect = lambda: socket.create_connection(("127.0.0.1", port), 5, source_address=("127.0.0.2", 0))
    streams = {path: connect() for path in times}
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for path in times:
            begun = time.perf_counter()
            try:
                ask(streams[path], path)
                times[path].append((time.perf_counter() - begun) * 1000)
            except (OSError, ConnectionError, IndexError):
                failed += 1
                with contextlib.suppress(OSError):
                    streams[path] = connect()
        time.sleep(0.002)
    told = {"failed": failed}
    for path, each in times.items():
        each.sort()
        told[path] = [each[len(each) // 2], each[len(each) * 99 // 100]]
    print(json.dumps(told))


HEAD = [(":method", "GET"), (":path", "/kept"), (":scheme", "http"), (":authority", "site.test")]
PAST = [(":method", "GET"), (":path", "/past/big"), (":scheme", "http"), (":authority", "site.test")]
# Nothing that bystanders ask for: a POST that is answered removes it from caches.
POST = [(":method", "POST"), (":path", "/sent"), *HEAD[2:]]
RAW = b"\x82\x86\x04\x05/kept\x01\x09site.test"
BOMB = b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000


def begin(connection, stream, window=None):
    connection.initiate_connection()
    if window is not None:
        connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})


class Flood:
    """What one connection of an attacker sends, piece by piece."""

    window = None

    def __init__(self, connection):
        self.connection, self.number = connection, 0

    def stream(self):
        self.number += 1
        return self.number * 2 - 1

    def library(self, head=HEAD, end=True):
        stream = self.connection.get_next_available_stream_id()
        self.connection.send_headers(stream, head, end_stream=end)
        return stream

    def raw(self, frame):
        return frame.serialize()


class RapidReset(Flood):
    def piece(self):
        for _ in range(50):
            self.connection.reset_stream(self.library(), 8)
        return b""


class MadeYouReset(Flood):
    def piece(self):
        out = b""
        for _ in range(50):
            stream = self.stream()
            out += HeadersFrame(stream, RAW, flags=["END_HEADERS", "END_STREAM"]).serialize()
            out += WindowUpdateFrame(stream, 1).serialize()[:-4] + b"\0\0\0\0"
        return out


class Continuation(Flood):
    def piece(self):
        self.number += 1
        if self.number == 1:
            return HeadersFrame(1, RAW).serialize()
        return ContinuationFrame(1, b"\x00\x01a\x01b").serialize() * 100


class Settings(Flood):
    def piece(self):
        for number in range(100):
            self.connection.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 60000 + number})
        return b""


class Ping(Flood):
    def piece(self):
        for _ in range(100):
            self.connection.ping(b"12345678")
        return b""


class EmptyData(Flood):
    def piece(self):
        if not self.number:
            self.number = self.library(POST, False)
        for _ in range(100):
            self.connection.send_data(self.number, b"")
        return b""


class WindowUpdate(Flood):
    def piece(self):
        for _ in range(100):
            self.connection.increment_flow_control_window(1)
        return b""


class Priority(Flood):
    def piece(self):
        return PriorityFrame(1, depends_on=3, stream_weight=16).serialize() * 100


class HpackBomb(Flood):
    window = 0

    def piece(self):
        head = RAW + (BOMB if not self.number else b"\xbe" * 16000)
        return HeadersFrame(self.stream(), head, flags=["END_HEADERS", "END_STREAM"]).serialize()


class ShutWindows(Flood):
    """As many answers as may be, none of which is read."""

    window = 0

    def piece(self):
        if self.number < 100:
            self.number += 1
            self.library(PAST)
        else:
            time.sleep(0.2)
        return b""


class StoppedBodies(Flood):
    """As many bodies as may be, which never come."""

    def piece(self):
        if self.number < 100:
            self.number += 1
            self.connection.send_data(self.library(POST, False), b"x")
        else:
            time.sleep(0.2)
        return b""


class Dribble(Flood):
    """An answer in pieces of one byte."""

    window = 1

    def piece(self):
        if not self.number:
            self.number = self.library(PAST)
        for _ in range(100):
            self.connection.increment_flow_control_window(1, self.number)
        return b""


class RefusedStreams(Flood):
    """More streams than there may be."""

    def piece(self):
        return b"".join(HeadersFrame(self.stream(), RAW, flags=["END_HEADERS"]).serialize() for _ in range(100))


class Nobody(Flood):
    def piece(self):
        sum(range(1000))
        self.connection.clear_outbound_data_buffer()
        return b""


FLOODS = {
    "nobody": Nobody,
    "rapid-reset": RapidReset,
    "made-you-reset": MadeYouReset,
    "continuation": Continuation,
    "settings": Settings,
    "ping": Ping,
    "empty-data": EmptyData,
    "window-update": WindowUpdate,
    "priority": Priority,
    "hpack-bomb": HpackBomb,
    "dribble": Dribble,
    "refused-streams": RefusedStreams,
    "shut-windows": ShutWindows,
    "stopped-bodies": StoppedBodies,
}


def attack_once(port, flood, until):
    """One connection until it ends; how, and how much was sent."""
    stream = socket.create_connection(("127.0.0.1", port), 5)
    config = h2.config.H2Configuration(client_side=True, validate_outbound_headers=False)
    connection = h2.connection.H2Connection(config)
    attack = flood(connection)
    begin(connection, stream, attack.window)
    sent, received = 0, b""
    try:
        while time.monotonic() < until:
            try:
                raw = attack.piece()
            except h2.exceptions.ProtocolError:
                # As many streams as there may be are open.
                time.sleep(0.001)
                raw = b""
            out = connection.data_to_send() + raw
            stream.settimeout(5)
            stream.sendall(out)
            sent += len(out)
            stream.settimeout(0)
            with contextlib.suppress(BlockingIOError):
                piece = stream.recv(65536)
                if not piece:
                    return ending(connection, received, "closed"), sent
                received = (received + piece)[-64:]
                with contextlib.suppress(h2.exceptions.ProtocolError, KeyError):
                    connection.receive_data(piece)
        return "still open", sent
    except TimeoutError:
        return "not read any more", sent
    except OSError:
        stream.settimeout(0.2)
        with contextlib.suppress(OSError):
            received = (received + stream.recv(65536))[-64:]
        return ending(connection, received, "reset"), sent
    finally:
        stream.close()


def ending(connection, received, otherwise):
    at = received.rfind(b"\0\0\x08\x07\0\0\0\0\0")
    if at >= 0 and len(received) >= at + 17:
        return f"GOAWAY {int.from_bytes(received[at + 13 : at + 17], 'big')}"
    return otherwise


def attack(port, name, seconds):
    until = time.monotonic() + seconds
    ends, total = collections.Counter(), 0
    while time.monotonic() < until:
        try:
            how, sent = attack_once(port, FLOODS[name], until)
        except OSError:
            how, sent = "not let in", 0
        ends[how] += 1
        total += sent
    print(json.dumps({"ends": ends, "mib": total / (1 << 20)}))


def slow(port, name):
    """The command of a slow client."""
    url = f"http://127.0.0.1:{port}"
    each = ["slowhttptest", "-c", str(CONNECTIONS), "-r", "500", "-l", str(int(SECONDS) + 1), "-p", "3", "-u"]
    return {
        "slowloris": [*each, f"{url}/kept", "-H", "-i", "2"],
        "slow-body": [*each, f"{url}/sent", "-B", "-i", "2", "-s", "1000000", "-t", "POST"],
        "slow-read": [*each, f"{url}/kept/big", "-X", "-w", "500", "-y", "1000", "-n", "1", "-z", "32", "-k", "3"],
        "slow-read-past": [*each, f"{url}/past/big", "-X", "-w", "500", "-y", "1000", "-n", "1", "-z", "32"],
    }[name]


SLOW = ["slowloris", "slow-body", "slow-read", "slow-read-past"]


def stand_back():
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def watch(front, port, seconds, commands):
    begun = time.monotonic()
    cpu, least = front.cpu(), front.memory()
    attackers = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=stand_back)
        for command in commands
    ]
    time.sleep(1 if commands else 0)
    watching = [sys.executable, __file__, "--bystander", str(port), str(seconds - 1.5)]
    watcher = subprocess.Popen(watching, stdout=subprocess.PIPE)
    most = least
    while watcher.poll() is None:
        most = max(most, front.memory())
        time.sleep(0.1)
    told = json.loads(watcher.stdout.read())
    told["cpu"] = (front.cpu() - cpu) / (time.monotonic() - begun)
    told["memory"] = [least, most]
    told["attackers"] = []
    for attacker in attackers:
        out = attacker.communicate(timeout=30)[0]
        with contextlib.suppress(ValueError):
            told["attackers"].append(json.loads(out))
    return told


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    wanted = sys.argv[1:] or [*SLOW, *FLOODS]
    if shutil.which("slowhttptest") is None:
        wanted = [name for name in wanted if name not in SLOW]
    app = Apps(("127.0.0.1", 0), App)
    threading.Thread(target=app.serve_forever, daemon=True).start()
    worst = 0
    with tempfile.TemporaryDirectory() as directory:
        back = Server("back", BACK, directory, origin=app.server_address[1])
        for path in ["/kept", "/kept/big", "/past", "/past/big"]:
            with socket.create_connection(("127.0.0.1", back.port)) as stream:
                ask(stream, path)
        print("attack            hit p99 ms    past p99 ms  failed     MiB   CPU  connections ended")
        for name in wanted:
            front = Server("front", FRONT, directory, origin=back.port, client=CLIENT)
            with socket.create_connection(("127.0.0.1", front.port)) as stream:
                ask(stream, "/kept/big")
            quiet = watch(front, front.port, 4, [])
            if name in SLOW:
                commands = [slow(front.port, name)]
            else:
                command = [sys.executable, __file__, "--attack", str(front.port), name, str(SECONDS)]
                commands = [command] * 2
            under = watch(front, front.port, SECONDS, commands)
            front.end()
            ends = collections.Counter()
            for attacker in under["attackers"]:
                ends.update(attacker["ends"])
            (_, hit), (_, past) = quiet["/kept"], quiet["/past"]
            (_, hit_under), (_, past_under) = under["/kept"], under["/past"]
            low, high = under["memory"]
            print(
                f"{name:16} {hit:5.2f} > {hit_under:5.2f}  {past:5.2f} > {past_under:5.2f}  {under['failed']:6} "
                f"{low:4.0f}>{high:4.0f} {under['cpu']:5.2f}  {dict(ends)}",
                flush=True,
            )
            slower = hit_under > max(2 * hit, FLOOR) or past_under > max(2 * past, FLOOR)
            worst |= slower or high > low + BOUND or under["failed"] > 0
        back.end()
    sys.exit(int(worst))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bystander"]:
        bystander(int(sys.argv[2]), float(sys.argv[3]))
    elif sys.argv[1:2] == ["--attack"]:
        attack(int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
    else:
        main()
