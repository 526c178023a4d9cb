"""What this node is asked besides clients' requests: who may come in, that one client came or went, another's question.

Owns which function answers which kind, and what it is given and may give. Each is handled as a request is: it has a
deadline and is cancelled, what it does through the node travels with the answer, and if the node is lost another one
gets it, marked as redelivered.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, NoReturn

from holdfast.node.admission import Refused, Session
from holdfast.node.channel_functions import ChannelFunctions
from holdfast.node.clients import UNKNOWN
from holdfast.node.effects import BINARY, encode
from holdfast.node.errors import RequestError
from holdfast.node.function import Function, Whose, check_result
from holdfast.node.request import NO_REPLY, Client, Headers, Question, Reply
from holdfast.node.subscribing import ChannelRequest, PublishRequest, SubscribeRequest, Subscription, sender_of
from holdfast.node.typed import Handler
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import (
    ASK,
    CLOSE,
    CONNECT,
    OPEN,
    PUBLICATION,
    PUBLISH,
    SUBSCRIBE,
    Granted,
    decode_effects,
    encode_admitted,
    encode_granted,
)
from holdfast.protocols.nodes.effects import Effect, Notify

Call = Callable[..., Awaitable[None]]  # a function and its arguments: with a guard of its own around it
Begin = Callable[
    [frames.Call, Client, float, Call], Awaitable[Any]
]  # a call, whom it is about, its deadline; what it gives is the reply's body


class Calls:
    """What a node answers. put: does an effect, as the function that is being handled.

    Functions are of the author, and at most one of each kind but for open, close and those of channels. takes: what a
    hello says.
    """

    def __init__(
        self,
        connect: Function | None,
        open: Iterable[Function],
        close: Iterable[Function],
        ask: Function | None,
        subscribe: ChannelFunctions,
        publish: ChannelFunctions,
        put: Callable[[Effect], Awaitable[None]],
    ) -> None:
        self._connect = connect
        self._open = list(open)
        self._close = list(close)
        self._ask = ask
        self._channels = {SUBSCRIBE: subscribe, PUBLICATION: publish}
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
        if subscribe:
            kinds[SUBSCRIBE] = self._subscribe
        if publish:
            kinds[PUBLICATION] = self._published
        self._kinds = kinds
        self.takes = list(kinds)

    def begin(self, frame: frames.Call, client: Client, deadline: float, call: Call) -> Awaitable[Any]:
        """Have it answered. call: a function that is not the only one."""
        return self._kinds.get(frame.kind, _unknown)(frame, client, deadline, call)

    def whose(self, frame: frames.Call) -> Whose:
        """Who answers it. Of several functions each is told of by itself."""
        functions = self._channels.get(frame.kind)
        if functions is not None:
            try:
                handler, _ = functions.find(frame.channel, is_filter=frame.is_filter)
            except Refused:
                return Whose("", frame.kind)
            return Whose(handler.function.said, handler.route)
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

    async def _subscribe(self, frame: frames.Call, client: Client, deadline: float, call: Call) -> Reply:
        handler, values = self._channels[SUBSCRIBE].find(frame.channel, is_filter=frame.is_filter)
        asked = frame.payload, frame.is_text, frame.channel, client, frame.before + frame.attempt
        word = await _result(handler, SubscribeRequest(*asked, frame.token, frame.is_filter), values)
        if word is True:
            return Reply(encode_granted(Granted()), text=False)
        if isinstance(word, Subscription):
            return Reply(encode_granted(word._granted()), text=False)
        if word is None or word is False:
            raise Refused(403, "not allowed")
        expected = "expected True, False or a Subscription of on_subscribe"
        raise TypeError(f"{expected}, got {type(word).__name__} of {handler.function.said}")

    async def _published(self, frame: frames.Call, client: Client, deadline: float, call: Call) -> bytes:
        handler, values = self._channels[PUBLICATION].find(frame.channel)
        asked = frame.payload, frame.is_text, frame.channel, client, frame.before + frame.attempt
        said = await _result(handler, PublishRequest(*asked), values)
        if said is not NO_REPLY:
            is_bytes = said is None or isinstance(said, BINARY)
            payload, is_text = encode(frame.payload if said is None else said, frame.is_text if is_bytes else None)
            if is_text and said is not None and is_bytes:
                payload.decode()  # else no client would get it, and nobody would say so
            await self._put(Notify(payload, is_text, [frame.channel], sender=sender_of(client)))
        return b""

    async def _publish(self, frame: frames.Call, client: Client, deadline: float, call: Call) -> bytes:
        for effect in decode_effects(frame.payload):
            await self._put(effect)
        return b""


async def _result(handler: Handler, request: ChannelRequest, values: Sequence[str]) -> Any:  # noqa: ANN401 - the author's
    result = handler(request, values)
    if isinstance(result, Awaitable):
        result = await result
    check_result(handler.function.function, result)
    return result


async def _unknown(frame: frames.Call, client: Client, deadline: float, call: Call) -> NoReturn:
    raise RequestError(501, f"this node answers no call of the kind {frame.kind}")


def client_of(frame: frames.Call) -> Client:
    """Whom it is about. Raises FrameError if what is said of it is no client."""
    if not frame.info:
        return Client(frame.client, "", "", "", Headers())
    return Client.of(frames.decode_client(frame.info), frame.before + frame.attempt > 1)
