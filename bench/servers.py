"""The servers that are compared: each started on one core, from a configuration in conf/."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
TOOLS = TARGET / "bench-tools" / "release"
SEAWALL = Path(os.environ.get("SEAWALL_BIN") or TARGET / "release" / "seawall")

# The server has one core to itself; load generator and origin share the other.
SERVER_CORE, LOAD_CORE = "0", "1"
OPEN_FILES = 20_000
# Most clients of HAProxy, which wants two files for each.
CONNECTIONS = OPEN_FILES // 2 - 100


class Bench:
    """What all servers share: a directory on tmpfs, one on disk, a certificate, the origin."""

    def __init__(self):
        self.processes = []
        shm = "/dev/shm" if os.path.isdir("/dev/shm") else None
        self.directory = Path(tempfile.mkdtemp(prefix="seawall-bench-", dir=shm))
        TARGET.mkdir(exist_ok=True)
        self.disk = Path(tempfile.mkdtemp(prefix="bench-disk-", dir=TARGET))
        # nginx's and Varnish's workers may run as users of their own.
        for directory in self.directory, self.disk:
            directory.chmod(0o755)
        self.certificate = make_certificate(self.directory)
        self.origin = free_port()
        self.spawn([TOOLS / "origin", f"127.0.0.1:{self.origin}"], LOAD_CORE)
        wait_for_port(self.origin)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            stop(process)
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.rmtree(self.disk, ignore_errors=True)

    def spawn(self, command, core=SERVER_CORE, **options):
        process = subprocess.Popen(
            ["taskset", "-c", core, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=options.pop("stderr", subprocess.DEVNULL),
            start_new_session=True,
            **options,
        )
        self.processes.append(process)
        return process

    def origin_requests(self):
        return int(get(self.origin, "/count"))


class Server:
    """A running server: its ports, and the processes whose CPU time and memory are its own."""

    name = ""
    ended_by = signal.SIGTERM

    def __init__(self, bench, **options):
        self.bench = bench
        self.directory = Path(tempfile.mkdtemp(prefix=f"{type(self).__name__}-", dir=bench.directory))
        self.directory.chmod(0o755)
        self.port, self.h2_port, self.tls_port, self.admin = (free_port() for _ in range(4))
        self.pass_port = self.port
        self.processes = []
        self.start(**options)
        wait_for_port(self.port)

    def start(self, **options):
        raise NotImplementedError

    def run(self, command, **options):
        self.processes.append(self.bench.spawn(command, **options))

    def configure(self, name, **values):
        """Writes the configuration `name` with its placeholders filled in."""
        certificate, key, pem = self.bench.certificate
        values = {
            "PORT": self.port, "H2": self.h2_port, "TLS": self.tls_port, "PASS": self.pass_port,
            "ADMIN": self.admin, "ORIGIN": self.bench.origin, "DIR": self.directory, "FILES": OPEN_FILES,
            "CERTIFICATE": certificate, "KEY": key, "PEM": pem, **values,
        }
        text = (HERE / "conf" / name).read_text()
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        path = self.directory / name
        path.write_text(text)
        return path

    def pids(self):
        return tree([process.pid for process in self.processes])

    def cpu_seconds(self):
        return sum(cpu_seconds(pid) for pid in self.pids())

    def memory(self):
        """Bytes of memory, pages that processes share counted once, what is kept on tmpfs included."""
        return sum(map(proportional_memory, self.pids()))

    def stop(self):
        for process in self.processes:
            stop(process, self.ended_by)
            self.bench.processes.remove(process)
        shutil.rmtree(self.directory, ignore_errors=True)


class Floor(Server):
    """A bare tokio loop with a constant answer: a port for each size."""

    name = "bare tokio loop"

    def start(self):
        self.ports = {1024: self.port, 16384: self.h2_port, 1048576: self.tls_port}
        self.run([TOOLS / "floor", *(f"127.0.0.1:{port}={size}" for size, port in self.ports.items())])


class Nginx(Server):
    """As the targets mean it: `proxy_cache` as it is, which opens a file for each hit."""

    name = "nginx"
    open_file_cache = "off"

    def start(self):
        self.cache = self.directory / "cache"
        self.disk_cache = Path(tempfile.mkdtemp(prefix="nginx-", dir=self.bench.disk))
        self.disk_cache.chmod(0o777)
        config = self.configure("nginx.conf", CACHE=self.cache, DISK=self.disk_cache, OPEN_FILE_CACHE=self.open_file_cache)
        self.run(["nginx", "-p", self.directory, "-c", config])

    def memory(self):
        return super().memory() + disk_usage(self.cache)

    def stop(self):
        super().stop()
        shutil.rmtree(self.disk_cache, ignore_errors=True)


class NginxOpenFiles(Nginx):
    """nginx tuned further: the files of the cache stay open."""

    name = "nginx, open_file_cache"
    open_file_cache = "max=200000 inactive=600s"


class Varnish(Server):
    name = "Varnish"

    def start(self):
        config = self.configure("varnish.vcl")
        self.h2_port = self.port
        work = self.directory / "work"
        self.run([
            "varnishd", "-F", "-j", "none", "-n", work, "-f", config, "-a", f"127.0.0.1:{self.port}",
            "-s", "malloc,4G", "-p", "thread_pools=1", "-p", "thread_pool_min=100", "-p", "thread_pool_max=12000",
            "-p", "timeout_idle=600", "-p", "feature=+http2", "-p", "listen_depth=16384",
            "-p", "h2_max_concurrent_streams=256",
        ])
        wait_for_port(self.port)
        self.run(["varnishncsa", "-n", work])


class Haproxy(Server):
    name = "HAProxy"

    def start(self):
        self.pass_port = free_port()
        self.run(["haproxy", "-f", self.configure("haproxy.cfg", CONNECTIONS=CONNECTIONS)])


class Seawall(Server):
    name = "Seawall"
    # At once; SIGTERM would wait for the connections.
    ended_by = signal.SIGINT

    def start(self, memory="2 GiB", disk_section="", rules="", environment=None):
        self.disk_directory = Path(tempfile.mkdtemp(prefix="seawall-", dir=self.bench.disk))
        disk_section = disk_section.replace("@DISK@", str(self.disk_directory))
        self.config = self.configure("seawall.toml", MEMORY=memory, DISK_SECTION=disk_section, RULES=rules)
        self.h2_port = self.port
        self.launch()

    def launch(self):
        self.run([SEAWALL, "serve", self.config], env={"SEAWALL_LOG": "off", **os.environ}, stderr=sys.stderr)

    def stop(self):
        super().stop()
        shutil.rmtree(self.disk_directory, ignore_errors=True)


def seawall_has_disk():
    """Whether this build keeps anything on disk."""
    reference = (ROOT / "conf" / "reference.toml").read_text()
    return "[cache.disk]" in reference


# --- Processes -------------------------------------------------------------------


def tree(pids):
    """These processes and all they started."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents[int(entry)] = int(stat_fields(entry)[1])
            except OSError:
                pass
    found = set(pids)
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return sorted(pid for pid in found if pid in parents)
        found |= more


def stat_fields(pid):
    """/proc/PID/stat from the state on; the name before it may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()


def cpu_seconds(pid):
    try:
        user, system = stat_fields(pid)[11:13]
    except OSError:
        return 0.0
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def proportional_memory(pid):
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def disk_usage(directory):
    total = 0
    for parent, _, files in os.walk(directory):
        for file in files:
            try:
                total += os.stat(os.path.join(parent, file)).st_blocks * 512
            except OSError:
                pass
    return total


def stop(process, by=signal.SIGTERM):
    """Ends a process that this benchmark started, with all it started."""
    if process.poll() is None:
        process.send_signal(by)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


# --- Small things ----------------------------------------------------------------


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, seconds=20):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise RuntimeError(f"nothing listens on port {port}")


def get(port, path):
    """The body of a small answer."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        # The origin keeps connections open; its answers to this are shorter than a packet.
        while b"\r\n\r\n" not in answer or len(answer.partition(b"\r\n\r\n")[2]) < length_of(answer):
            part = connection.recv(65536)
            if not part:
                break
            answer += part
    if b" 200 " not in answer[:16]:
        raise RuntimeError(f"{path}: {answer[:60]!r}")
    return answer.partition(b"\r\n\r\n")[2]


def length_of(answer):
    for line in answer.partition(b"\r\n\r\n")[0].lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    return 0


def make_certificate(directory):
    """A self-signed P-256 certificate: its file, its key's, and one with both."""
    certificate, key, pem = (directory / name for name in ("cert.pem", "key.pem", "both.pem"))
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
         "-subj", "/CN=bench.test", "-addext", "subjectAltName=DNS:bench.test", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )
    pem.write_bytes(certificate.read_bytes() + key.read_bytes())
    key.chmod(0o644)
    return certificate, key, pem
