"""No proxy: the load generator is connected to the backend of nginx and HAProxy. What all of them have in common."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.build import PROGRAMS
from bench.process import Process
from bench.systems.base import MEASURED_CPU, System


@contextmanager
def direct() -> Iterator[System]:
    """The echo in C, where the proxy would be."""
    with Process(PROGRAMS / "echo", cpu=MEASURED_CPU) as process:
        yield System(process.read()["port"], process)
