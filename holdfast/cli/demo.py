"""holdfast demo: a proxy, nodes that are killed all the time, and clients that notice nothing."""

import argparse
import math
import random

from holdfast.cli.addresses import addresses
from holdfast.cli.command import Command, add_json_argument
from holdfast.cli.durations import duration

CLIENTS = 100
RATE = 5.0
WRITES = 10.0
WORK = 0.03  # so that there is something in flight when a node is killed
NODES = 3
EVERY = 3.0


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
        sets=[f"{key}={address}" for key, address in addresses().items()],
    )
    return run(plan, "Holdfast demo", as_json=arguments.json)


COMMAND = Command(
    _add_arguments,
    _run,
    "Starts a proxy, three nodes and clients that talk through it; kills a random node every few seconds and starts it "
    "anew. You can connect too. Exit status 1 if anything was lost.",
)
