"""Runs the command line as a process of its own, as a user would."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from tests.proxy.conftest import control, serve

__all__ = ["control", "serve"]

ROOT = Path(__file__).parents[3]


class Result(NamedTuple):
    status: int
    out: str
    err: str


def command(arguments):
    return [sys.executable, "-m", "holdfast", *map(str, arguments)]


def environment(variables):
    own = {name: value for name, value in os.environ.items() if not name.upper().startswith("HOLDFAST_")}
    return own | variables


@pytest.fixture
def holdfast():
    def run(*arguments, **variables):
        done = subprocess.run(
            command(arguments), cwd=ROOT, env=environment(variables), capture_output=True, text=True, timeout=60
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def holdfast_async():
    """The same, for tests that serve what the command talks to."""

    async def run(*arguments, **variables):
        with trio.fail_after(60):
            done = await trio.run_process(
                command(arguments),
                cwd=ROOT,
                env=environment(variables),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def start():
    """Start the command with pipes; the caller ends it."""

    def start(*arguments):
        pipe = subprocess.PIPE
        return subprocess.Popen(command(arguments), cwd=ROOT, env=environment({}), stdout=pipe, stderr=pipe, text=True)

    return start
