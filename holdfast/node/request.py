"""What functions get and give: Request, its Client, and Reply; the Question of another node."""

import math
from collections.abc import AsyncIterable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, Protocol

import msgspec
from msgspec import Struct

from holdfast.node.errors import RequestError
from holdfast.node.fields import Fields, Form, cookies_of, query_of
from holdfast.node.traceparent import TRACEPARENT, ids_of
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.nodes import frames


class Dataclass(Protocol):
    """Any."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


Json = dict[str, Any] | list[Any] | tuple[Any, ...] | int | float | bool | Struct | Dataclass
Body = bytes | bytearray | memoryview | str | Json | None


class NoReply(Enum):
    """The type of NO_REPLY: `-> str | NoReply`."""

    NO_REPLY = "NO_REPLY"

    def __repr__(self) -> str:
        return "holdfast.NO_REPLY"


NO_REPLY = NoReply.NO_REPLY
"""To be returned by a handler: nothing is sent to a client of a message protocol, as for None. The request is settled,
and what the handler did is done. HTTP has to say something: there it is 204, No Content, where None is an empty 200."""


class Headers(list[tuple[str, str]]):
    """Headers as pairs, in the order they came, names in lower case; a name may come more than once."""

    __slots__ = ()

    def get(self, name: str, default: str | None = None) -> str | None:
        """The first value of `name`, in any case."""
        name = name.lower()
        for key, value in self:
            if key.lower() == name:
                return value
        return default

    def get_all(self, name: str) -> list[str]:
        """Every value of `name`, in any case, in order."""
        name = name.lower()
        return [value for key, value in self if key.lower() == name]


class _Untold:
    """In a Struct that is not to be sent: what JSON can't say, wherever it stands in a reply or a message. Headers have
    what a client proves itself with. The encoder's error has the name of the class."""

    def __repr__(self) -> str:
        return "..."


_Untold.__name__ = "Client, Request or HttpInfo (with all headers: send what you mean of it)"
_UNTOLD = _Untold()


class Client(Struct, frozen=True, eq=False):
    """A client of some proxy. Equal to another exactly if the ids are; an id is never used twice.

    protocol: what it speaks, such as "websocket" or "http". address: where it comes from. path, headers, query: of its
    handshake or request. The path is as the client sent it, percent signs and all; the query is what followed the "?",
    unparsed.
    user: who it is, as on_connect or its token says; "": nobody knows. redelivered: of one that is told by
    `on_open(once=True)` or `on_close(once=True)`, that another node may have been told before.
    """

    id: int
    protocol: str
    address: str
    path: str
    headers: Headers
    query: str = ""
    user: str = ""
    _data: bytes = b""
    _claims: bytes = b""
    redelivered: bool = False
    _untold: _Untold = _UNTOLD

    def __eq__(self, other: object) -> bool:
        return other.id == self.id if isinstance(other, Client) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def data(self) -> Any:  # noqa: ANN401 - JSON can be anything
        """What the application keeps of it, see `Session.data` and `Node.update`; None: nothing.

        Parsed whenever it is asked for: a fresh object each time, to change it changes nothing here. Raises
        HoldfastError if it can't be read: in a function that is called from very deep, say.
        """
        return _parsed(self._data) if self._data else None

    @property
    def claims(self) -> Mapping[str, Any]:
        """What its token says; {}: it has none. As `data`: parsed whenever they are asked for."""
        return _parsed(self._claims) if self._claims else {}

    @property
    def cookies(self) -> Fields:
        """As `Request.cookies`, for on_connect and others that have no request. Parsed whenever they are asked for."""
        return cookies_of(self.headers.get_all("cookie"))

    @classmethod
    def of(cls, client: frames.Client, redelivered: bool = False) -> "Client":
        """As it was told. What others say of it is not looked at before somebody asks: it is no fault of the link."""
        told = client.id, client.protocol, client.address, client.path, Headers(client.headers), client.query
        return cls(*told, client.user, client.data, client.claims, redelivered)


def _parsed(data: bytes) -> Any:  # noqa: ANN401 - JSON can be anything
    try:
        return msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise HoldfastError(f"what is said of the client can't be read: {error}") from error


class HttpInfo(Struct, frozen=True):
    """What an HTTP request has beside its body. target: path and query as on the request line, unparsed."""

    method: str
    target: str
    headers: Headers
    _untold: _Untold = _UNTOLD


class Handled(Protocol):
    """A request where it is handled: holdfast.node.exchange."""

    @property
    def id(self) -> int: ...

    async def flush(self) -> None:
        """Carry out what waits, and wait until that is done."""
        ...


class Content(Struct):
    """What a client, or another node, has said. payload: that. is_text: whether it came as text."""

    payload: bytes
    is_text: bool

    @property
    def text(self) -> str:
        """The payload as text. Raises RequestError (400) if it is no UTF-8; what `is_text` is."""
        try:
            return self.payload.decode()
        except UnicodeDecodeError as error:
            raise RequestError(400, "expected UTF-8 text") from error

    def json(self) -> Any:  # noqa: ANN401 - JSON can be anything
        """The payload, parsed. Raises RequestError (400), so that a function need not care."""
        try:
            return msgspec.json.decode(self.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RequestError(400, "expected JSON") from error


class Request(Content):
    """A message of a client, or an HTTP request if `http` is not None.

    payload: the message, or the body, decoded. is_text: whether it came as text; then it is valid UTF-8.
    attempt: 1, and one more for each time that a node was lost with it.
    deadline: when the proxy gives up (Trio's clock). The handler is cancelled then, without doing anything for it.
    """

    client: Client
    http: HttpInfo | None = None
    attempt: int = 1
    deadline: float = math.inf
    _exchange: "Handled | None" = None
    _query: Fields | None = None
    _cookies: Fields | None = None

    @property
    def id(self) -> int:
        """Equal for every delivery of this request, and for no other request: unlike an id that the client chose."""
        return self._exchange.id if self._exchange is not None else 0

    @property
    def redelivered(self) -> bool:
        """Whether another node may have begun with it. What that one did elsewhere (its database) is done."""
        return self.attempt > 1

    @property
    def path(self) -> str:
        """Of the HTTP request, or of the handshake of the client whose message it is: "/rooms/7", without the query."""
        return self.client.path

    @property
    def query(self) -> Fields:
        """What came with the path, by name: of "?room=7&room=8" `get("room")` is "7", `get_all("room")` both. Parsed
        when it is first asked for. Of a message it is that of the client's handshake."""
        if self._query is None:
            self._query = query_of(self.client.query)
        return self._query

    @property
    def cookies(self) -> Fields:
        """The client's cookies, with the request or with the handshake. Parsed when they are first asked for. What a
        browser sends is taken as it is (RFC 6265 section 5.4): values are not unquoted."""
        if self._cookies is None:
            self._cookies = self.client.cookies
        return self._cookies

    def form(self, *, max_parts: int = 1000, max_bytes: int = 16 << 20) -> Form:
        """The body as a form with fields and files: `application/x-www-form-urlencoded` or `multipart/form-data`.

        max_parts: fields and files together. max_bytes: of the body, which the proxy has bounded already
        (`client.max_body_bytes`). Raises RequestError, so that a handler need not care: 413 for more than these, 400
        for what is no form, 415 for another content type, and for a message; and 413 for one without files of more
        than 1 MiB. Parsed with each call: a file of 8 MiB takes 12 ms, and so do 1,000 fields; whatever comes within
        the bounds, 0.2 s.
        """
        from holdfast.node.form import parse  # nodes without forms need not load it

        content_type = self.http.headers.get("content-type", "") if self.http is not None else ""
        return parse(content_type or "", self.payload, max_parts, max_bytes)

    @property
    def traceparent(self) -> str | None:
        """The W3C `traceparent` that came with it, for what the handler asks elsewhere; of a message the one of its
        client's handshake. None: there was none, or what came is none. `tracestate` is among the headers.

        Where OpenTelemetry makes spans its own propagation knows better: the handler has a span of its own then.
        """
        header = self.client.headers.get(TRACEPARENT)
        return header if ids_of(header) is not None else None

    async def flush(self) -> None:
        """Carry out now what this handler did through the node so far, instead of with the reply; return when all
        proxies that the node is linked with have done it. One that stands still is linked for node.heartbeat_timeout.

        For what should be seen before a long handler returns. The price: it stays done if this node dies before it
        replies, and the request's next attempt does it again. After the deadline it ends the handler: it raises
        trio.Cancelled, or in a plain function StaleError.
        """
        if self._exchange is not None:
            await self._exchange.flush()


class Question(Content):
    """What another node asks. sender: its id. attempt: 1, and one more for each time that it was asked before, of a
    node, or through a proxy, that was lost. deadline: as of Request."""

    sender: str
    attempt: int
    deadline: float

    @property
    def redelivered(self) -> bool:
        """Whether another node may have begun with it."""
        return self.attempt > 1


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply with more to say than its body.

    body: as a handler may return it, or an async iterable of such parts. Each is sent as soon as it is there, and to a
    client of a message protocol it is a message of its own, but for None: that says nothing. What yields them must not
    do so within a cancel scope or nursery of its own (Trio's rule): that would cancel us. Over HTTP, where there is no
    body (a request with HEAD; status 204, 205, 304), none is asked for: the reply is its head, and what parts would do
    is not done.
    status, headers: for HTTP; protocols without them ignore both. 200 to 599.
    text: whether it goes as text; None: str, dict and list do, and bytes have the kind of their request.
    failed: it says that the handler has failed: what this one did through the node and has not flushed is dropped, as
    when it raises.
    """

    body: Body | AsyncIterable[Body] = None
    status: int = 200
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = ()
    text: bool | None = None
    failed: bool = False
