"""holdfast chaos: load, faults, and a report of everything that was lost."""

import argparse
import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from protocols.errors import ConfigError
from proxy.cli.command import Command, add_admin_arguments, add_config_arguments, add_json_argument, count
from proxy.cli.durations import duration
from proxy.config.values import split_address

if TYPE_CHECKING:
    from proxy.chaos.trial import Running


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    from proxy.chaos import store
    from proxy.chaos.faults import KINDS

    parser.add_argument(
        "--for", dest="seconds", type=duration, default=60.0, metavar="TIME", help="how long (default: 60s)"
    )
    parser.add_argument("--clients", type=count, default=1000, metavar="N", help="WebSocket clients (default: 1000)")
    parser.add_argument(
        "--rate", type=_rate, default=10.0, metavar="X", help="requests of each client per second (default: 10)"
    )
    parser.add_argument(
        "--work",
        type=duration,
        default=0.0,
        metavar="TIME",
        help="how long a node works on each request, so more of them are in flight when it is killed (default: none)",
    )
    parser.add_argument(
        "--proxies", type=count, default=1, metavar="N", help="proxies to start, several as a cluster (default: 1)"
    )
    parser.add_argument(
        "--store", choices=store.KINDS, help="of a cluster: a file, or a Redis that is started for it (default: sqlite)"
    )
    parser.add_argument("--nodes", type=_count_or_none, metavar="N", help="nodes to start (default: 3; --connect: 0)")
    parser.add_argument(
        "--fault",
        dest="kinds",
        type=_kinds,
        metavar="KIND,...",
        help=f"what to do to nodes, proxies and the store, of {', '.join(KINDS)}, or none (default: kill; none with "
        "--connect)",
    )
    parser.add_argument("--every", type=duration, default=2.0, metavar="TIME", help="between faults (default: 2s)")
    parser.add_argument(
        "--all-at-once", action="store_true", help="in the end kill all nodes at once, and start one, then the others"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="which faults hit which nodes; printed in the report")
    parser.add_argument("--connect", metavar="HOST:PORT", help="use the proxy that runs there; see --admin too")
    parser.add_argument("--join", metavar="ADDRESS", help="with --connect: where the nodes of --nodes join")
    add_config_arguments(parser)
    add_admin_arguments(parser)
    add_json_argument(parser)


def _run(arguments: argparse.Namespace) -> int:
    from proxy.chaos.deployment import OWN_ADDRESSES
    from proxy.chaos.main import run
    from proxy.chaos.trial import Plan

    running = _running(arguments)
    usual_kinds, usual_nodes = (["kill"], 3) if running is None else ([], 0)
    nodes = usual_nodes if arguments.nodes is None else arguments.nodes
    if running is None and not nodes:
        raise ConfigError("--nodes: without --connect at least one is needed")
    if running is not None and bool(nodes) != bool(running.node_address):
        raise ConfigError("with --connect, --nodes and --join go together")
    kinds = usual_kinds if arguments.kinds is None else arguments.kinds
    _check_cluster(arguments, kinds)
    plan = Plan(
        seconds=arguments.seconds,
        clients=arguments.clients,
        rate=arguments.rate,
        work=arguments.work,
        nodes=nodes,
        kinds=kinds,
        every=arguments.every,
        all_at_once=arguments.all_at_once,
        seed=random.randrange(1 << 32) if arguments.seed is None else arguments.seed,
        file=arguments.config,
        sets=[*arguments.sets, *OWN_ADDRESSES],
        proxies=arguments.proxies,
        store=arguments.store or "sqlite",
        running=running,
    )
    return run(plan, "Holdfast chaos", as_json=arguments.json)


def _check_cluster(arguments: argparse.Namespace, kinds: Sequence[str]) -> None:
    """Raises ConfigError for what only a cluster of its own has."""
    from proxy.chaos import servers

    if arguments.proxies > 1:
        if arguments.connect is not None:
            raise ConfigError("--proxies are proxies of its own, which --connect has none of")
        if arguments.proxies < servers.LEAST and set(kinds) & set(servers.KINDS):
            raise ConfigError(f"--fault: proxies and the store are killed of at least {servers.LEAST} proxies")
        if "kill-store" in kinds and arguments.store != "redis":
            raise ConfigError("--fault kill-store: needs --store redis, a file can't be killed")
        return
    if arguments.store is not None:
        raise ConfigError("--store is for a cluster: see --proxies")
    if set(kinds) & set(servers.KINDS):
        raise ConfigError(f"--fault {', '.join(servers.KINDS)}: needs --proxies {servers.LEAST} or more")


def _running(arguments: argparse.Namespace) -> "Running | None":
    from proxy.chaos.trial import Running

    if arguments.connect is None:
        if arguments.join is not None:
            raise ConfigError("--join is for --connect: nodes of its own proxy know where to join")
        return None
    if arguments.config is not None or arguments.sets:
        raise ConfigError("--config and --set are for a proxy of its own, not for that of --connect")
    try:
        split_address(arguments.connect)
    except ValueError as error:
        raise ConfigError(f"--connect: expected {error}, got {arguments.connect}") from error
    return Running(arguments.connect, arguments.admin, arguments.token, arguments.join)


def _kinds(text: str) -> list[str]:
    from proxy.chaos.faults import KINDS

    kinds = [] if text == "none" else text.split(",")
    for kind in kinds:
        if kind not in KINDS:
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(KINDS)}, or none; got {kind}")
    return kinds


def _count_or_none(text: str) -> int:
    return 0 if text == "0" else count(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return rate


COMMAND = Command(
    "chaos",
    "harm nodes and proxies, and report everything that is lost",
    _add_arguments,
    _run,
    "Starts a proxy of its own, nodes, and clients that count; or uses a proxy that runs already, whose nodes must be "
    "of proxy.chaos.node:node. `holdfast chaos --all-at-once` is the whole proof: 1,000 clients that each ask every "
    "100 ms, three nodes of which one is killed every 2 s for a minute, the master among them, then all three at once "
    "and one started again. The same for a cluster: `holdfast chaos --proxies 3 --store redis "
    "--fault kill,kill-proxy,kill-store,kill-together`. Exit status 1 if a promise is broken.",
)
