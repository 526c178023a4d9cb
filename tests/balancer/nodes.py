"""Nodes for tests of what chooses between them: real ones, with a link that only keeps what it is given."""

from holdfast.balancer.directory import Directory, Node, NodeState, Pool, takes_requests
from holdfast.balancer.health import Health
from holdfast.balancer.policies import LeastInFlight
from holdfast.balancer.settings import BalanceSettings, RequestSettings
from holdfast.protocols.nodes.frames import Hello

SETTINGS = BalanceSettings(ejection_failures=2, ejection_time=10.0, ejection_max_share=0.5, slow_start=0.0)


class KeepingLink:
    def __init__(self):
        self.last_seen = 0.0
        self.is_blocked = False
        self.frames = []

    def send(self, frame):
        self.frames.append(frame)

    def close(self, reason, *, fatal=False): ...

    def break_off(self, why): ...

    def unsent(self):
        return self.frames


def make_node(name="n", capacity=4, weight=1.0, settings=SETTINGS):
    hello = Hello(1, name, "test", 1, capacity, weight)
    return Node(hello, KeepingLink(), Health(settings), 0.0)


def add_ready(directory: Directory, name="n", capacity=4, weight=1.0, settings=SETTINGS) -> Node:
    node = make_node(name, capacity, weight, settings)
    directory.add(node)
    directory.move(node, NodeState.READY)
    return node


def add_pool(directory, settings=None, ledger=None, takes=takes_requests):
    """A pool of these nodes, chosen as least in flight."""
    settings = settings or RequestSettings()
    redelivers = settings.redelivery == "auto"
    select = LeastInFlight().select
    pool = Pool("requests", takes, select, settings.timeout, settings.max_in_flight, redelivers, "no node")
    if ledger is None:
        directory.pools.append(pool)
    else:
        ledger.add_pool(pool)
    return pool
