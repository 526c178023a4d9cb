"""What is in the proxy's place when a node is tested alone: it says what the test does, and does what the node says.

Owns the clients, the channels and the state of that small world. State is the proxies' own (balancer.state); counts are
members of sets. Refuses nothing: limits, deadlines and redelivery are the real proxy's.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from math import inf
from typing import Any

import trio
from msgspec import UNSET, Struct
from msgspec.structs import replace

from holdfast.balancer.settings import StateSettings
from holdfast.balancer.state import ANY_VERSION, Refusal, StateCopy
from holdfast.node.admission import data_of
from holdfast.node.effects import encode as encode_payload
from holdfast.node.errors import RequestError
from holdfast.node.memory import InProcess
from holdfast.node.request import Client, Question
from holdfast.node.state import decode, encode
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.calls import ASK, UPDATE
from holdfast.protocols.nodes.histories import HISTORY
from holdfast.testing.effects import Close, Effect, Join, Leave, Update, values
from holdfast.testing.kept import Histories

PREFIX = 0x7E57  # upper half of the ids of its clients
EPOCH = 1
INTERVAL = 3600.0  # of heartbeats: between those that something waits for there is nothing to say
PAGE_ITEMS = 500


class Asked:
    """A request, and what has come of it. frames: the parts of its reply, or its failure. error: what was raised."""

    def __init__(self, id: int, attempt: int) -> None:
        self.id = id
        self.attempt = attempt
        self.frames: list[frames.Reply | frames.HttpReply | frames.Failure] = []  # of a call, too
        self.effects: list[Effect] = []
        self.error: BaseException | None = None
        self.over = trio.Event()


class StandIn(InProcess):
    """clients: those with a session, by id. channels: their members. effects: all that was done, in order.
    wants_clients: whether the node is told of them. takes: the kinds of calls that it answers. answers: of other nodes,
    by name. histories: of channels that have one.

    Raises ValueError for a state that is none.
    """

    def __init__(
        self,
        state: Mapping[str, Any],
        clients: Iterable[Client],
        channels: Mapping[str, Iterable[Client]],
        master: bool,
        answers: Mapping[str, Any],
        histories: Histories,
    ) -> None:
        super().__init__()
        self.clients = {client.id: client for client in clients}
        self.channels: dict[str, set[int]] = {}
        for name, members in channels.items():
            self.clients |= {client.id: client for client in members}
            self.channels[name] = {client.id for client in members}
        self.effects: list[Effect] = []
        self.is_ready = trio.Event()  # the node has said so, and all that it did before is here
        self.errors: list[BaseException] = []  # that no step waits for
        self._is_master = master
        self._answers = answers
        self._histories = histories
        self._late_send, self._late_recv = trio.open_memory_channel[tuple[frames.Ask, Awaitable[Any]]](inf)
        self._node = ""
        self.wants_clients = False
        self.takes: list[str] = []
        self._changes = 0
        self._asked: dict[int, Asked] = {}
        self._requests = 0
        self._state = StateCopy(StateSettings())
        self._state.begin(EPOCH, 1)
        for number, (key, value) in enumerate(state.items(), 1):
            proposal = frames.Propose(number, key, encode(value), 0, ANY_VERSION, EPOCH)
            if isinstance(refusal := self._state.order("test", proposal, EPOCH), Refusal):
                raise ValueError(f"the state can't have {key!r}: {refusal.reason}")
        self._table: dict[type[Struct], Callable[[Any], None]] = {
            frames.Hello: self._hello,
            frames.Ready: self._ready,
            frames.Heartbeat: self._heartbeat,
            frames.Effects: self._effects,
            frames.Propose: self._propose,
            frames.AskCount: self._ask_count,
            frames.AskHistory: self._ask_history,
            frames.Ask: self._ask,
            frames.Reply: self._replied,
            frames.HttpReply: self._replied,
            frames.Failure: self._replied,
        }

    async def run(self) -> None:
        """Task: wait for answers that have to be awaited."""
        async with trio.open_nursery() as nursery:
            async for frame, answer in self._late_recv:
                nursery.start_soon(self._await, frame, answer)

    @property
    def state(self) -> dict[str, Any]:
        """As it is now."""
        return {item.key: decode(item.value) for item in self._state.items.values()}

    # --- what the test does -----------------------------------------------------------------------------------------

    def open(self, client: Client) -> None:
        """One that is there already stays as it was admitted, or has become."""
        client = self.clients.setdefault(client.id, client)
        self._tell(frames.Opened(_framed(client)))

    def join(self, client: Client, channels: Iterable[str]) -> None:
        for channel in channels:
            self.channels.setdefault(channel, set()).add(client.id)

    def close(self, client: int, reason: str) -> None:
        if self.clients.pop(client, None) is None:
            return
        for members in self.channels.values():
            members.discard(client)
        self._tell(frames.Closed(client, reason))
        for key in self._state.owned_by(client):
            self.say(self._state.order_deletion(key, EPOCH))

    def ask(self, client: Client, payload: bytes, is_text: bool, attempt: int, timeout: float) -> Asked:
        asked = self._begin(attempt)
        client = self.clients.get(client.id, client)  # as it was admitted, or has become
        info = b"" if self.wants_clients else bytes(frames.encode_frame(_framed(client)))
        milliseconds = int(timeout * 1000)
        self.say(frames.Request(asked.id, client.id, attempt, milliseconds, payload, is_text, info))
        return asked

    def ask_http(self, client: Client, payload: bytes, method: str, target: str, attempt: int, timeout: float) -> Asked:
        asked = self._begin(attempt)
        milliseconds = int(timeout * 1000)
        self.say(frames.HttpRequest(asked.id, _framed(client), attempt, milliseconds, payload, method, target))
        return asked

    def question(self, payload: bytes, is_text: bool, sender: str, attempt: int, timeout: float) -> Asked:
        """Of another node."""
        asked = self._begin(attempt)
        self.say(frames.Call(asked.id, attempt, int(timeout * 1000), ASK, payload, is_text, sender=sender))
        return asked

    def call(
        self,
        kind: str,
        client: Client,
        payload: bytes,
        attempt: int,
        timeout: float,
        is_text: bool = False,
        **more: Any,  # noqa: ANN401 - fields of different kinds
    ) -> Asked:
        """Something that is no client's request: a kind of those in `takes`. The client may have gone. more: fields of
        the Call."""
        asked = self._begin(attempt)
        info = bytes(frames.encode_frame(_framed(client)))
        milliseconds = int(timeout * 1000)
        call = frames.Call(asked.id, attempt, milliseconds, kind, payload, is_text, client.id, info, **more)
        self.say(call)
        return asked

    def raised(self, error: BaseException, request: int) -> bool:
        """What a handler has raised, before its failure comes. False: nobody waits for that request."""
        asked = self._asked.get(request)
        if asked is not None:
            asked.error = error
        return asked is not None

    def give_up(self, asked: Asked) -> None:
        """Nobody waits for the reply any more."""
        del self._asked[asked.id]
        self.say(frames.Cancel(asked.id, asked.attempt))

    def _begin(self, attempt: int) -> Asked:
        self._requests += 1
        asked = self._asked[self._requests] = Asked(self._requests, attempt)
        return asked

    def _tell(self, change: frames.Opened | frames.Closed) -> None:
        if self.wants_clients:
            self._changes += 1
            self.say(frames.Changes(self._changes, [change]))

    # --- what the node says -----------------------------------------------------------------------------------------

    def heard(self, frames: Sequence[frames.FromNode]) -> None:
        for frame in frames:
            handle = self._table.get(type(frame))
            if handle is not None:  # else it is of no account here, as a goodbye
                handle(frame)

    def _hello(self, frame: frames.Hello) -> None:
        self._node, self.wants_clients, self.takes = frame.node, frame.wants_clients, frame.takes
        welcome = frames.Welcome(
            frames.VERSION, "testing", INTERVAL, 2 * INTERVAL, 0, [], prefix=PREFIX, takes=[UPDATE, ASK, HISTORY]
        )
        known = [frames.Clients([_framed(client) for client in self.clients.values()], last=True)]
        self.say(welcome, *(known if self.wants_clients else []), *self._state.snapshot(PAGE_ITEMS))

    def _ready(self, frame: frames.Ready) -> None:
        if self._is_master:
            self.say(frames.Master(self._node, EPOCH))
        self.is_ready.set()

    def _heartbeat(self, frame: frames.Heartbeat) -> None:
        epoch, lease = (EPOCH, 2 * INTERVAL) if self._is_master else (0, 0.0)
        self.say(frames.Heartbeat(frame.stamp, epoch=epoch, lease=lease))

    def _propose(self, frame: frames.Propose) -> None:
        ordered = self._state.order(self._node, frame, EPOCH)
        if isinstance(ordered, Refusal):
            self.say(frames.ProposalRefused(frame.proposal, ordered.reason, ordered.conflict))
        elif ordered is not None:
            self.say(ordered)

    def _ask_count(self, frame: frames.AskCount) -> None:
        self.say(frames.Counted(frame.ask, len(self.channels.get(frame.channel, ()))))

    def _ask_history(self, frame: frames.AskHistory) -> None:
        self.say(self._histories.answer(frame))

    def _ask(self, frame: frames.Ask) -> None:
        if frame.to not in self._answers:
            message = f"no node of the name {frame.to} is there: what it says is for `answers` of the test"
            self.say(frames.Answered(frame.ask, "", 503, message=message))
            return
        deadline = trio.current_time() + frame.timeout / 1000
        answer = self._answers[frame.to]
        try:
            if callable(answer):
                answer = answer(Question(frame.payload, frame.is_text, self._node, frame.attempt, deadline))
        except Exception as error:
            answer = error
        if isinstance(answer, Awaitable):
            self._late_send.send_nowait((frame, answer))
        else:
            self._answer(frame, answer)

    async def _await(self, frame: frames.Ask, awaitable: Awaitable[Any]) -> None:
        try:
            answer = await awaitable
        except Exception as error:
            answer = error
        self._answer(frame, answer)

    def _answer(self, frame: frames.Ask, answer: object) -> None:
        """answer: or what was raised."""
        try:
            if isinstance(answer, Exception):
                raise answer
            payload, is_text = (b"", False) if answer is None else encode_payload(answer, None)
        except RequestError as error:
            self.say(frames.Answered(frame.ask, frame.to, error.status, message=str(error)))
        except Exception as error:  # the test's own, as an assertion: it is for the test, and not the link's end
            self.errors.append(error)
            self.say(frames.Answered(frame.ask, frame.to, 500, message="the answer of the test has failed"))
        else:
            self.say(frames.Answered(frame.ask, frame.to, 200, payload, is_text))

    def _effects(self, frame: frames.Effects) -> None:
        done = self._do(frame.effects)
        if frame.home:  # else it is of no request, as what a job does
            for asked in self._asked.values():
                if frame.request in (0, asked.id):  # flushed, perhaps by another one
                    asked.effects += done
        self.say(frames.Ack(frame.number, 1000))

    def _replied(self, frame: frames.Reply | frames.HttpReply | frames.Failure) -> None:
        asked = self._asked.get(frame.request)
        if asked is None or asked.attempt != frame.attempt:
            return
        asked.frames.append(frame)
        if not isinstance(frame, frames.Failure):
            asked.effects += self._do(frame.effects or [])
            if frame.more:
                self.say(frames.Taken(asked.id, asked.attempt, len(frame.payload or b"")))
                return
        del self._asked[asked.id]
        asked.over.set()

    def _do(self, effects: Sequence[frames.Effect | frames.AsMaster]) -> list[Effect]:
        self._histories.published(effects)
        done = list(values(effects))
        self.effects += done
        for effect in done:
            match effect:
                case Join(int(client), channel) if client in self.clients:
                    self.channels.setdefault(channel, set()).add(client)
                case Leave(int(client), channel):
                    self.channels.get(channel, set()).discard(client)
                case Close(int(client)):
                    self.close(client, "kicked")
                case Update(int(client), data) if client in self.clients and data is not UNSET:
                    self.clients[client] = replace(self.clients[client], _data=data_of(data))
                    self._tell(frames.Opened(_framed(self.clients[client])))
        return done


def _framed(client: Client) -> frames.Client:
    told = client.id, client.protocol, client.address, client.path, list(client.headers), client.query
    return frames.Client(*told, client.user, client._data, client._claims)
