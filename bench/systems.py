"""What is measured, ready to be connected to: each system is a context manager that starts fresh processes.

The measured process runs alone on one CPU; whatever is behind it shares the other with the load generator.
"""

import json
import os
import resource
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.build import PROGRAMS, find
from bench.process import BenchError, Process

CPUS = MEASURED_CPU, OTHER_CPU = 0, 1
CHANNEL = "bench"
MOST_DESCRIPTORS = 1 << 17
_, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
# For nginx and HAProxy, which want two per client, and refuse to start with more than they may have.
DESCRIPTORS = MOST_DESCRIPTORS if hard_limit == resource.RLIM_INFINITY else min(hard_limit, MOST_DESCRIPTORS)

HOLDFAST_SETTINGS = (
    "client.bind=127.0.0.1:0",
    "node.bind=tcp://127.0.0.1:*",
    "admin.bind=127.0.0.1:0",
    "log.level=warning",
    "drain.timeout=0",  # it is stopped when nobody needs it any more
    "drain.spread=0",
)

NGINX = """\
daemon off; pid {folder}/nginx.pid; error_log stderr error; {user}
worker_processes 1; worker_rlimit_nofile {descriptors};
events {{ worker_connections {connections}; multi_accept on; }}
http {{
    access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://127.0.0.1:{backend}; proxy_http_version 1.1; proxy_read_timeout 1h; proxy_send_timeout 1h;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "Upgrade"; proxy_set_header Host $host;
        }}
    }}
}}
"""

HAPROXY = """\
global
    nbthread 1
    maxconn {clients}
defaults
    mode http
    timeout connect 10s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
frontend clients
    bind 127.0.0.1:{port} backlog 4096
    default_backend echo
backend echo
    server echo 127.0.0.1:{backend}
"""


class System(NamedTuple):
    """port: where clients connect. measured: whose CPU and memory count. backend: what is behind it, None if nothing.

    publish: a descriptor; each byte written there makes one notification to all. wait_members: returns when
    all who have connected would get it.
    """

    port: int
    measured: Process
    backend: Process | None = None
    publish: int | None = None
    wait_members: Callable[[], object] = lambda: None

    def last_words(self) -> str:
        """What its processes have to say when something was wrong."""
        return self.measured.last_words() + ("" if self.backend is None else self.backend.last_words())


Start = Callable[[], AbstractContextManager[System]]


@contextmanager
def holdfast(members: int = 0) -> Iterator[System]:
    """The proxy as installed, with one node in C. members: so many clients join a channel."""
    with _folder() as folder, _pipe() as (commands, publish):
        ready_file = folder / "ready.json"
        settings = [word for setting in HOLDFAST_SETTINGS for word in ("--set", setting)]
        serve: list[str | Path] = [sys.executable, "-m", "proxy", "serve", *settings, "--ready-file", ready_file]
        with Process(*serve, cpu=MEASURED_CPU) as proxy:
            _wait_until(ready_file.exists, proxy)
            bound = _read_ready(ready_file)
            options = ["--join", bound["node"]]
            if members:
                options += ["--channel", CHANNEL, "--members", str(members)]
            with Process(PROGRAMS / "node", *options, cpu=OTHER_CPU, stdin=commands) as node:
                node.read()  # {"ready": true}
                port = int(bound["client"].rpartition(":")[2])
                yield System(port, proxy, node, publish, node.read)  # {"joined": members}


@contextmanager
def nginx() -> Iterator[System]:
    """One worker, each client proxied to its own connection to an echo in C."""
    with _folder() as folder, _echo() as (echo, backend):
        port = _free_port()
        file = folder / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        file.write_text(
            NGINX.format(
                folder=folder,
                port=port,
                backend=backend,
                user=user,
                descriptors=DESCRIPTORS,
                connections=DESCRIPTORS - 100,
            )
        )
        with Process(_command("nginx"), "-p", folder, "-c", file, cpu=MEASURED_CPU) as proxy:
            _wait_until(lambda: _accepts(port), proxy)
            yield System(port, proxy, echo)


@contextmanager
def haproxy() -> Iterator[System]:
    """One thread, as nginx."""
    with _folder() as folder, _echo() as (echo, backend):
        port = _free_port()
        file = folder / "haproxy.cfg"
        file.write_text(HAPROXY.format(port=port, backend=backend, clients=(DESCRIPTORS - 100) // 2))
        with Process(_command("haproxy"), "-db", "-f", file, cpu=MEASURED_CPU) as proxy:
            _wait_until(lambda: _accepts(port), proxy)
            yield System(port, proxy, echo)


@contextmanager
def send_loop() -> Iterator[System]:
    """The floor of fan-out: send() in a loop, in C."""
    with _pipe() as (commands, publish), Process(PROGRAMS / "sendloop", cpu=MEASURED_CPU, stdin=commands) as loop:
        yield System(loop.read()["port"], loop, publish=publish)


@contextmanager
def _echo() -> Iterator[tuple[Process, int]]:
    with Process(PROGRAMS / "echo", cpu=OTHER_CPU) as echo:
        yield echo, echo.read()["port"]


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as name:
        yield Path(name)


@contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def _command(name: str) -> str:
    command = find(name)
    assert command is not None  # build.prepare saw to that
    return command


def _read_ready(file: Path) -> dict[str, str]:
    ready: dict[str, str] = json.loads(file.read_text())
    return ready


def _free_port() -> int:
    """For servers that can't say which they took. Somebody may be faster; then the start fails and says so."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait_until(is_there: Callable[[], bool], process: Process, timeout: float = 20.0) -> None:
    deadline = time.monotonic() + timeout
    while not is_there():
        if process.has_ended or time.monotonic() > deadline:
            raise BenchError(f"{process.name} does not start{process.last_words()}")
        time.sleep(0.02)
