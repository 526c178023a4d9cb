"""The floor of fan-out: send() in a loop, in C."""

from collections.abc import Iterator
from contextlib import contextmanager

from bench.build import PROGRAMS
from bench.process import Process
from bench.systems.base import MEASURED_CPU, System, pipe


@contextmanager
def send_loop() -> Iterator[System]:
    """The floor of fan-out: send() in a loop, in C."""
    with pipe() as (commands, publish), Process(PROGRAMS / "sendloop", cpu=MEASURED_CPU, stdin=commands) as loop:
        yield System(loop.read()["port"], loop, publish=publish)
