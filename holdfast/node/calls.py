"""What this node is asked besides clients' requests: who may come in, that one client came or went, another's question.

Owns which function answers which kind, and what it is given and may give. Each is handled as a request is: it has a
deadline and is cancelled, what it does through the node travels with the answer, and if the node is lost another one
gets it, marked as redelivered.
"""

from collections.abc import Awaitable, Callable, Iterable
from math import inf
from operator import index
from typing import Any, NoReturn

import msgspec
from msgspec import Struct

from holdfast.node.clients import UNKNOWN
from holdfast.node.errors import RequestError
from holdfast.node.function import Function
from holdfast.node.plain import check_close_code, check_text, seconds_of
from holdfast.node.request import Client, Headers
from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes import carried, frames
from holdfast.protocols.nodes.calls import (
    ASK,
    CLOSE,
    CONNECT,
    MAX_JOINED,
    OPEN,
    PUBLISH,
    Admitted,
    decode_effects,
    encode_admitted,
)
from holdfast.protocols.nodes.effects import Effect
from holdfast.protocols.nodes.names import MAX_NAME


class Session(Struct, frozen=True):
    """What on_connect returns of a client that may come in.

    user: who it is; `client.user` at every node. data: what the application keeps of it, as JSON, see
    `Node.update`; `client.data`.
    channels: it is in them from the beginning. expires: seconds until the proxy ends its session; None: never.
    """

    user: str = ""
    data: Any = None
    channels: Iterable[str] = ()
    expires: float | None = None


class Refused(RequestError):
    """To be raised by on_connect: the client may not come in.

    status: of HTTP, 400 to 599, with which the handshake is refused. close_code: 4000 to 4999; with it the handshake of
    a WebSocket is completed, and closed at once with this code: browsers show pages nothing of a refused handshake.
    message: text for the client.
    """

    def __init__(self, status: int = 401, message: str = "not admitted", *, close_code: int = 0) -> None:
        super().__init__(status, message)
        self.code = index(close_code) and check_close_code(close_code)


class Question(Struct):
    """What another node asks. sender: its id. attempt: 1, and one more for each time that it was asked before, of a
    node, or through a proxy, that was lost. deadline: as of Request."""

    payload: bytes
    is_text: bool
    sender: str
    attempt: int
    deadline: float

    @property
    def redelivered(self) -> bool:
        """Whether another node may have begun with it."""
        return self.attempt > 1

    @property
    def text(self) -> str:
        """Raises RequestError (400) if it is no text."""
        try:
            return self.payload.decode()
        except UnicodeDecodeError as error:
            raise RequestError(400, "expected text") from error

    def json(self) -> Any:  # noqa: ANN401 - JSON can be anything
        """The payload, parsed. Raises RequestError (400), so that a function need not care."""
        try:
            return msgspec.json.decode(self.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RequestError(400, "expected JSON") from error


Call = Callable[..., Awaitable[None]]  # a function and its arguments: with a guard of its own around it
Begin = Callable[
    [frames.Call, Client, float, Call], Awaitable[Any]
]  # a call, whom it is about, its deadline; what it gives is the reply's body


class Calls:
    """What a node answers. put: does an effect, as the function that is being handled.

    Functions are of the author, and at most one of each kind but for open and close. takes: what a hello says.
    """

    def __init__(
        self,
        connect: Function | None,
        open: Iterable[Function],
        close: Iterable[Function],
        ask: Function | None,
        put: Callable[[Effect], Awaitable[None]],
    ) -> None:
        self._connect = connect
        self._open = list(open)
        self._close = list(close)
        self._ask = ask
        self._put = put
        kinds: dict[str, Begin] = {PUBLISH: self._publish}
        if connect is not None:
            kinds[CONNECT] = self._admit
        if self._open:
            kinds[OPEN] = self._opened
        if self._close:
            kinds[CLOSE] = self._closed
        if ask is not None:
            kinds[ASK] = self._answer
        self._kinds = kinds
        self.takes = list(kinds)

    def begin(self, frame: frames.Call, client: Client, deadline: float, call: Call) -> Awaitable[Any]:
        """Have it answered. call: a function that is not the only one."""
        return self._kinds.get(frame.kind, _unknown)(frame, client, deadline, call)

    async def _admit(self, frame: frames.Call, client: Client, deadline: float, call: Call) -> bytes:
        assert self._connect is not None
        session = await self._connect(client)
        if session is None:
            return b""
        if not isinstance(session, Session):
            raise TypeError(f"expected None or a Session of on_connect, got {type(session).__name__}")
        return encode_admitted(_admitted(session))

    async def _opened(self, frame: frames.Call, client: Client, deadline: float, call: Call) -> bytes:
        for function in self._open:
            await call(function, client)
        return b""

    async def _closed(self, frame: frames.Call, client: Client, deadline: float, call: Call) -> bytes:
        reason = frame.payload.decode(errors="replace") or UNKNOWN
        for function in self._close:
            await call(function, client, reason)
        return b""

    async def _answer(self, frame: frames.Call, client: Client, deadline: float, call: Call) -> Any:  # noqa: ANN401 - the author's
        assert self._ask is not None
        attempt = frame.before + frame.attempt
        result = await self._ask(Question(frame.payload, frame.is_text, frame.sender, attempt, deadline))
        return b"" if result is None else result

    async def _publish(self, frame: frames.Call, client: Client, deadline: float, call: Call) -> bytes:
        for effect in decode_effects(frame.payload):
            await self._put(effect)
        return b""


async def _unknown(frame: frames.Call, client: Client, deadline: float, call: Call) -> NoReturn:
    raise RequestError(501, f"this node answers no call of the kind {frame.kind}")


def client_of(frame: frames.Call) -> Client:
    """Whom it is about. Raises FrameError if what is said of it is no client."""
    if not frame.info:
        return Client(frame.client, "", "", "", Headers())
    return Client.of(frames.decode_client(frame.info), frame.before + frame.attempt > 1)


def _admitted(session: Session) -> Admitted:
    """As it goes to the proxy. Raises TypeError, ValueError for what can't."""
    user = check_text(session.user)
    if len(user) > MAX_NAME:
        raise ValueError(f"a user has at most {MAX_NAME} characters, got {len(user)}")
    if isinstance(session.channels, str):
        raise TypeError(f"expected a list of channels, got the string {session.channels!r}")
    channels = [check_text(channel) for channel in session.channels]
    if len(channels) > MAX_JOINED:
        raise ValueError(f"a client is in at most {MAX_JOINED} channels from the beginning, got {len(channels)}")
    expires = 0.0
    if session.expires is not None:
        expires = seconds_of(session.expires)
        if not 0 < expires < inf:
            raise ValueError(f"expected a number of seconds above 0, or None: never, got {session.expires!r:.80}")
    return Admitted(user, data_of(session.data), channels, expires)


def data_of(value: object) -> bytes:
    """What the application keeps of a client, as it is sent: JSON; b"" for None. Raises TypeError, ValueError."""
    if value is None:
        return b""
    try:
        data = msgspec.json.encode(value)
        carried.check(data)
    except RecursionError:
        raise ValueError(f"data of a client is nested at most {carried.MAX_DEPTH} deep") from None
    except FrameError as error:  # of ours there would be none: the proxy would end the session for it
        raise ValueError(str(error)) from error
    return data
