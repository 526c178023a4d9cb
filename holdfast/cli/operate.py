"""holdfast status, nodes, clients, drain, kick: what an operator asks of a running proxy, through its admin server."""

import argparse
import signal
from collections.abc import Sequence
from urllib.parse import quote

from holdfast.cli.command import Command, add_admin_arguments, add_json_argument, count
from holdfast.console.admin_client import AdminClient
from holdfast.console.output import printable, say, say_done, say_json, say_table
from holdfast.protocols.errors import HoldfastError
from holdfast.proxy.views import ClientPage, ClusterView, Drained, Kicked, NodeList, NodeView, StatusView


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_admin_arguments(parser)
    add_json_argument(parser)


def _admin(arguments: argparse.Namespace) -> AdminClient:
    return AdminClient(arguments.admin, arguments.token)


def _status(arguments: argparse.Namespace) -> int:
    status = _admin(arguments).get("/api/status", StatusView)
    if arguments.json:
        say_json(status)
        return 0
    say(f"ready        {'yes' if status.ready else 'no: ' + printable(status.reason)}")
    master = status.master
    say(f"master       {printable(master.node or 'nobody')} (epoch {master.epoch})")
    for name in ("clients", "in_flight", "parked", "requests", "redelivered", "errors"):
        say(f"{name.replace('_', ' '):<12} {getattr(status, name)}")
    failover = status.last_failover
    if failover is not None:
        say(f"{'failover':<12} {failover * 1000:.1f} ms, the last one")
    say("")
    if status.cluster is not None:
        _proxies_table(status.cluster)
        say("")
    _nodes_table(status.nodes, master.node)
    return 0


def _proxies_table(cluster: ClusterView) -> None:
    say_table(
        ("PROXY", "STATE", "CLIENTS", "IN FLIGHT", "REQUESTS", "WORKER", "RESTARTS", "LAST EXIT", ""),
        (
            (
                proxy.id,
                "fenced" if proxy.fenced else "alive" if proxy.alive else "silent",
                proxy.clients,
                proxy.in_flight,
                proxy.requests,
                proxy.worker if proxy.worker >= 0 else "",
                proxy.restarts if proxy.worker >= 0 else "",
                _exit(proxy.last_exit) if proxy.restarts else "",
                "here" if proxy.id == cluster.here else "",
            )
            for proxy in cluster.members
        ),
    )


def _exit(status: int) -> str:
    """Why a worker ended."""
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _nodes(arguments: argparse.Namespace) -> int:
    admin = _admin(arguments)
    nodes = admin.get("/api/nodes", NodeList)
    if arguments.json:
        say_json(nodes)
    else:
        _nodes_table(nodes.nodes, admin.get("/api/status", StatusView).master.node)
    return 0


def _nodes_table(nodes: Sequence[NodeView], master: str | None) -> None:
    say_table(
        ("NODE", "NAME", "STATE", "IN FLIGHT", "CAPACITY", "PID", ""),
        (
            (
                node.id,
                node.name,
                node.state + (", ejected" if node.ejected else ""),
                node.in_flight,
                node.capacity,
                node.pid or "",
                "master" if node.id == master else "",
            )
            for node in nodes
        ),
    )


def _add_clients(parser: argparse.ArgumentParser) -> None:
    _add_common(parser)
    parser.add_argument("--limit", type=count, default=100, help="how many, at most 1000 (default: %(default)s)")
    parser.add_argument("--after", metavar="CLIENT", help="those with a greater id only: the next page")


def _clients(arguments: argparse.Namespace) -> int:
    after = "" if arguments.after is None else f"&after={quote(arguments.after, safe='')}"
    page = _admin(arguments).get(f"/api/clients?limit={arguments.limit}{after}", ClientPage)
    if arguments.json:
        say_json(page)
        return 0
    say_table(
        ("CLIENT", "PROTOCOL", "ADDRESS", "CONNECTED", "CHANNELS", "IN FLIGHT", "OUTBOX", "PATH"),
        (
            (
                client.id,
                client.protocol,
                client.address,
                f"{client.connected_for:.0f} s",
                client.channels,
                client.in_flight,
                client.outbox_bytes,
                client.path,
            )
            for client in page.clients
        ),
    )
    if page.elsewhere:
        here, others = printable(page.proxy), page.elsewhere
        say(f"at proxy {here}; {others} more are at others of its cluster: --admin asks another")
    if page.next:
        say(f"more: --after {printable(page.next)}")
    return 0


def _add_drain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("node", metavar="NODE", help="its id, or its name if no other node has that")
    _add_common(parser)


def _drain(arguments: argparse.Namespace) -> int:
    admin = _admin(arguments)
    node = _find_node(admin.get("/api/nodes", NodeList).nodes, arguments.node)
    result = admin.post(f"/api/nodes/{quote(node, safe='')}/drain", {}, Drained)
    say_done(f"{printable(node)} takes no new requests", result, json=arguments.json)
    return 0


def _find_node(nodes: Sequence[NodeView], wanted: str) -> str:
    ids = [node.id for node in nodes]
    if wanted in ids:
        return wanted
    named = [node.id for node in nodes if node.name == wanted]
    if not named:
        raise HoldfastError(f"no node has the id or name {wanted}: see `holdfast nodes`")
    if len(named) > 1:
        raise HoldfastError(f"{len(named)} nodes have the name {wanted}; give one of the ids: {', '.join(named)}")
    return named[0]


def _add_kick(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("client", metavar="CLIENT", help="its id, as `holdfast clients` shows it")
    parser.add_argument("--reason", default="", help="text for the client")
    _add_common(parser)


def _kick(arguments: argparse.Namespace) -> int:
    path = f"/api/clients/{quote(arguments.client, safe='')}/kick"
    result = _admin(arguments).post(path, {"reason": arguments.reason}, Kicked)
    say_done(f"{printable(result.client)} is disconnected", result, json=arguments.json)
    return 0


STATUS = Command(_add_common, _status)
NODES = Command(_add_common, _nodes)
CLIENTS = Command(_add_clients, _clients)
DRAIN = Command(_add_drain, _drain)
KICK = Command(_add_kick, _kick)
