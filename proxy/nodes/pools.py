"""The pools of clients' requests: that of all nodes, and one for each route of the configuration that has nodes."""

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from holdfast.balancer.directory import Node, Pool, takes_requests
from holdfast.balancer.ledger import Ledger
from holdfast.balancer.policies import POLICIES
from holdfast.balancer.route import takes_of
from holdfast.balancer.settings import BalanceSettings, RequestSettings, RouteSettings
from holdfast.proxy.nodes.routing_key import KeyOf, key_of


class Pools:
    """usual: for what no route takes. of_routes: in their order; None of a fixed answer. key_of: what sticky policies
    go by; None: no pool has such a policy."""

    def __init__(
        self, balance: BalanceSettings, request: RequestSettings, routes: Sequence[RouteSettings], ledger: Ledger
    ) -> None:
        self._balance = balance
        self._request = request
        self._ledger = ledger
        self.key_of: KeyOf | None = None
        self._of_nodes: dict[object, Pool] = {}  # the first of those that have the same
        everybody = frozenset[str](), frozenset[tuple[str, str]]()
        nobody = "no node that takes requests"
        self.usual = self._pool("requests", everybody, takes_requests, balance.policy, request, nobody)
        self.of_routes = [self._of(route) for route in routes]

    def _of(self, route: RouteSettings) -> Pool | None:
        if route.status:
            return None
        own = {"timeout": route.timeout, "redelivery": route.redelivery, "max_in_flight": route.max_in_flight}
        settings = replace(self._request, **{key: value for key, value in own.items() if value})
        whose = frozenset(route.nodes) - {"*"}, frozenset(route.labels.items())
        policy = route.policy or self._balance.policy
        nobody = f"no node of the route {route.name}"
        pool = self._pool(f"route {route.name}", whose, takes_of(route), policy, settings, nobody)
        pool.route = route.name
        return pool

    def _pool(
        self,
        name: str,
        whose: object,
        takes: Callable[[Node], bool],
        policy: str,
        settings: RequestSettings,
        nobody: str,
    ) -> Pool:
        """Each has a policy of its own: whose turn it is among other nodes tells nothing. whose: what `takes` goes by:
        a node that is full leaves as many lists as there are of that, not as there are routes."""
        chooser = POLICIES[policy]()
        if chooser.measured is not None:
            self._ledger.measured = chooser.measured
        if chooser.needs_key:
            self.key_of = key_of(self._balance.sticky_key)
        pool = Pool.of(name, takes, chooser.select, settings, nobody)
        self._ledger.add_pool(pool, self._of_nodes.get(whose))
        self._of_nodes.setdefault(whose, pool)
        return pool
