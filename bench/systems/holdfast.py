"""Holdfast as installed, with a node in C behind it, so that the proxy is the bottleneck."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.build import PROGRAMS
from bench.process import Process
from bench.systems.base import CHANNEL, MEASURED_CPU, OTHER_CPU, System, folder, pipe, wait_until

SETTINGS = (
    "client.bind=127.0.0.1:0",
    "node.bind=tcp://127.0.0.1:*",
    "admin.bind=127.0.0.1:0",
    "log.level=warning",
    "drain.timeout=0",  # it is stopped when nobody needs it any more
    "drain.spread=0",
)


@contextmanager
def holdfast(members: int = 0) -> Iterator[System]:
    """The proxy as installed, with one node in C. members: so many clients join a channel."""
    with folder() as place, pipe() as (commands, publish):
        ready_file = place / "ready.json"
        settings = [word for setting in SETTINGS for word in ("--set", setting)]
        serve: list[str | Path] = [sys.executable, "-m", "proxy", "serve", *settings, "--ready-file", ready_file]
        with Process(*serve, cpu=MEASURED_CPU) as proxy:
            wait_until(ready_file.exists, proxy)
            bound = _read_ready(ready_file)
            options = ["--join", bound["node"]]
            if members:
                options += ["--channel", CHANNEL, "--members", str(members)]
            with Process(PROGRAMS / "node", *options, cpu=OTHER_CPU, stdin=commands) as node:
                node.read()  # {"ready": true}
                port = int(bound["client"].rpartition(":")[2])
                yield System(port, proxy, node, publish, node.read)  # {"joined": members}


def _read_ready(file: Path) -> dict[str, str]:
    ready: dict[str, str] = json.loads(file.read_text())
    return ready
