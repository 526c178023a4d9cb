"""What a table of 100 routes costs a request: `python -m bench.routes`. In one process, without sockets.

Of each kind the route is the last that could be it, so nothing is found early by luck. The least of several rounds.
Then what the ledger takes for a request and its reply, on top of one without routes, if each of the 100 has a limit.
"""

import sys
import time
from collections.abc import Callable
from math import inf
from typing import Any, cast

from holdfast.balancer.calls import Caller
from holdfast.balancer.directory import Directory, Node, Pool
from holdfast.balancer.health import Health
from holdfast.balancer.ledger import Ledger
from holdfast.balancer.route import Handshake, Rule
from holdfast.balancer.routes import Routes
from holdfast.balancer.settings import BalanceSettings, RequestSettings, RouteSettings
from holdfast.protocols.clients.events import Message
from holdfast.protocols.nodes.frames import VERSION, Hello
from holdfast.proxy.nodes.pools import Pools

COUNT = 100
ROUNDS = 20
CALLS = 2000
HEADERS = [
    ("host", "h99.example.org"),
    ("user-agent", "bench/1"),
    ("accept", "*/*"),
    ("cookie", "session=1"),
    ("x-beta", "99"),
]
MOVE = b'{"type":"t99","x":12,"y":7,"text":"' + b"x" * 100 + b'"}'


def table(make: Callable[[int], dict[str, object]]) -> Routes:
    return Routes([RouteSettings(f"r{n}", **make(n)) for n in range(COUNT)], [None] * COUNT)  # type: ignore[arg-type]


def request(routes: Routes, target: str) -> Callable[[], Rule | None]:
    return lambda: routes.of_request("GET", target, HEADERS, 7)


def message(routes: Routes) -> Callable[[], Rule | None]:
    plan = routes.plan(Handshake("websocket", "h99.example.org", "/p99", HEADERS), 7)
    return lambda: plan.take(MOVE)


WORKS: dict[str, Callable[[], Rule | None]] = {
    "HTTP, by path": request(table(lambda n: {"path": (f"/p{n}",)}), "/p99?a=b"),
    "HTTP, by pattern /p/{id}/rest": request(table(lambda n: {"path": (f"/p{n}/{{id}}/rest",)}), "/p99/1234/rest"),
    "HTTP, by pattern, all in one folder": request(table(lambda n: {"path": (f"/api/v1/p{n}/*",)}), "/api/v1/p99/a/b"),
    "HTTP, by host": request(table(lambda n: {"host": (f"h{n}.example.org",)}), "/"),
    "HTTP, by path and method": request(table(lambda n: {"path": (f"/p{n}",), "method": ("GET",)}), "/p99"),
    "HTTP, by 100 values of a header": request(table(lambda n: {"header": {"x-beta": str(n)}}), "/"),
    "a message, by path": message(table(lambda n: {"path": (f"/p{n}",)})),
    "a message, by field": message(table(lambda n: {"field": {"type": f"t{n}"}})),
}


def settled(kind: dict[str, object], *, usual: bool = False) -> Callable[[], object]:
    """A request and its reply. kind: the limits that each route has. usual: it is one that no route takes."""
    balance, section = BalanceSettings(), RequestSettings()
    ledger = Ledger(Directory(balance), section, 0)
    routes = [RouteSettings(f"r{n}", nodes=("a",), **kind) for n in range(COUNT)]  # type: ignore[arg-type]
    pools = Pools(balance, section, routes, ledger)
    pool = pools.usual if usual else cast("Pool", pools.of_routes[-1])
    node = Node(Hello(VERSION, "a", "a", 1, 1000), cast("Any", None), Health(balance), 0.0)
    asker, event, now = Caller(), Message(MOVE, True), 0.0

    def once() -> object:
        nonlocal now
        now += 1e-4  # 10,000 a second, and ten sweeps
        if not ledger.last_id % 1000:
            ledger.expire(now)
        entry = ledger.open(asker, event, pool, node, now)
        assert entry is not None
        return ledger.settle(entry.id, 1, node, now)

    return once


LIMITS: dict[str, dict[str, object]] = {
    "limits of their own: max_in_flight": {"max_in_flight": 20},
    "limits of their own: a shorter timeout": {"timeout": 5.0},
    "limits of their own: a longer timeout": {"timeout": 60.0},
}


def microseconds(work: Callable[[], object]) -> float:
    best = inf
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for _ in range(CALLS):
            work()
        best = min(best, time.perf_counter() - begun)
    return best / CALLS * 1e6


def main() -> None:
    empty = microseconds(lambda: None)
    for name, work in WORKS.items():
        rule = work()
        assert rule is not None, name
        assert rule.order == COUNT - 1, name
        sys.stdout.write(f"{name:<40} {microseconds(work) - empty:5.2f} us\n")
    plain = microseconds(settled({}, usual=True))
    for name, kind in LIMITS.items():
        sys.stdout.write(f"{name:<40} {microseconds(settled(kind)) - plain:5.2f} us\n")


if __name__ == "__main__":
    main()
