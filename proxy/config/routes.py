"""The routes of the configuration: `[[route]]` in the file becomes RouteSettings. Refuses what would do nothing, and
what no request and no node can have.

A refusal is a line: which route, which key, what was expected and what came.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any, TypeVar

from msgspec import Struct
from msgspec.structs import fields

from holdfast.balancer.route import HTTP, Rule
from holdfast.balancer.settings import BalanceSettings, RequestSettings, RouteSettings
from holdfast.protocols.clients.base import ReplyHead
from holdfast.protocols.clients.http_reply import ReplyWriter
from holdfast.protocols.errors import ConfigError, ProtocolError
from holdfast.protocols.nodes.names import fault_of
from holdfast.protocols.paths import Pattern
from holdfast.proxy.config.keys import Key, Kind
from holdfast.proxy.config.values import convert, to_toml

ItemT = TypeVar("ItemT")

MAX_ROUTES = 1000
NOTHING = RouteSettings("")
MAX_TEXT = 1024  # characters: of a name, a header's value, a field's
MAX_BODY = 64 << 10  # bytes: it is sent to whoever asks
REDIRECTS = (301, 302, 303, 307, 308)
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
A_HOST = "a host without scheme, port and path, as example.org or *.example.org"
HOST = re.compile(r"(\*\.)?(([a-z0-9_-]+\.)*[a-z0-9_-]+|\[[0-9a-f:.]+\])")
# A path never begins with two slashes, and {target} is one: a browser takes what follows for a host, \ for a slash.
REDIRECT = re.compile(r"(https?://[^/\\\s{}?#]+(?![^/\s{}?#])|/(?![/\\]|\{target\}))([^\s{}]|\{target\})*")
# What a route asks of a request, and what it does with it; the name is neither.
DOES = ("nodes", "labels", "policy", "timeout", "redelivery", "max_in_flight", "status", "redirect")
OF_NODES = ("nodes", "labels", "policy", "timeout", "redelivery", "max_in_flight")
OF_ANSWERS = ("body", "headers")

KEYS: dict[str, tuple[str, str]] = {
    "name": ("text", "What logs, metrics and messages call it. Default: `route 3` for the third."),
    "path": (
        "pattern, or a list",
        "Of the path, as in a node: `/rooms/{id}`, a parameter for a segment; `/static/*`, with all that follows.",
    ),
    "host": (
        "name, or a list",
        "Of the Host header, without its port: `example.org`, or `*.example.org` for all below.",
    ),
    "method": ("method, or a list", "Of an HTTP request; GET is HEAD too."),
    "header": (
        "`Name: value`, a list, or a table",
        "Each of these headers has exactly this value.",
    ),
    "protocol": ("name, or a list", "`http` for HTTP requests, `websocket` or another protocol for its messages."),
    "subprotocol": ("name, or a list", "What the handshake of a WebSocket has agreed on."),
    "field": (
        "table",
        "Of a message that is a JSON object, of at most 64 KiB: each of these fields is exactly this text, whole "
        'number or bool: `{type = "move"}`.',
    ),
    "share": ("per cent", "Of the clients; the others go on to the next route. Default: 100."),
    "nodes": ("name, or a list", "Nodes of this name take it; `*`: all."),
    "labels": ("table", "Nodes with all of these labels take it."),
    "policy": ("as `balance.policy`", "Which of them."),
    "timeout": ("seconds", "As `request.timeout`, for these requests."),
    "redelivery": ("`auto`, `never`", "As `request.redelivery`, for these requests."),
    "max_in_flight": ("", "As `request.max_in_flight`, for these requests alone."),
    "status": ("200 to 599", "A fixed answer, without any node. With `redirect`: 301, 302, 303, 307 (default) or 308."),
    "body": ("text", "Of the fixed answer."),
    "headers": ("table", "Of the fixed answer. Content-Type is `text/plain; charset=utf-8` if it is not among them."),
    "redirect": (
        "URL",
        "Where the client is sent: `https://...`, or a path; `{target}` in it is path and query of the request, with "
        "the slash that they begin with: `/new{target}`.",
    ),
}


class Read(Struct):
    """What the tables of a file are. problems: lines; if there are any, the routes are not all."""

    routes: tuple[RouteSettings, ...] = ()
    problems: list[str] = []


def read(tables: object) -> Read:
    """The value of `route` in a file."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        return Read(problems=["expected routes as [[route]], with two brackets"])
    if len(tables) > MAX_ROUTES:
        return Read(problems=[f"expected at most {MAX_ROUTES} routes, got {len(tables)}"])
    routes: list[RouteSettings] = []
    problems: list[str] = []
    names: set[str] = set()
    for number, table in enumerate(tables, start=1):
        values: dict[str, Any] = {"name": f"route {number}"}
        found = list(_convert(table, values))
        route = None if found else RouteSettings(**values)
        if route is not None:
            found = list(_broken(route, table))
        if isinstance(name := table.get("name"), str) and name:
            found = [f"{problem} (route {number}, {to_toml(name):.60})" for problem in found]
        else:
            found = [f"{problem} (route {number})" for problem in found]
        problems += found
        if route is not None:
            if route.name in names:
                problems.append(f"name: {to_toml(route.name)} is another route's, too (route {number})")
            names.add(route.name)
            routes.append(route)
    return Read(tuple(routes), problems)


def _convert(table: Mapping[str, object], values: dict[str, Any]) -> Iterator[str]:
    """Fill in the values of the keys; what is wrong with each by itself."""
    for key, value in table.items():
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1)
            yield f"no such key {key:.60}{f'; did you mean {close[0]}?' if close else ''}"
            continue
        try:
            values[key] = _CONVERT[key](value)
        except ValueError as error:
            yield f"{key}: expected {error}, got {_shown(value)}"
        except ConfigError as error:
            yield f"{key}: {error}"
    if "redirect" in values:
        values.setdefault("status", 307)


def _broken(route: RouteSettings, given: Mapping[str, object]) -> Iterator[str]:
    """What is wrong with the keys together."""
    if not any(key in given for key in DOES):
        yield f'nothing to do: expected one of {", ".join(DOES)}; nodes = "*" for every node'
    if route.status:
        for key in OF_NODES:
            if key in given:
                yield f"{key}: expected none beside {'redirect' if route.redirect else 'status'}, which is an answer"
    else:
        for key in OF_ANSWERS:
            if key in given:
                yield f"{key}: expected status, or none of it"
    if route.redirect and route.status not in REDIRECTS:
        yield f"status: expected one of {', '.join(map(str, REDIRECTS))} for a redirect, got {route.status}"
    if route.body and route.status in (204, 205, 304):
        yield f"body: expected none with status {route.status}"
    try:
        head = ReplyHead(route.status or 200, list(route.headers.items()))
        ReplyWriter(False, False, True).write(head, b"", False, False)
    except ProtocolError as error:
        yield f"headers: {error}"
    rule = Rule(0, route, None)
    if not (rule.of_http or rule.of_messages):
        yield "takes nothing: " + _contradiction(route)


def _contradiction(route: RouteSettings) -> str:
    """What it wants that no request has together."""
    of_http = [f"protocol {HTTP}"] if set(route.protocol) == {HTTP} else []
    of_http += [key for key in ("method", "redirect") if getattr(route, key)]
    of_messages = [key for key in ("field", "subprotocol") if getattr(route, key)]
    if not of_messages:
        of_messages = [f"protocol {' and '.join(route.protocol)}"]
    return f"HTTP requests alone have {' and '.join(of_http)}, messages alone {' and '.join(of_messages)}"


# --- values -------------------------------------------------------------------------------------------------------


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > MAX_TEXT or not value.isprintable():
        raise ValueError(f"text of 1 to {MAX_TEXT} characters that can be printed")
    return value


def _texts(check: Callable[[str], str]) -> Callable[[object], tuple[str, ...]]:
    def read(value: object) -> tuple[str, ...]:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not items or not all(isinstance(item, str) for item in items):
            raise ValueError("text, or a list of texts")
        return tuple(check(item) for item in items)

    return read


def _path(text: str) -> str:
    return Pattern(_text(text)).path


def _host(text: str) -> str:
    host = text.lower()
    if not HOST.fullmatch(host):
        raise ValueError(A_HOST if host.isascii() else f"{A_HOST}, in ASCII, as xn--bcher-kva.example")
    if host.startswith("["):
        try:
            ip_address(host[1:-1])
        except ValueError:
            raise ValueError("an address of IPv6 in brackets, as [2001:db8::1]") from None
    return host


def _token(text: str) -> str:
    if not TOKEN.fullmatch(text):
        raise ValueError("a word as headers have it")
    return text


def _headers(value: object) -> dict[str, str]:
    if isinstance(value, str | list):
        pairs = [item.partition(":") for item in _texts(_text)(value)]
        if not all(colon for _, colon, _ in pairs):
            raise ValueError('"Name: value", a list of these, or {Name = "value"}')
        value = {name.strip(): text.strip() for name, _, text in pairs}
    if not isinstance(value, dict) or not value:
        raise ValueError('"Name: value", a list of these, or {Name = "value"}')
    return {_item("name", name, _token): _item(name, text, _header_value) for name, text in value.items()}


def _header_value(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not all(" " <= c <= "~" or c >= "\xa0" for c in value):
        raise ValueError(f"a header's value as text, of at most {MAX_TEXT} characters")
    return value


def _wanted_headers(value: object) -> dict[str, str]:
    return {name.lower(): _item(name, text, _received) for name, text in _headers(value).items()}


def _received(text: str) -> str:
    if any(character > "\xff" for character in text):
        raise ValueError("what a header can bring, characters of ISO 8859-1")
    return text.strip()


def _fields(value: object) -> dict[str, str | int | bool]:
    if not isinstance(value, dict) or not value:
        raise ValueError('a table, as {type = "move"}')
    if not all(0 < len(name) <= MAX_TEXT for name in value):
        raise ValueError(f"names of 1 to {MAX_TEXT} characters")
    return {name: _item(name, wanted, _field) for name, wanted in value.items()}


def _field(value: object) -> str | int | bool:
    if not isinstance(value, str | int):
        raise ValueError("a text, a whole number, true or false")
    if len(str(value).encode()) > MAX_TEXT // 2:
        raise ValueError(f"a value of at most {MAX_TEXT // 2} bytes")
    return value


def _labels(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not value:
        raise ValueError('a table, as {version = "2"}')
    labels = {_item("name", name, _text): _item(name, wanted, _label) for name, wanted in value.items()}
    _check_node("a", labels)
    return labels


def _label(value: object) -> str:
    return _text(str(value) if type(value) is int else value)


def _node(name: str) -> str:
    _check_node(_text(name), {})
    return name


def _check_node(name: str, labels: Mapping[str, str]) -> None:
    """Raises ConfigError for what none can have."""
    if fault := fault_of("a", name, labels):
        raise ConfigError(fault)


def _item(name: str, value: object, check: Callable[[Any], ItemT]) -> ItemT:
    """One of a table. Raises ConfigError that names it."""
    try:
        return check(value)
    except ValueError as error:
        shown = name if TOKEN.fullmatch(name) else to_toml(name)
        raise ConfigError(f"{shown:.60}: expected {error}, got {_shown(value)}") from None


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 100:
        raise ValueError("per cent, above 0 up to 100")
    return float(value)


def _status(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 200 <= value <= 599:
        raise ValueError("a status from 200 to 599")
    return value


def _body(value: object) -> str:
    if not isinstance(value, str) or len(value.encode(errors="replace")) > MAX_BODY:
        raise ValueError(f"text of at most {MAX_BODY} bytes")
    return value


def _redirect(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isascii() or not REDIRECT.fullmatch(value):
        raise ValueError(
            "https://HOST/..., http://HOST/... or a path, with {target} for the request's path and query, from its / on"
        )
    return value


def _as(section: type[Struct], key: str, kind: Kind) -> Callable[[object], Any]:
    """As that key of a section."""
    type_ = next(field.type for field in fields(section) if field.name == key)
    return lambda value: convert(value, type_, Key(kind, ""))


_CONVERT: dict[str, Callable[[object], Any]] = {
    "name": _text,
    "path": _texts(_path),
    "host": _texts(_host),
    "method": _texts(lambda text: _token(text).upper()),
    "header": _wanted_headers,
    "protocol": _texts(_token),
    "subprotocol": _texts(_token),
    "field": _fields,
    "share": _share,
    "nodes": _texts(_node),
    "labels": _labels,
    "policy": _as(BalanceSettings, "policy", Kind.CHOICE),
    "timeout": _as(RequestSettings, "timeout", Kind.SECONDS),
    "redelivery": _as(RequestSettings, "redelivery", Kind.CHOICE),
    "max_in_flight": _as(RequestSettings, "max_in_flight", Kind.COUNT),
    "status": _status,
    "body": _body,
    "headers": _headers,
    "redirect": _redirect,
}


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return "a table"
    text = to_toml(value) if isinstance(value, str | int | float) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def as_toml(route: RouteSettings) -> Iterator[str]:
    """Its keys as a file has them, a line each: its name, and those that are not as by default."""
    for key in RouteSettings.__struct_fields__:
        value = getattr(route, key)
        if value != getattr(NOTHING, key):
            yield f"{key} = {_inline(value) if isinstance(value, dict) else to_toml(value)}"


def _inline(table: Mapping[str, object]) -> str:
    return "{" + ", ".join(f"{to_toml(key)} = {to_toml(value)}" for key, value in table.items()) + "}"
