"""Which of a node's functions takes a request.

A message of a client goes by a field of its JSON to what `on_message` has registered for it, first registered first,
else by the path of the client. An HTTP request goes by its path and method. Of several whose path fits the most
specific one that takes the method is it: word before parameter before `*`, then a method that is named before any. What
is taken by none is the rest's, or else refused: 404, and 405 over HTTP if only the method is wrong.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from difflib import SequenceMatcher
from typing import Any

import msgspec

from holdfast.node.errors import RequestError
from holdfast.node.function import said
from holdfast.node.request import Request
from holdfast.node.typed import Handler
from holdfast.protocols.errors import ConfigError
from holdfast.protocols.paths import Branch, Pattern, segments

Key = tuple[type, str | int | bool]  # True is 1 in Python, and not in JSON
Begin = Callable[[Request], Any]

METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}
TOKEN = re.compile(r"[\w!#$%&'*+.^`|~-]+", re.ASCII)  # RFC 9110 section 5.6.2
MAX_SHOWN = 80  # characters of what a client sent, in what it is told
EVERY = None  # in place of a method: all of them, and messages


def methods_of(method: object) -> tuple[str, ...]:
    """Those that a function is registered for: one, or several. Raises ConfigError for what is none, and for a slip."""
    several = [method] if isinstance(method, str) else method
    methods: dict[str, None] = {}
    for each in several if isinstance(several, Iterable) else [several]:
        if not (isinstance(each, str) and TOKEN.fullmatch(each)):
            raise ConfigError(f"a method is a word as GET, or there is a list of such, got {method!r:.80}")
        name = each.upper()
        for known in METHODS - {name}:  # WebDAV's, and those of others, are further away
            swapped = (known[:at] + known[at + 1] + known[at] + known[at + 2 :] for at in range(len(known) - 1))
            if name in swapped or SequenceMatcher(None, name, known).ratio() > 0.88:
                raise ConfigError(f"no client sends {each}; did you mean {known}?")
        methods[name] = None
    return tuple(methods)


def key_of(field: object, value: object) -> Key:
    """By which messages whose field has this value are found. Raises ConfigError."""
    if isinstance(field, str):
        for kind in (bool, int, str):
            if isinstance(value, kind):
                return kind, kind.__str__(value) if kind is str else kind(value)  # members of an enum are others
    if callable(field):
        raise ConfigError('on_message has a field and its value: @node.on_message("type", "move")')
    raise ConfigError(f"a message goes by a field and its text, number or bool, got {field!r:.80}, {value!r:.80}")


class Table:
    """Functions by path and method. rest: what takes all others."""

    def __init__(self) -> None:
        self._tree: Branch[dict[str | None, Handler]] = Branch()
        self.rest: Handler | None = None
        self.is_empty = True  # but for the rest

    def add(self, pattern: Pattern | None, methods: Sequence[str | None], handler: Handler) -> Handler | None:
        """Returns who has this place already, if so: then nothing is added."""
        if pattern is None:
            if self.rest is None:
                self.rest = handler
                return None
            return self.rest
        branch = self._tree.grow(pattern.words, is_open=pattern.is_open)
        place = branch.item = branch.item or {}
        former = next((place[method] for method in methods if method in place), None)
        if former is None:
            place |= dict.fromkeys(methods, handler)
            self.is_empty = False
        return former

    def take(self, method: str | None, path: str) -> tuple[Handler, list[str]] | None:
        """What takes it, and the values of the path's parameters. Raises RequestError (400) if they are no text."""

        def of(place: dict[str | None, Handler]) -> Handler | None:
            handler = place.get(method)
            if handler is None and method == "HEAD":
                handler = place.get("GET")
            return handler if handler is not None else place.get(EVERY)

        found = None if self.is_empty else self._tree.find(segments(path), of)
        if found is None:
            return None if self.rest is None else (self.rest, [])
        if "%" in path:
            _check_text(found[1], path)
        return found

    def methods(self, path: str) -> set[str]:
        """Those that something takes at this path."""
        methods: set[str] = set()

        def collect(place: dict[str | None, Handler]) -> None:
            methods.update(method for method in place if method is not None)

        self._tree.find(segments(path), collect)
        return methods | {"HEAD"} if "GET" in methods else methods


class Router:
    """All functions for requests of a node. Calling it begins the one that takes the request.

    tell: called with it before; None: nobody wants to know.
    """

    def __init__(self) -> None:
        self.tell: Callable[[Handler], None] | None = None
        self.table = Table()
        self._by_field: dict[str, dict[Key, Table]] = {}
        self._decode: Callable[[bytes], Any] | None = None

    def add(self, handler: Handler, path: Pattern | None, methods: Sequence[str]) -> None:
        """Raises ConfigError if there is one already."""
        former = self.table.add(path, methods or (EVERY,), handler)
        handler.route = path.path if path else ""
        if former is not None:
            what = f"{'/'.join(methods)} {path.path}".lstrip() if path else "every request that no route takes"
            _refuse(what, former, handler)

    def add_message(self, handler: Handler, field: str, key: Key, path: Pattern | None) -> None:
        """Raises ConfigError if there is one already."""
        values = self._by_field.setdefault(field, {})
        former = values.setdefault(key, Table()).add(path, (EVERY,), handler)
        handler.route = f"{field}={_shown(key[1])}" + (f" {path.path}" if path else "")
        if former is not None:
            what = f'messages with "{field}": {_quoted(key[1])}' + (f" at {path.path}" if path else "")
            _refuse(what, former, handler)
        names = [f"field_{number}" for number in range(len(self._by_field))]
        fields = [(name, Any, msgspec.UNSET) for name in names]
        kind = msgspec.defstruct("Fields", fields, rename=dict(zip(names, self._by_field, strict=True)))
        self._decode = msgspec.json.Decoder(kind).decode

    @property
    def begin(self) -> Begin | None:
        """What begins a request, with as little around as there is to decide. None: no function takes any."""
        rest = self.table.rest
        if self.table.is_empty and not self._by_field and (rest is None or self.tell is None):
            if rest is None or rest.has_more:
                return rest
            return rest.function.begin
        return self

    def __call__(self, request: Request) -> Any:  # noqa: ANN401 - the author's
        handler, values = self.find(request)
        if self.tell is not None:
            self.tell(handler)
        return handler(request, values)

    def find(self, request: Request) -> tuple[Handler, list[str]]:
        """What takes it, and the values of the path's parameters. Raises RequestError."""
        http = request.http
        path = request.client.path
        fields = self._fields(request.payload) if http is None and self._decode is not None else []
        for value, tables in zip(fields, self._by_field.values(), strict=False):  # none are told of what is no JSON
            table = tables.get((type(value), value)) if type(value) in (str, int, bool) else None
            if table is not None and (found := table.take(EVERY, path)) is not None:
                return found
        found = self.table.take(EVERY if http is None else http.method, path)
        if found is not None:
            return found
        if http is not None:
            raise self._why_not_http(http.method, path)
        raise RequestError(404, self._why_not(fields, path))

    def _fields(self, payload: bytes) -> list[Any]:
        """Those of a message by which functions are registered; none of one that is no JSON object."""
        assert self._decode is not None
        try:
            read = self._decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return []
        return [getattr(read, name) for name in read.__struct_fields__]

    def _why_not_http(self, method: str, path: str) -> RequestError:
        methods = self.table.methods(path)
        if not methods:
            return RequestError(404, f"nothing here takes {_shown(path)}")
        allowed = ", ".join(sorted(methods))
        return RequestError(405, f"{_shown(path)} takes {allowed}, got {_shown(method)}", headers={"allow": allowed})

    def _why_not(self, fields: Sequence[Any], path: str) -> str:
        if not self._by_field:
            return f"nothing here takes messages of clients at {_shown(path)}"
        if not fields:
            return "nothing here takes this message: expected JSON, an object"
        came = (
            f'"{name}"' + (" missing" if value is msgspec.UNSET else f": {_quoted(value)}")
            for name, value in zip(self._by_field, fields, strict=True)
        )
        return f"nothing here takes a message with {', '.join(came)}"


def _check_text(values: list[str], path: str) -> None:
    try:
        "".join(values).encode()
    except UnicodeEncodeError as error:
        raise RequestError(400, f"expected UTF-8 in the path, got {_shown(path)}") from error


def _refuse(what: str, former: Handler, handler: Handler) -> None:
    one, other = said(former.function.function), said(handler.function.function)
    raise ConfigError(f"one function takes {what}, and {one} is registered already: {other} can't be it too")


def _quoted(value: object) -> str:
    """With the quotes of a text: "1" is another value than 1."""
    return f'"{_shown(value)}"' if isinstance(value, str) else _shown(value)


def _shown(value: object) -> str:
    if value is None or isinstance(value, str | int | float):
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    else:
        text = "an object" if isinstance(value, dict) else "a list"
    return text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "..."
