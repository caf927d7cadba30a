#!/usr/bin/env python3
"""Runs replicas of the example shop (examples/django) until told to stop.

Prepares what is missing first: virtual environment, database, demo data, static
files. Prints one line per replica when it answers. All replicas stop on SIGINT or
SIGTERM, and when the process that started this one is gone. When one replica
dies the others go on: that is something to try against the proxy.
"""

import argparse
import ctypes
import fcntl
import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
APP = SCRIPTS.parent / "examples" / "django"
VENV = APP / ".venv"
PYTHON = VENV / "bin" / "python"
START_TIMEOUT = 30
STOP_TIMEOUT = 8


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicas", type=int, default=int(os.environ.get("REPLICAS", 3)))
    parser.add_argument("--base-port", type=int, default=int(os.environ.get("BASE_PORT", 8001)))
    parser.add_argument("--data-dir", type=Path, default=Path(os.environ.get("SHOP_DATA_DIR", APP / ".data")))
    parser.add_argument("--prepare-only", action="store_true", help="prepare, start nothing")
    options = parser.parse_args()

    stopping = Stopping()
    env = {
        **os.environ,
        "SHOP_DATA_DIR": str(options.data_dir.resolve()),
        "ALLOWED_HOSTS": os.environ.get("ALLOWED_HOSTS", "*"),
    }
    prepare(env)
    if options.prepare_only:
        return 0

    ports = range(options.base_port, options.base_port + options.replicas)
    for port in ports:
        if in_use(port):
            sys.exit(f"port {port} is in use: stop what listens there, or choose another BASE_PORT")

    replicas = {}
    try:
        for port in ports:
            replicas[port] = start_replica(port, env)
        wait_until_ready(replicas, stopping)
        return supervise(replicas, stopping)
    finally:
        stop(replicas.values())


class Stopping:
    """True once a signal came or our parent is gone."""

    def __init__(self):
        self.parent = os.getppid()
        self.signalled = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.on_signal)

    def on_signal(self, number, frame):
        self.signalled = True

    def __bool__(self):
        return self.signalled or os.getppid() != self.parent


def prepare(env):
    """Everything a replica needs. Quick when nothing changed, and safe to run several times at once."""
    subprocess.run([SCRIPTS / "setup-python.sh", VENV, APP / "requirements.txt"], check=True)

    data_dir = Path(env["SHOP_DATA_DIR"])
    data_dir.mkdir(parents=True, exist_ok=True)
    with open(data_dir / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = data_dir / ".prepared"
        wanted = fingerprint(env)
        database_is_there = "DATABASE_URL" in env or (data_dir / "shop.sqlite3").exists()
        if database_is_there and stamp.exists() and stamp.read_text() == wanted:
            return
        for command in (
            ["migrate", "--verbosity=0"],
            ["seed", "--if-empty"],
            ["collectstatic", "--noinput", "--clear", "--verbosity=0"],
        ):
            subprocess.run([PYTHON, "manage.py", *command], cwd=APP, env=env, check=True)
        stamp.write_text(wanted)


def fingerprint(env):
    """A hash of all that decides what `prepare` makes."""
    files = [APP / "requirements.txt", *APP.glob("shop/migrations/*.py"), *APP.glob("shop/static/**/*.*")]
    digest = hashlib.sha256(env.get("DATABASE_URL", "").encode())
    for file in sorted(files):
        digest.update(str(file.relative_to(APP)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def in_use(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def start_replica(port, env):
    return subprocess.Popen(
        [PYTHON, "-m", "gunicorn", "--config", "gunicorn.conf.py"],
        cwd=APP,
        env={**env, "REPLICA_PORT": str(port)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches this script only, which then stops them in order
        preexec_fn=die_with_parent,
    )


def die_with_parent():
    """Linux: should this script be killed outright, its replicas get SIGTERM."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def wait_until_ready(replicas, stopping):
    deadline = time.monotonic() + START_TIMEOUT
    for port, process in replicas.items():
        while not answers(port):
            if stopping:
                return
            if process.poll() is not None:
                sys.exit(f"replica {port} did not start: exit status {process.returncode}")
            if time.monotonic() > deadline:
                sys.exit(f"replica {port} did not answer /healthz within {START_TIMEOUT} s")
            time.sleep(0.1)
        print(f"replica http://127.0.0.1:{port} ready, pid {process.pid}", flush=True)


def answers(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def supervise(replicas, stopping):
    alive = dict(replicas)
    while not stopping:
        for port, process in list(alive.items()):
            if process.poll() is not None:
                del alive[port]
                print(f"replica http://127.0.0.1:{port} stopped, {len(alive)} left", flush=True)
        if not alive:
            return 1
        time.sleep(0.3)
    return 0


def stop(processes):
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT
    for process in running:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with its workers
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
