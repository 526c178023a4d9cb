"""holdfast chaos: load, faults, and a report of everything that was lost."""

import argparse
import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from holdfast.cli.command import (
    Command,
    add_admin_arguments,
    add_config_arguments,
    add_json_argument,
    count,
    count_of_workers,
)
from holdfast.cli.durations import duration
from holdfast.protocols.errors import ConfigError
from holdfast.proxy.config.values import split_address

if TYPE_CHECKING:
    from holdfast.chaos.trial import Running

LISTENERS = 100


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    from holdfast.chaos import store
    from holdfast.chaos.faults import OPTIONAL_KINDS

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
        "--writes",
        type=_rate_or_none,
        default=20.0,
        metavar="X",
        help="changes of the nodes' shared state per second, by all clients together (default: 20)",
    )
    parser.add_argument(
        "--overload",
        type=_rate,
        default=0.0,
        metavar="X",
        help="nodes publish X times what can be delivered, all the while; how much that is is measured before",
    )
    parser.add_argument(
        "--burst", type=count, default=0, metavar="N", help="one more fault: a node publishes N messages at once"
    )
    parser.add_argument(
        "--listeners", type=count, metavar="N", help="clients that such messages are for (default: 100)"
    )
    parser.add_argument("--slow", type=_count_or_none, default=0, metavar="N", help="further ones, which do not read")
    parser.add_argument(
        "--proxies", type=count, default=1, metavar="N", help="proxies to start, several as a cluster (default: 1)"
    )
    parser.add_argument(
        "--workers",
        type=count_of_workers,
        default=1,
        metavar="N",
        help="workers of the one proxy, as of serve (default: 1)",
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
        help=f"what to do to nodes, proxies and the store, of {', '.join(OPTIONAL_KINDS)}, or none (default: kill; "
        "none with --connect)",
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
    from holdfast.chaos.deployment import OWN_ADDRESSES
    from holdfast.chaos.main import run
    from holdfast.chaos.trial import Plan

    running = _running(arguments)
    usual_kinds, usual_nodes = (["kill"], 3) if running is None else ([], 0)
    nodes = usual_nodes if arguments.nodes is None else arguments.nodes
    if running is None and not nodes:
        raise ConfigError("--nodes: without --connect at least one is needed")
    if running is not None and bool(nodes) != bool(running.node_address):
        raise ConfigError("with --connect, --nodes and --join go together")
    kinds = usual_kinds if arguments.kinds is None else arguments.kinds
    kinds = [*kinds, "burst"] if arguments.burst else kinds
    _check_cluster(arguments, kinds)
    _check_flood(arguments, nodes)
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
        workers=arguments.workers,
        writes=arguments.writes,
        overload=arguments.overload,
        burst=arguments.burst,
        listeners=(arguments.listeners or LISTENERS) if _has_flood(arguments) else 0,
        slow=arguments.slow,
        store=arguments.store or "sqlite",
        running=running,
    )
    return run(plan, "Holdfast chaos", as_json=arguments.json)


def _check_cluster(arguments: argparse.Namespace, kinds: Sequence[str]) -> None:
    """Raises ConfigError for what only proxies of its own, or only a cluster, have."""
    from holdfast.chaos import servers

    members = arguments.proxies * arguments.workers
    if arguments.connect is not None and (members > 1 or set(kinds) & set(servers.KINDS)):
        raise ConfigError("--connect has no proxies of its own")
    if min(arguments.proxies, arguments.workers) > 1:
        raise ConfigError("--workers are those of one proxy: not with --proxies")
    if members == 1 and arguments.store is not None:
        raise ConfigError("--store is for a cluster: see --proxies and --workers")
    if arguments.proxies < servers.LEAST and set(kinds) & set(servers.SINGLE_KINDS):
        raise ConfigError(f"--fault {', '.join(servers.SINGLE_KINDS)}: needs --proxies {servers.LEAST} or more")
    if "kill-store" in kinds and arguments.store != "redis":
        raise ConfigError("--fault kill-store: needs --store redis, a file can't be killed")
    if members == 1 and "skew" in kinds:
        raise ConfigError("--fault skew: needs a cluster, see --proxies and --workers")


def _has_flood(arguments: argparse.Namespace) -> bool:
    return bool(arguments.overload or arguments.burst)


def _check_flood(arguments: argparse.Namespace, nodes: int) -> None:
    """Raises ConfigError for what only a flood has, and only nodes of its own make."""
    if arguments.overload and arguments.burst:
        raise ConfigError("--overload and --burst: one of them")
    if not _has_flood(arguments) and (arguments.listeners or arguments.slow):
        raise ConfigError("--listeners and --slow are for --overload and --burst")
    if _has_flood(arguments) and (not nodes or arguments.connect is not None):
        raise ConfigError("--overload and --burst need a proxy and nodes of its own")


def _running(arguments: argparse.Namespace) -> "Running | None":
    from holdfast.chaos.trial import Running

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
    from holdfast.chaos.faults import OPTIONAL_KINDS

    kinds = [] if text == "none" else text.split(",")
    for kind in kinds:
        if kind not in OPTIONAL_KINDS:
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(OPTIONAL_KINDS)}, or none; got {kind}")
    return kinds


def _count_or_none(text: str) -> int:
    return 0 if text == "0" else count(text)


def _rate_or_none(text: str) -> float:
    return 0.0 if text == "0" else _rate(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return rate


COMMAND = Command(
    _add_arguments,
    _run,
    "Starts a proxy of its own, nodes, and clients that count; or uses a proxy that runs already, whose nodes must be "
    "of holdfast.chaos.node:node. `holdfast chaos --all-at-once` is the whole proof: 1,000 clients that each ask every "
    "100 ms, three nodes of which one is killed every 2 s for a minute, the master among them, then all three at once "
    "and one started again. The same for a cluster: `holdfast chaos --proxies 3 --store redis "
    "--fault kill,kill-proxy,kill-store,kill-together,freeze-node,freeze-proxy,restart,restart-kill,skew`. Publishing "
    "above capacity: `holdfast chaos --overload 3 --fault none`. Exit status 1 if a promise is broken.",
)
