"""Holdfast as installed, with a node in C behind it, so that the proxy is the bottleneck."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bench.build import PROGRAMS
from bench.compiled import interpreted
from bench.process import NOTHING, Process
from bench.systems.base import CHANNEL, MEASURED_CPU, OTHER_CPU, System, folder, pipe, wait_until

INTERPRETED = "Holdfast, not compiled"
SETTINGS = (
    "client.bind=127.0.0.1:0",
    "admin.bind=127.0.0.1:0",
    "log.level=warning",
    "drain.timeout=0",  # it is stopped when nobody needs it any more
    "drain.spread=0",
    "node.max_nodes=32",  # descriptors are kept for them
)


@contextmanager
def holdfast(
    members: int = 0,
    *,
    settings: tuple[str, ...] = (),
    rules: str = "",
    bind: str = "tcp://127.0.0.1:*",
    module: str = "holdfast",
    node: str = "node",
    environment: Mapping[str, str] = NOTHING,
) -> Iterator[System]:
    """The proxy as installed, with one node in C. members: so many clients join a channel.

    settings: besides ours; {folder} in them is an empty one. rules: what only a file can say, as TOML. bind: where
    nodes dial, likewise. module, node: the programs, of Python and of C. environment: of the proxy, on top of ours.
    """
    with (
        pipe() as (commands, publish),
        serve(*settings, rules=rules, bind=bind, module=module, environment=environment) as (proxy, port, address),
    ):
        options = ["--join", address]
        if members:
            options += ["--channel", CHANNEL, "--members", str(members)]
        with Process(PROGRAMS / node, *options, cpu=OTHER_CPU, stdin=commands) as backend:
            backend.read()  # {"ready": true}
            yield System(port, proxy, backend, publish, backend.read)  # {"joined": members}


@contextmanager
def interpreted_holdfast(members: int = 0) -> Iterator[System]:
    """The sources as they are, for the interpreter: what Holdfast is where it was not compiled."""
    with holdfast(members, environment=interpreted()) as system:
        yield system


@contextmanager
def serve(
    *settings: str,
    rules: str = "",
    bind: str = "tcp://127.0.0.1:*",
    module: str = "holdfast",
    cpu: int = MEASURED_CPU,
    environment: Mapping[str, str] = NOTHING,
) -> Iterator[tuple[Process, int, str]]:
    """A proxy without nodes: the process, the port for clients, the address for nodes."""
    with folder() as place:
        ready_file = place / "ready.json"
        (file := place / "holdfast.toml").write_text(rules)
        all_settings = (*SETTINGS, f"node.bind={bind}", *settings)
        words = [word for setting in all_settings for word in ("--set", setting.format(folder=place))]
        command: list[str | Path] = [
            sys.executable,
            "-m",
            module,
            "serve",
            "--config",
            file,
            *words,
            "--ready-file",
            ready_file,
        ]
        with Process(*command, cpu=cpu, environment=environment) as proxy:
            wait_until(ready_file.exists, proxy)
            bound: dict[str, str] = json.loads(ready_file.read_text())
            yield proxy, int(bound["client"].rpartition(":")[2]), bound["node"]
