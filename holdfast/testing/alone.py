"""A node without a proxy: its own code, from the link to the handlers, and a stand-in for the other end.

Owns the steps of a test: calling, opening, closing, and waiting until what follows from them is done.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace as replace_result
from typing import Any

import msgspec
import trio
from msgspec.structs import replace

from holdfast.node.admission import Session
from holdfast.node.effects import Payload, encode, is_json
from holdfast.node.errors import RequestError
from holdfast.node.node import Node
from holdfast.node.request import Client, Headers
from holdfast.node.subscribing import Subscription
from holdfast.protocols.nodes.calls import (
    CLOSE,
    CONNECT,
    OPEN,
    PUBLICATION,
    SUBSCRIBE,
    Granted,
    decode_admitted,
    decode_granted,
)
from holdfast.testing.clients import HeaderPairs, client
from holdfast.testing.effects import Effect
from holdfast.testing.given import (
    channels_of,
    check_attempt,
    check_client,
    check_node,
    clients_of,
    history_of,
    table_of,
)
from holdfast.testing.hosting import Do, here, hosted
from holdfast.testing.kept import Histories
from holdfast.testing.nursery import nursery
from holdfast.testing.outcome import result_of
from holdfast.testing.results import Failure, Result
from holdfast.testing.standin import Asked, StandIn
from holdfast.testing.tellings import Tellings

TIMEOUT = 10.0  # as request.timeout is by itself

_NOTHING: dict[str, Any] = {}
_new_client = client  # where an argument has its name


class Alone:
    """See `alone`. Steps may be taken at the same time; each returns when what it causes is done."""

    def __init__(self, node: Node, proxy: StandIn) -> None:
        self._node = node
        self._proxy = proxy
        self._tellings = Tellings(node)
        self._do: Do = here

    @property
    def effects(self) -> list[Effect]:
        """All that the node has done to clients and channels so far, in order."""
        return list(self._proxy.effects)

    @property
    def state(self) -> dict[str, Any]:
        """The nodes' shared state as it is now."""
        return self._proxy.state

    @property
    def channels(self) -> dict[str, set[int]]:
        """Who is in each channel, by id."""
        return {name: set(members) for name, members in self._proxy.channels.items() if members}

    async def call(
        self,
        payload: Payload = b"",
        *,
        client: Client | None = None,
        http: str | None = None,
        headers: HeaderPairs = (),
        text: bool | None = None,
        attempt: int = 1,
        timeout: float = TIMEOUT,  # noqa: ASYNC109 - the request's, not the step's
    ) -> Result:
        """Have the node handle a request, and return what came of it.

        payload: of the message or the body: bytes; str, which is text; or what is JSON, which is text too, and over
        HTTP `application/json`. text: whether the message is text, if that is to be otherwise.
        client: whose message it is; None: a new one, with these headers. If the node does not know it yet, it has come
        before: `open` is taken first. http: "POST /rooms/7?dry=1": it is an HTTP request, with these headers.
        attempt: 2 and above: the node has it after another was lost with it. timeout: seconds until nobody waits for
        the reply: then the handler is cancelled, and the failure is 504.
        Raises what the handler has raised, unless that is a RequestError: then it is the result's failure. TypeError,
        ValueError for arguments that can't be meant.
        """
        check_attempt(attempt)
        if client is not None:
            check_client(client)
        if http is None:
            if client is not None and headers:
                raise ValueError("headers: expected none beside a client, which has those of its handshake")
            return await self._do(self._message, encode(payload, text), client, headers, attempt, timeout)
        if client is not None or text is not None:
            raise ValueError("an HTTP request is a client by itself, and has a body of bytes")
        return await self._do(self._http, payload, http, headers, attempt, timeout)

    async def ask(
        self,
        payload: Payload,
        *,
        text: bool | None = None,
        sender: str = "another",
        attempt: int = 1,
        timeout: float = TIMEOUT,  # noqa: ASYNC109 - as of `call`
    ) -> Result:
        """Another node asks, by `ask` or `tell`: what on_ask answers is the result, as of `call`. sender: its id."""
        check_attempt(attempt)
        return await self._do(self._question, encode(payload, text), sender, attempt, timeout)

    async def connect(self, client: Client, *, timeout: float = TIMEOUT) -> Result:  # noqa: ASYNC109 - as of `call`
        """A client wants to come in: on_connect is asked, and if it may it comes as with `open`.

        What on_connect has said is the result's `session`; Refused, or another RequestError, its failure. From then on
        the client is that user, has that data, and is in those channels: in all further steps, and as the result's
        `client` for another world. Without an on_connect it is let in as it is.
        """
        check_client(client)
        return await self._do(self._connect, client, timeout)

    async def subscribe(
        self,
        channel: str,
        payload: Payload = b"",
        *,
        client: Client | None = None,
        token: str = "",
        is_filter: bool = False,
        attempt: int = 1,
        timeout: float = TIMEOUT,  # noqa: ASYNC109 - as of `call`
    ) -> Result:
        """A client would subscribe to a channel whose rule is `subscribe = "node"`: on_subscribe is asked, and if it
        may it is in the channel from then on. client: None: a new one. payload, token: what it says and shows.

        What on_subscribe has said is the result's `subscription`; that it refuses, the failure. Without a function that
        takes the channel that is 403. The rest is as of `call`.
        """
        asked = channel, encode(payload, None), client, attempt, timeout, {"token": token, "is_filter": is_filter}
        return await self._do(self._of_channel, SUBSCRIBE, *asked)

    async def publish(
        self,
        channel: str,
        payload: Payload,
        *,
        client: Client | None = None,
        text: bool | None = None,
        attempt: int = 1,
        timeout: float = TIMEOUT,  # noqa: ASYNC109 - as of `call`
    ) -> Result:
        """A client publishes to a channel whose rule is `publish = "node"`: what on_publish has published is among the
        result's effects, a Notify with a `sender`. The rest is as of `subscribe`."""
        asked = channel, encode(payload, text), client, attempt, timeout, _NOTHING
        return await self._do(self._of_channel, PUBLICATION, *asked)

    async def _of_channel(
        self,
        kind: str,
        channel: str,
        said: tuple[bytes, bool],
        client: Client | None,
        attempt: int,
        timeout: float,  # noqa: ASYNC109 - the request's
        more: Mapping[str, Any],
    ) -> Result:
        whose = await self._there(client, ())
        if kind not in self._proxy.takes:
            nobody = Failure(403, f"no node with on_{'subscribe' if kind == SUBSCRIBE else 'publish'} is there")
            return Result([], 403, Headers(), nobody, [], self.state, None, whose)
        payload, is_text = said
        asked = self._proxy.call(kind, whose, payload, attempt, timeout, is_text, channel=channel, **more)
        result = await self._outcome(asked, timeout)
        subscription = None
        if kind == SUBSCRIBE and result.failure is None:
            granted = decode_granted(result.body)
            if granted != Granted():
                info = msgspec.json.decode(granted.info) if granted.info else None
                subscription = Subscription(info, granted.recovers, granted.expires or None)
            self._proxy.join(whose, () if more["is_filter"] else [channel])
        return replace_result(result, messages=[], client=whose, subscription=subscription)

    async def _there(self, client: Client | None, headers: HeaderPairs) -> Client:
        """It, or a new one; it has come."""
        whose = client or _new_client(headers=headers)
        if whose.id not in self._proxy.clients:
            await self._open(whose, (), 1)
        return whose

    async def _connect(self, client: Client, timeout: float) -> Result:  # noqa: ASYNC109 - as of `call`
        session = Session(client.user, client.data, [])
        if CONNECT in self._proxy.takes:
            result = await self._outcome(self._proxy.call(CONNECT, client, b"", 1, timeout), timeout)
            if result.failure is not None:
                return result
            said = decode_admitted(result.body)
            client = replace(client, user=said.user, _data=said.data)
            session = Session(said.user, client.data, said.channels, said.expires or None)
        opened = await self._open(client, session.channels, 1)
        return replace_result(opened, session=session, client=client)

    async def open(self, client: Client, *, channels: Iterable[str] = (), attempt: int = 1) -> Result:
        """A client comes, and is in these channels already: what on_open does is the result's effects, the one that is
        told once, too. attempt: of that one, as of `call`. Raises what they raise."""
        check_client(client)
        check_attempt(attempt)
        return await self._do(self._open, client, channels, attempt)

    async def close(self, client: Client, reason: str = "client_left", *, attempt: int = 1) -> Result:
        """A client goes, and what it owns in the state: what on_close does is the result's effects. reason: of the
        table in docs/reference/errors.md. attempt: as of `open`. Raises what they raise."""
        check_client(client)
        check_attempt(attempt)
        return await self._do(self._close, client, reason, attempt)

    # --- in Trio, where the node runs -------------------------------------------------------------------------------

    @asynccontextmanager
    async def _running(self, master: bool) -> AsyncIterator[None]:
        failures = self._node.failures
        async with nursery() as tasks:
            with ExitStack() as after:
                after.callback(setattr, failures, "witness", failures.witness)
                failures.witness = self._raised
                after.enter_context(self._tellings.witnessed())
                tasks.start_soon(self._proxy.run)
                tasks.start_soon(self._node.run, [self._proxy.address])
                await self._proxy.is_ready.wait()
                if master:
                    await self._settle()
                self._raise()
                yield
                tasks.cancel_scope.cancel(reason="the test has ended the node")

    async def _message(
        self,
        said: tuple[bytes, bool],
        client: Client | None,
        headers: HeaderPairs,
        attempt: int,
        timeout: float,  # noqa: ASYNC109 - the request's
    ) -> Result:
        whose = await self._there(client, headers)
        return await self._outcome(self._proxy.ask(whose, *said, attempt, timeout), timeout)

    async def _question(
        self,
        said: tuple[bytes, bool],
        sender: str,
        attempt: int,
        timeout: float,  # noqa: ASYNC109 - the request's
    ) -> Result:
        return await self._outcome(self._proxy.question(*said, sender, attempt, timeout), timeout)

    async def _open(self, client: Client, channels: Iterable[str], attempt: int) -> Result:
        with self._tellings.of(OPEN, client) as effects:
            self._proxy.open(client)
            self._proxy.join(client, channels)
            if self._proxy.wants_clients:
                await self._settle()
        effects += await self._told(OPEN, self._proxy.clients[client.id], b"", attempt)
        return Result([], 200, Headers(), None, effects, self.state)

    async def _close(self, client: Client, reason: str, attempt: int) -> Result:
        client = self._proxy.clients.get(client.id, client)
        with self._tellings.of(CLOSE, client) as effects:
            self._proxy.close(client.id, reason)
            await self._settle()
        effects += await self._told(CLOSE, client, reason.encode(), attempt)
        return Result([], 200, Headers(), None, effects, self.state)

    async def _told(self, kind: str, client: Client, payload: bytes, attempt: int) -> list[Effect]:
        """One node is told, and this is it. Returns what it did."""
        if kind not in self._proxy.takes:
            return []
        result = await self._outcome(self._proxy.call(kind, client, payload, attempt, TIMEOUT), TIMEOUT)
        if result.failure is not None:
            raise RequestError(result.failure.status, result.failure.message)
        return result.effects

    async def _outcome(self, asked: Asked, timeout: float) -> Result:  # noqa: ASYNC109 - the request's
        with trio.move_on_after(timeout):
            await asked.over.wait()
        if not asked.over.is_set():
            self._proxy.give_up(asked)
            return result_of(asked, Failure(504, f"no reply within {timeout:g} s"), self.state)
        if isinstance(asked.error, Exception) and not isinstance(asked.error, RequestError):
            raise asked.error
        self._raise()
        return result_of(asked, None, self.state)

    async def _http(
        self,
        payload: Payload,
        http: str,
        headers: HeaderPairs,
        attempt: int,
        timeout: float,  # noqa: ASYNC109 - the request's
    ) -> Result:
        method, _, target = http.partition(" ")
        if not target.startswith("/"):
            raise ValueError(f'expected a method and a path, as "POST /rooms", got {http!r}')
        who = _new_client(target, headers=headers, protocol="http")
        if is_json(payload) and who.headers.get("content-type") is None:
            who.headers.append(("content-type", "application/json"))
        asked = self._proxy.ask_http(who, encode(payload, None)[0], method, target, attempt, timeout)
        return await self._outcome(asked, timeout)

    async def _settle(self) -> None:
        """Until the node has heard what was said, its functions have returned, and what they did is here."""
        await self._node._links.wait_read()
        done = trio.Event()
        self._node._parts.callbacks.after(done.set)
        await done.wait()
        await self._node._links.wait_read()
        self._raise()

    def _raise(self) -> None:
        if self._proxy.errors:
            raise self._proxy.errors.pop(0)

    def _raised(self, error: BaseException, request: int) -> None:
        is_told = request and isinstance(error, RequestError)  # its client is, and that is that
        if not self._proxy.raised(error, request) and not is_told:
            self._proxy.errors.append(error)


@asynccontextmanager
async def alone(
    node: Node,
    *,
    state: Mapping[str, Any] | None = None,
    clients: Iterable[Client] = (),
    channels: Mapping[str, Iterable[Client]] | None = None,
    master: bool = False,
    answers: Mapping[str, Any] | None = None,
    history: Mapping[str, Iterable[Payload]] | None = None,
) -> AsyncIterator[Alone]:
    """Run a node for the length of the block, without a proxy. When it ends the node is cut off.

    It is the node's own code, from the link to the functions; at the other end of the link is a stand-in that keeps the
    state, and knows who is in which channel. It has no deadlines of its own but `timeout`, no limits, no other nodes.
    state: what the nodes' state has at the beginning. clients: those that are there already; on_open is called for
    them. channels: who is in them already. master: whether the node is master. answers: what other nodes say, by name,
    for `node.ask` and the like: as of on_ask, or a RequestError, or a function of the Question that gives either or
    raises the latter, async or not: an async one is of the library that the node's functions are of. Who is not among
    them is not there, status 503. history: the channels that have one, by name, and what was published to each before,
    for `node.history`; what the node publishes there is kept, too. Of others it is 404.
    In a test of Trio or asyncio, whosever functions the node has. A holdfast.asyncio.Node runs in the test's own loop
    in asyncio, and may use what belongs to that; in Trio it has a thread with a loop of its own.
    Raises RuntimeError if the node runs already, TypeError for what is no node, client or table. What its functions
    raise is raised by the step that caused it, and not logged; what none has caused, at the end of the block.
    """
    check_node(node)
    said = table_of("answers", answers).items()
    adapted = {to: node._adapt(answer) if callable(answer) else answer for to, answer in said}
    world = table_of("state", state), clients_of(clients), channels_of(channels), master, adapted
    proxy = StandIn(*world, Histories(history_of(history)))
    steps = Alone(node, proxy)
    async with hosted(node, steps._running(master)) as steps._do:
        yield steps
        steps._raise()
