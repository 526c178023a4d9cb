"""holdfast demo: a proxy, nodes that are killed all the time, and clients that notice nothing."""

import argparse
import math
import random
import socket
from contextlib import closing

from holdfast.cli.command import Command, add_json_argument
from holdfast.cli.durations import duration

CLIENTS = 100
RATE = 5.0
WRITES = 10.0
WORK = 0.03  # so that there is something in flight when a node is killed
NODES = 3
EVERY = 3.0
# Where a user would look for it; another port if that is taken.
ADDRESSES = (
    ("client.bind", "127.0.0.1:7512", "127.0.0.1:0"),
    ("node.bind", "tcp://127.0.0.1:7510", "tcp://127.0.0.1:*"),
    ("admin.bind", "127.0.0.1:7513", "127.0.0.1:0"),
)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--for", dest="seconds", type=duration, default=math.inf, metavar="TIME", help="end after it, such as 20s"
    )
    add_json_argument(parser)


def _run(arguments: argparse.Namespace) -> int:
    from holdfast.chaos.main import run
    from holdfast.chaos.trial import Plan

    plan = Plan(
        seconds=arguments.seconds,
        clients=CLIENTS,
        rate=RATE,
        work=WORK,
        nodes=NODES,
        kinds=["kill"],
        every=EVERY,
        all_at_once=False,
        writes=WRITES,
        seed=random.randrange(1 << 32),
        sets=[f"{key}={usual if _is_free(usual) else other}" for key, usual, other in ADDRESSES],
    )
    return run(plan, "Holdfast demo", as_json=arguments.json)


def _is_free(address: str) -> bool:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
            probe.listen()
        except OSError:
            return False
    return True


COMMAND = Command(
    "demo",
    "see nodes die while clients notice nothing",
    _add_arguments,
    _run,
    "Starts a proxy, three nodes and clients that talk through it; kills a random node every few seconds and starts it "
    "anew. You can connect too. Exit status 1 if anything was lost.",
)
