"""What the listener asks of the kernel. Accepting itself is in test_limits and test_http_way."""

import socket
import subprocess
import sys

import pytest
import trio
from structlog.testing import capture_logs

from holdfast.balancer.links.door import MAX_STRANGERS
from holdfast.protocols.clients.http import HttpProtocol
from holdfast.proxy.admin.server import MAX_CONNECTIONS
from holdfast.proxy.clients import listener
from holdfast.proxy.clients.clients import Clients, random_prefix
from holdfast.proxy.clients.listener import Listener, bind, fit_connections
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.config import ClientSettings, Config
from holdfast.proxy.metrics import Counters
from tests.harness import running
from tests.proxy.cluster.proxies import QUICK

SCRIPT = """
from pathlib import Path
from holdfast.proxy.clients.listener import RESERVED_DESCRIPTORS, raise_descriptor_limit

def table_size():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "FDSize" in line)

before = table_size()
opened = set(Path("/proc/self/fd").iterdir())
fit = raise_descriptor_limit(before)
print(before, table_size(), fit, RESERVED_DESCRIPTORS, set(Path("/proc/self/fd").iterdir()) == opened)
"""


def test_the_table_of_descriptors_is_as_large_at_once_as_it_may_become():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    before, after, fit, reserved, leaves_none_open = done.stdout.split()
    assert int(fit) >= int(before)
    assert int(after) >= int(before) + int(reserved)
    assert leaves_none_open == "True"


@pytest.mark.parametrize(
    ("configured", "room", "expected", "level"),
    [(None, 10**6, None, None), (None, 100, 100, "info"), (30_000, 100, 100, "warning"), (50, 100, 50, None)],
)
def test_only_who_has_asked_for_more_clients_than_fit_is_warned(configured, room, expected, level, monkeypatch):
    monkeypatch.setattr(listener, "raise_descriptor_limit", lambda wanted, others: room)
    settings = ClientSettings() if configured is None else ClientSettings(max_connections=configured)
    with capture_logs() as lines:
        assert fit_connections(settings, 10) == (expected or settings.max_connections)
    assert [line["log_level"] for line in lines] == [level] * (level is not None)


@pytest.mark.parametrize("store", ["memory", "sqlite"])
async def test_who_is_no_client_has_descriptors_too(store, monkeypatch, tmp_path):
    """Nodes, callers of the admin server and strangers; in a cluster they come to a second port as well."""
    monkeypatch.setattr(listener.resource, "getrlimit", lambda which: (60_000, 60_000))
    monkeypatch.setattr(listener.resource, "setrlimit", lambda which, limits: None)
    monkeypatch.setattr(listener, "_make_room_for_descriptors", lambda count: None)
    others = {}
    for nodes in (100, 1100):
        sections = {"client": {"max_connections": 60_000}, "node": {"max_nodes": nodes}}
        if store == "sqlite":
            sections |= {"store": {"kind": store, "path": str(tmp_path / f"{nodes}")}, "cluster": dict(QUICK)}
        async with running(**sections) as proxy:
            others[nodes] = 60_000 - listener.RESERVED_DESCRIPTORS - proxy.app.clients.max_connections
    ports = 1 if store == "memory" else 2
    assert others[1100] - others[100] == 1000 * ports
    assert others[100] >= MAX_CONNECTIONS + (100 + MAX_STRANGERS) * ports


async def test_who_is_in_the_queue_when_a_port_is_closed_is_a_client():
    """A listening socket that is closed resets whoever waits there."""
    reactor = Reactor()
    clients = Clients(Config().client, HttpProtocol, reactor, Counters(), random_prefix(), lambda id: None)
    listener = Listener(bind("127.0.0.1:0", reuse_port=False, send_buffer_bytes=0), clients, None)
    listener.listen(10)
    host, port = listener.address.split(":")
    others = [socket.create_connection((host, int(port)), timeout=10) for _ in range(3)]
    with trio.CancelScope() as scope:
        scope.cancel()
        await listener.run()
    assert len(clients.connections) == 3
    clients.close()
    reactor.close()
    for other in others:
        other.close()
