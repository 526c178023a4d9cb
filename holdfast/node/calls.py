"""What this node is asked besides clients' requests: who may come in, that one client came or went, another's question.

Owns which function answers which kind, and what it is given and may give. Each is handled as a request is: it has a
deadline and is cancelled, what it does through the node travels with the answer, and if the node is lost another one
gets it, marked as redelivered.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NoReturn

from holdfast.node.admission import Session
from holdfast.node.clients import UNKNOWN
from holdfast.node.errors import RequestError
from holdfast.node.function import Function, Whose
from holdfast.node.request import Client, Headers, Question
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import ASK, CLOSE, CONNECT, OPEN, PUBLISH, decode_effects, encode_admitted
from holdfast.protocols.nodes.effects import Effect

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

    def whose(self, frame: frames.Call) -> Whose:
        """Who answers it. Of several functions each is told of by itself."""
        function = {CONNECT: self._connect, ASK: self._ask}.get(frame.kind)
        return Whose(function.said if function is not None else "", frame.kind)

    async def _admit(self, frame: frames.Call, client: Client, deadline: float, call: Call) -> bytes:
        assert self._connect is not None
        session = await self._connect(client)
        if session is None:
            return b""
        if not isinstance(session, Session):
            name = self._connect.said
            raise TypeError(f"expected None or a Session of on_connect, got {type(session).__name__} of {name}")
        return encode_admitted(session._admitted())

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
