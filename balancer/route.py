"""One route of the configuration: what a request must have to be taken by it, and whose nodes it is then for.

Pure. `why_not` is the plain definition of what a route takes, in words; the table of them, balancer.routes, is made for
speed, and a test compares the two.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Raw

from holdfast.balancer.directory import Node, Pool
from holdfast.balancer.policies import hash_key
from holdfast.balancer.settings import RouteSettings
from holdfast.protocols.paths import Pattern, segments

HTTP = "http"
# A message above that is taken by no route with a field: to look into one of 1 MB would take a millisecond.
MAX_LOOKED_INTO = 64 << 10
MAX_VALUE_BYTES = 4 << 10  # of a field in JSON: 512 bytes of a route, each as an escape; what is longer is none

Headers = Sequence[tuple[str, str]]
Field = tuple[type, str | int | bool]  # True is 1 in Python, and not in JSON


class Handshake(NamedTuple):
    """What a client's messages have in common. host, path: as `host_of` and
    `path_of` give them."""

    protocol: str
    host: str
    path: str
    headers: Headers
    subprotocol: str = ""


class Question(NamedTuple):
    """A request, for `explain`. method: "" of a message. client: its id; None: any."""

    handshake: Handshake
    method: str = ""
    payload: bytes = b""
    client: int | None = None


class Rule:
    """One route. order: its place. pool: of its nodes; None: it is a fixed answer. fields: those of a message.

    of_http, of_messages: whether it takes any of these. is_plain: there is no more to ask of a request that has its
    host and path. seed: of its share, its own, so that the shares of two routes are not the same clients.
    """

    __slots__ = (
        "domains", "fields", "headers", "hosts", "is_plain", "methods", "name", "of_http", "of_messages", "order",
        "patterns", "pool", "protocols", "seed", "settings", "share", "subprotocols",
    )  # fmt: skip

    def __init__(self, order: int, settings: RouteSettings, pool: Pool | None) -> None:
        self.order = order
        self.settings = settings
        self.pool = pool
        self.name = settings.name
        self.patterns = [Pattern(path) for path in settings.path]
        self.hosts = frozenset(host for host in settings.host if not host.startswith("*."))
        self.domains = tuple(host[1:] for host in settings.host if host.startswith("*."))
        methods = set(settings.method)
        self.methods = frozenset(methods | {"HEAD"} if "GET" in methods else methods)
        self.headers = tuple(settings.header.items())
        self.protocols = frozenset(settings.protocol)
        self.subprotocols = frozenset(settings.subprotocol)
        self.fields: dict[str, Field] = {name: (type(value), value) for name, value in settings.field.items()}
        self.share = settings.share
        self.seed = hash_key(settings.name.encode())
        can = self.protocols
        self.of_http = (not can or HTTP in can) and not (self.subprotocols or self.fields)
        self.of_messages = can != {HTTP} and not (self.methods or settings.redirect)
        self.is_plain = not (self.methods or self.headers) and self.share >= 100

    def __repr__(self) -> str:
        return f"<Rule {self.name}>"

    def admits(self, method: str, headers: Headers, client: int) -> bool:
        """Whether it takes what has its host, path and protocol. method: "" of a message."""
        if self.methods and method not in self.methods:
            return False
        for header in self.headers:
            if header not in headers:
                return False
        return self.share >= 100 or portion(self.seed, client) < self.share

    def has_host(self, host: str) -> bool:
        if host in self.hosts or not (self.hosts or self.domains):
            return True
        return bool(self.domains) and host.endswith(self.domains)

    def why_not(self, question: Question) -> str:
        """Why it does not take a request, in words; "": it does."""
        handshake, is_http = question.handshake, question.handshake.protocol == HTTP
        if self.protocols and handshake.protocol not in self.protocols:
            return f"the protocol is {handshake.protocol}, not {_any(self.protocols)}"
        if is_http and self.fields:
            return "a field is one of a message, and this is an HTTP request"
        if not is_http and self.methods:
            return "a method is one of an HTTP request, and this is a message"
        if not is_http and self.settings.redirect:
            return "only an HTTP request can be redirected, and this is a message"
        if self.methods and question.method not in self.methods:
            return f"the method is {question.method}, not {_any(self.methods)}"
        if not self.has_host(handshake.host):
            return f"the host is {handshake.host or 'not given'}, not {_any(self.settings.host)}"
        if self.patterns and not any(pattern.takes(segments(handshake.path)) for pattern in self.patterns):
            return f"the path is {handshake.path}, not {_any(self.settings.path)}"
        for name, value in self.headers:
            if (name, value) not in handshake.headers:
                came = [given for known, given in handshake.headers if known == name]
                return f"the header {name} is {' and '.join(came) or 'not given'}, not {value}"
        if self.subprotocols and handshake.subprotocol not in self.subprotocols:
            return f"the subprotocol is {handshake.subprotocol or 'none'}, not {_any(self.subprotocols)}"
        if self.fields and (why := _is_no_object(question.payload)):
            return why
        found = decoder_of(self.fields)(question.payload) if self.fields else {}
        for name, wanted in self.fields.items():
            if found.get(name) != wanted:
                return f"the message has not the field {msgspec.json.encode({name: wanted[1]}).decode()[1:-1]}"
        if question.client is not None and self.share < 100 and portion(self.seed, question.client) >= self.share:
            return f"the client is not among the {self.share:g} % that it takes"
        return ""

    def covers(self, other: "Rule") -> bool:
        """Whether nothing is left for the other one, if it comes after this."""
        if self.share < 100 or (other.of_http and not self.of_http) or (other.of_messages and not self.of_messages):
            return False
        if self.patterns and not (
            other.patterns and all(any(mine.covers(each) for mine in self.patterns) for each in other.patterns)
        ):
            return False
        if (self.hosts or self.domains) and not (
            other.settings.host and all(map(self.has_host, (host.lstrip("*") for host in other.settings.host)))
        ):
            return False
        return (
            _is_within(other.methods, self.methods)
            and _is_within(other.protocols, self.protocols)
            and _is_within(other.subprotocols, self.subprotocols)
            and set(self.headers) <= set(other.headers)
            and self.fields.items() <= other.fields.items()
        )


def takes_of(settings: RouteSettings) -> Callable[[Node], bool]:
    """Which nodes are a route's."""
    names, labels = frozenset(settings.nodes) - {"*"}, settings.labels.items()

    def takes(node: Node) -> bool:
        return node.takes_requests and (not names or node.name in names) and labels <= node.labels.items()

    return takes


def portion(seed: int, client: int) -> float:
    """Where between 0 and 100 a client is, by its id: always at the same place, and evenly spread."""
    mixed = ((seed ^ client) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 29)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    return (mixed ^ (mixed >> 32)) * (100 / 2**64)


def host_of(headers: Headers) -> str:
    """The host of a request, in lower case, without its port; "" if it has none."""
    for name, value in headers:
        if name == "host":
            host = value.partition("]")[0] + "]" if value.startswith("[") else value.partition(":")[0]
            return host.lower().rstrip(".")
    return ""


def path_of(target: str) -> str:
    """The path of a request's target, as it is written there; of a whole URL too (RFC 9112 section 3.2.2)."""
    path = target.partition("?")[0]
    if path[:1] != "/" and "://" in path:
        path = "/" + path.partition("://")[2].partition("/")[2]
    return path


def decoder_of(names: Iterable[str]) -> Callable[[bytes], Mapping[str, Field]]:
    """A function that reads these fields of a message: those that are a text, a whole number or a bool; none of what is
    no JSON object, or longer than MAX_LOOKED_INTO."""
    keys = {f"field_{number}": name for number, name in enumerate(names)}
    shape = msgspec.defstruct("Fields", [(key, Raw, Raw()) for key in keys], rename=keys)
    decode, decode_value = msgspec.json.Decoder(shape).decode, msgspec.json.Decoder().decode
    pairs = list(keys.items())

    def read(payload: bytes) -> Mapping[str, Field]:
        found: dict[str, Field] = {}
        if len(payload) > MAX_LOOKED_INTO:
            return found
        try:
            fields = decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return found
        for key, name in pairs:
            value = bytes(getattr(fields, key))
            if value and len(value) <= MAX_VALUE_BYTES and value[0] not in b"{[":
                try:
                    scalar = decode_value(value)
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    continue
                found[name] = (type(scalar), scalar)
        return found

    return read


def _is_no_object(payload: bytes) -> str:
    """Why a message has no fields at all; "" if it may have some."""
    if len(payload) > MAX_LOOKED_INTO:
        return f"the message has {len(payload)} bytes, and fields are looked for up to {MAX_LOOKED_INTO}"
    try:
        msgspec.json.decode(payload, type=dict[str, Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "the message is no JSON object, and has no fields"
    return ""


def _is_within(inner: frozenset[str], outer: frozenset[str]) -> bool:
    """Of conditions, each one of several: whether what meets the inner one meets the outer one."""
    return not outer or (bool(inner) and inner <= outer)


def _any(choices: Iterable[str]) -> str:
    return " or ".join(sorted(choices))
