"""The running proxy, as the operator's side reads it: proxy.app."""

from typing import Protocol

from holdfast.balancer.cluster.cluster import Cluster
from holdfast.balancer.cluster.counting import Counted
from holdfast.balancer.directory import Directory
from holdfast.balancer.ledger import Ledger
from holdfast.balancer.links.base import Hub
from holdfast.balancer.registry import ClientRegistry
from holdfast.proxy.clients.budget import Budget
from holdfast.proxy.clients.clients import Clients
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.cluster.runner import Runner
from holdfast.proxy.config import Config
from holdfast.proxy.metrics import Counters
from holdfast.proxy.nodes.calls import Calls
from holdfast.proxy.nodes.dispatch import Dispatch
from holdfast.proxy.nodes.gateway import Gateway
from holdfast.proxy.nodes.router import Router
from holdfast.proxy.nodes.steward import Steward
from holdfast.proxy.realtime.channels import Channels
from holdfast.proxy.realtime.history import History
from holdfast.proxy.realtime.lanes import Lanes
from holdfast.proxy.views import Control


class Running(Protocol):
    """runner: None alone. router: None without routes. doing: what it does at present, in a word."""

    config: Config
    counters: Counters
    clients: Clients
    budget: Budget
    registry: ClientRegistry
    reactor: Reactor
    directory: Directory
    ledger: Ledger
    dispatch: Dispatch
    router: Router | None
    calls: Calls
    gateway: Gateway
    steward: Steward
    channels: Channels
    lanes: Lanes
    history: History
    cluster: Cluster
    runner: Runner | None

    @property
    def hub(self) -> Hub: ...

    @property
    def control(self) -> Control: ...

    def count(self, channel: str, told: Counted) -> bool:
        """Ask all proxies for the members of a channel. False: too much is being asked."""
        ...

    def kick(self, client: int, reason: str, told: Counted) -> bool:
        """Have another proxy close its client. False: it is nobody's but ours."""
        ...

    @property
    def doing(self) -> str: ...

    @property
    def is_serving(self) -> bool: ...

    @property
    def is_joining(self) -> bool: ...
