"""Real redis-server processes for tests: on a free port, in a folder of their own, ended by their pid."""

import contextlib
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path

import redis

PATIENCE = 20.0


EPHEMERAL_FROM = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def free_port() -> int:
    """For a process that will bind it. None of those that the kernel gives to whoever connects in the meantime."""
    while True:
        port = secrets.choice(range(EPHEMERAL_FROM - 20_000, EPHEMERAL_FROM))
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def until(condition, what) -> None:
    """Wait until `condition()` holds; a refused connection is a no. What is awaited happens in other processes."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(redis.RedisError):
            if condition():
                return
        time.sleep(0.01)
    raise AssertionError(f"waited {PATIENCE} s for {what}")


class RedisServer:
    """One process after another, all on the same port and folder."""

    def __init__(self, folder, *options, mode=()) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.port, self.mode = folder, free_port(), mode
        self.options = ["--dir", str(folder), "--save", "", "--bind", "127.0.0.1", *options]
        self.process = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def client(self, **options) -> redis.Redis:
        return redis.Redis("127.0.0.1", self.port, socket_timeout=PATIENCE, **options)

    def ask(self, *command, **options):
        """The answer to one command, on a connection of its own."""
        with self.client(**options) as client:
            return client.execute_command(*command)

    def launch(self, *options) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["redis-server", *self.mode, "--port", str(self.port), *self.options, *options], stdout=log, stderr=log
            )

    def start(self, *options, **client_options) -> "RedisServer":
        self.launch(*options)
        until(lambda: self.ask("PING", **client_options), "redis-server to answer")
        return self

    def send(self, number) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextlib.contextmanager
    def frozen(self):
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)
