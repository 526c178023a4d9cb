"""What a table of 100 routes costs a request: `python -m bench.routes`. In one process, without sockets.

Of each kind the route is the last that could be it, so nothing is found early by luck. The least of several rounds.
"""

import sys
import time
from collections.abc import Callable
from math import inf

from holdfast.balancer.route import Handshake, Rule
from holdfast.balancer.routes import Routes
from holdfast.balancer.settings import RouteSettings

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


if __name__ == "__main__":
    main()
