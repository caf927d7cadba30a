"""Load on a server, and what it cost: CPU time for each request, throughput, latency."""

import collections
import re
import resource
import selectors
import socket
import statistics
import subprocess
import time

from servers import HERE, LOAD_CORE, OPEN_FILES, TOOLS

Sample = collections.namedtuple("Sample", "cpu rps p50 p99 busy strays")

# Seconds without any answer after which clients that still wait have lost.
PATIENCE = 10

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def raise_open_files_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"`make bench` needs {wanted} open files; the limit is {hard} (ulimit -Hn).")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def wrk(url, seconds, connections=64, script=None, arguments=(), fields=()):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "20s", "--latency"]
    for field in "Host: bench.test", *fields:
        command += ["-H", field]
    if script:
        command += ["-s", str(HERE / "conf" / script)]
    output = run([*command, url, *(["--", *map(str, arguments)] if arguments else [])])
    requests, duration = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", output).group(1, 2)
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", output) or re.search(r"Socket errors: (.*)", output)
    if failed and not failed.group(0).endswith("timeout 0"):
        raise RuntimeError(f"{url}: {failed.group(0)}")
    if not int(requests):
        raise RuntimeError(f"{url}: no answer within {seconds} s")
    return int(requests), float(duration), percentile(output, 50), percentile(output, 99)


def percentile(output, which):
    """None when the load generator was too busy to tell."""
    found = re.search(rf"^\s+{which}%\s+([\d.]+)(us|ms|s|m)\s*$", output, re.M)
    return float(found.group(1)) * UNITS[found.group(2)] if found else None


def h2load(url, seconds, connections=8, streams=32):
    output = run([
        "h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds}", url,
    ])
    duration = float(re.search(r"finished in ([\d.]+)s", output).group(1))
    done, failed = re.search(r"(\d+) succeeded, (\d+) failed", output).group(1, 2)
    if int(failed) or not int(done):
        raise RuntimeError(f"{url}: {output}")
    # It tells the mean and no percentiles.
    mean = re.search(r"time for request:\s+\S+\s+\S+\s+([\d.]+)(us|ms|s)", output)
    return int(done), duration, float(mean.group(1)) * UNITS[mean.group(2)], None


def run(command):
    done = subprocess.run(["taskset", "-c", LOAD_CORE, *command], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


def sample(server, load):
    """Runs `load`, a function that gives (requests, seconds, p50, p99), and sets it against the CPU time."""
    origin, cpu, began = server.bench.origin_requests(), server.cpu_seconds(), time.monotonic()
    requests, duration, p50, p99 = load()
    spent, elapsed = server.cpu_seconds() - cpu, time.monotonic() - began
    strays = server.bench.origin_requests() - origin
    return Sample(spent / requests, requests / duration, p50, p99, spent / elapsed, strays)


def median(samples):
    """The medians of several rounds, each figure by itself."""
    columns = ([figure for figure in column if figure is not None] for column in zip(*samples))
    return Sample(*(statistics.median(column) if column else None for column in columns))


def fill(port, prefix, count, connections=8, depth=32):
    """Asks for so many objects, pipelined; the seconds it took."""
    began = time.monotonic()
    command = [TOOLS / "loader", f"127.0.0.1:{port}", prefix, count, connections, depth]
    subprocess.run(
        ["taskset", "-c", LOAD_CORE, *map(str, command)], check=True, stdout=subprocess.DEVNULL, timeout=600
    )
    return time.monotonic() - began


def crowd(port, path, clients):
    """Connects so many clients, then sends the same request over all; they stay connected.

    Returns the connections, and how many got a whole 200 answer."""
    request = f"GET {path} HTTP/1.1\r\nHost: bench.test\r\n\r\n".encode()
    connections = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(clients)]
    selector = selectors.DefaultSelector()
    answers = {}
    for connection in connections:
        connection.setblocking(False)
        connection.send(request)
        answers[connection] = b""
        selector.register(connection, selectors.EVENT_READ)
    waiting, whole, until = clients, 0, time.monotonic() + PATIENCE
    while waiting and time.monotonic() < until:
        for key, _ in selector.select(1):
            until = time.monotonic() + PATIENCE
            try:
                part = key.fileobj.recv(65536)
            except OSError:
                part = b""
            answers[key.fileobj] += part
            head, end, body = answers[key.fileobj].partition(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head.lower())
            done = end and length and len(body) >= int(length.group(1))
            if done or not part:
                selector.unregister(key.fileobj)
                waiting -= 1
                whole += bool(done and b" 200" in head[:13])
    return connections, whole
