"""HAProxy: one thread, each client proxied to its own connection to an echo in C."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.process import Process
from bench.systems.base import DESCRIPTORS, MEASURED_CPU, System, accepts, command, echo, folder, free_port, wait_until

CONFIGURATION = """\
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


@contextmanager
def haproxy(backend_program: str = "echo") -> Iterator[System]:
    """One thread, as nginx. backend_program: see base.echo."""
    with folder() as place, echo(backend_program) as (behind, backend):
        port = free_port()
        file = place / "haproxy.cfg"
        file.write_text(CONFIGURATION.format(port=port, backend=backend, clients=(DESCRIPTORS - 100) // 2))
        with Process(command("haproxy"), "-db", "-f", file, cpu=MEASURED_CPU) as proxy:
            wait_until(lambda: accepts(port), proxy)
            yield System(port, proxy, behind)
