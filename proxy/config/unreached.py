"""Routes, and rules of channels, that are well formed and take nothing all the same: an earlier one takes all that they
would, or nobody here can ask what they want. Lines for `holdfast check`.
"""

import difflib
from collections.abc import Iterator, Sequence
from itertools import chain

from holdfast.balancer.channel_rules import ChannelRule
from holdfast.balancer.route import HTTP, Rule
from holdfast.balancer.settings import RouteSettings
from holdfast.protocols.channel_names import ChannelPattern
from holdfast.protocols.paths import Branch
from holdfast.proxy.config.sections import ClientSettings

ANY = "\0"  # a segment of a path that is no pattern's word
WEBSOCKET = "websocket"  # with http at each port of client.bind
# IANA's registry of them, and two that caches and servers have.
METHODS = frozenset(
    """ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE MKACTIVITY
    MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PRI PROPFIND PROPPATCH PUT REBIND
    REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL PURGE
    QUERY""".split()  # noqa: SIM905
)


def spoken(client: ClientSettings) -> list[str]:
    """The names of the protocols that clients can speak with a proxy of this configuration."""
    beside = (spec.partition(":")[0] for spec in (*client.protocols, *client.doors))
    return list(dict.fromkeys([HTTP, WEBSOCKET, *beside]))


def unreached(routes: Sequence[RouteSettings], client: ClientSettings) -> Iterator[str]:
    """All of them."""
    yield from unreachable(routes)
    for order, route in enumerate(routes):
        for line in unheard(route, client):
            yield f"{called(order, route)}: {line}"


def unheard(route: RouteSettings, client: ClientSettings) -> Iterator[str]:
    """What it wants that no request has."""
    here = spoken(client)
    for name in route.protocol:
        if name not in here:
            yield f"protocol: nobody speaks {name} here, but {', '.join(here)}; client.protocols has others"
    for name in route.subprotocol:
        if client.subprotocols and name not in client.subprotocols:
            yield f"subprotocol: nobody agrees on {name} here: client.subprotocols has {', '.join(client.subprotocols)}"
    for name in route.method:
        if name not in METHODS:
            close = difflib.get_close_matches(name, METHODS, n=1)
            yield f"method: {name} is no registered method of HTTP{f'; did you mean {close[0]}?' if close else ''}"


def unreachable(routes: Sequence[RouteSettings]) -> Iterator[str]:
    """Those of which an earlier one takes everything. Each is compared with those that may have its path."""
    tree: Branch[list[Rule]] = Branch()
    pathless: list[Rule] = []
    for order, route in enumerate(routes):
        rule = Rule(order, route, None)
        earlier = [*pathless]
        for pattern in rule.patterns[:1]:
            path = [ANY if word is None else word for word in pattern.words]
            earlier += chain.from_iterable(tree.all([*path, ANY] if pattern.is_open else path))
        cover = min((each.order for each in earlier if each.covers(rule)), default=None)
        if cover is not None:
            yield f"{called(order, route)} is never reached: {called(cover, routes[cover])} takes all that it would"
        if not rule.patterns:
            pathless.append(rule)
        for pattern in rule.patterns:
            branch = tree.grow(pattern.words, is_open=pattern.is_open)
            branch.item = branch.item or []
            branch.item.append(rule)


def rules_unreached(rules: Sequence[ChannelRule]) -> Iterator[str]:
    """Those of [[channel]] of which an earlier one takes every name. A second for a thousand of the longest."""
    patterns: list[ChannelPattern] = []
    for number, rule in enumerate(rules, start=1):
        pattern = ChannelPattern(rule.match)
        first = next((place for place, earlier in enumerate(patterns) if earlier.covers(pattern)), None)
        if first is not None:
            cover = f"channel {first + 1}, {patterns[first].text:.60}"
            yield f"channel {number}, {rule.match:.60}, is never reached: {cover}, takes all that it would"
        patterns.append(pattern)


def called(order: int, route: RouteSettings) -> str:
    """By its name, if it has one, and its place."""
    place = f"route {order + 1}"
    return place if route.name == place else f"{route.name} ({place})"
