"""What an author's functions do through their node: to clients and channels, and with other nodes."""

from collections.abc import Iterable
from math import inf
from typing import Any

from msgspec import UNSET, UnsetType

from holdfast.node import effects, threads
from holdfast.node.admission import data_of
from holdfast.node.asking import Answer
from holdfast.node.background import Background
from holdfast.node.effects import Payload
from holdfast.node.errors import RequestError
from holdfast.node.history import History
from holdfast.node.plain import seconds_of
from holdfast.node.request import Client
from holdfast.node.session import Parts
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.nodes.calls import UPDATE
from holdfast.protocols.positions import Position


class Actions(Background):
    """Base class of Node."""

    _parts: Parts

    # --- effects ----------------------------------------------------------------------------------------------------
    #
    # Called by a request's handler, or by tasks that it started and waits for, they are kept and travel with its reply:
    # all or nothing. Called elsewhere they are sent at once to every proxy that they concern, after waiting until one
    # is linked and all of these have taken enough of what was sent before: who is faster than clients take is slowed
    # here. From on_master they count only if this node is still master. Cancelled while they wait, nothing is sent.

    async def join(self, client: Client | int, channel: str, *, version: int = 0) -> None:
        """Let a client get what is sent to a channel. Twice counts once.

        version: where an entry of the state says that the client is in the channel, the version of that (`State.set`),
        here and when it leaves. Then it does not matter in which order several nodes' joins and leaves come to the
        proxy, nor how late: a leave undoes no join of a later version, and a join does nothing after a leave of its own
        version or a later one.
        """
        await effects.put(self._parts.links, effects.join(client, channel, version))

    async def leave(self, client: Client | int, channel: str, *, version: int = 0) -> None:
        """Undo `join`. version: that of the entry which is ended; without one, whatever it was."""
        await effects.put(self._parts.links, effects.leave(client, channel, version))

    async def notify(
        self,
        payload: Payload,
        *,
        channels: Iterable[str] | None = None,
        clients: Iterable[Client | int] | None = None,
        exclude: Iterable[Client | int] = (),
        text: bool | None = None,
        tail: bytes = b"",
        history: bool = True,
    ) -> None:
        """Send a message to all clients in the channels, once per channel, and to each of `clients`; none to `exclude`.

        str, dict and list go as text (the latter as JSON), bytes as binary; `text` says otherwise. UnicodeDecodeError:
        bytes that are to go as text are none.
        tail: with it, what clients get is the payload, the name of the channel and the tail, as one message, so they
        can tell through which channel it came; 1 KiB at most, and no `clients`.
        history: False: in channels with history it is not kept, has no offset, and goes to those who are there, as in
        channels without: for what is worth nothing later, as that somebody is typing.
        TypeError: neither channels nor clients are said. Lists that are empty are nobody, and no error.
        Messages of one node reach each client in the order in which they were sent, kept or not. In a channel with
        history all clients get those that are kept in one order, whichever nodes have sent them; one that is not stands
        between other nodes' at another place for each proxy.
        """
        if channels is None and clients is None:
            raise TypeError("expected to whom: channels, clients; broadcast is to everybody")
        to = channels if channels is not None else (), clients if clients is not None else ()
        await effects.put(self._parts.links, effects.notify(payload, *to, exclude, text, tail, history))

    async def broadcast(
        self, payload: Payload, *, exclude: Iterable[Client | int] = (), text: bool | None = None
    ) -> None:
        """Send a message to every client but those of `exclude`."""
        await effects.put(self._parts.links, effects.broadcast(payload, exclude, text))

    async def close(self, client: Client | int, reason: str = "", *, code: int | None = None) -> None:
        """Close a client's connection. reason: text for it, of which it gets the first 123 bytes.

        code: of a WebSocket, 4000 to 4999; without one 1008.
        """
        await effects.put(self._parts.links, effects.close(client, reason, code))

    async def update(
        self,
        client: Client | int,
        *,
        data: Any = UNSET,  # noqa: ANN401 - what JSON can say
        expires: float | UnsetType | None = UNSET,
    ) -> None:
        """Replace what is known of a client; what is not said stays as it was. Nothing happens if it has gone.

        data: `client.data`, at every node that is told of it: JSON of at most 16 KiB, nested at most 64 deep; None:
        nothing. Requests of the client that come after that bring it. expires: in so many seconds from now its session
        ends, 0 or less: now; None: never. Raises HoldfastError if a proxy is older, and does not know of it;
        ValueError for what is no such JSON, TypeError for what is no time.
        """
        older = [session.proxy for session in self._parts.links.sessions.values() if UPDATE not in session.takes]
        if older:
            raise HoldfastError(f"the proxy {older[0]} is older: what is kept of a client can't be replaced there")
        told = None if data is UNSET else data_of(data)
        await effects.put(self._parts.links, effects.update(client, told, _seconds(expires)))

    # --- questions --------------------------------------------------------------------------------------------------

    async def count(self, channel: str) -> int:
        """How many clients of all proxies are in a channel; of those of other proxies, as of a moment ago.

        What this handler does is not counted before its reply has left. Waits until a proxy is linked. Raises
        RequestError (503), so that a handler need not care, if more is asked at a time than the proxies answer.
        """
        return await threads.call(self._parts.questions.count, channel)

    async def history(self, channel: str, *, since: Position | int | None = None, limit: int = 100) -> History:
        """What is kept of a channel with history: `[[channel]]` with `history_messages` in the proxies' configuration.

        since: a position, as of `History.position`; only what was published after it, the oldest first. An offset: the
        same in whatever log there is now, 0: from the oldest on. None: the newest ones. limit: at most so many, 1 to
        1,000; of payloads a page has 1 MiB, or one that is larger. `History.is_more` says whether there are more.
        What this handler does is not in it before its reply has left; what was done outside of requests is in it as
        soon as the proxies have taken it, a moment after `notify` has returned.
        Waits until a proxy is linked. Raises RequestError, so that a handler need not care: 404, the channel has no
        history; 409, the log of that position is no more, or was never so long; 503, the log can't be asked just now;
        429, the node has asked too much that has no answer; 501, the proxies are older.
        """
        return await threads.call(self._parts.questions.history, channel, since, limit)

    async def ask(self, to: str, payload: object, *, timeout: float = 10.0, text: bool | None = None) -> Answer:
        """Have another node answer, by its `on_ask`: one that is ready of this name, or the one with this id.

        A question waits for a node as a request does, and goes to another one of the name when its node is lost, as
        redelivered. timeout: seconds; no longer than the proxies' request.timeout. What this handler has done so far
        is not done yet for who is asked: `request.flush()` before, if that matters. Nodes that ask each other have
        their capacity taken by handlers that wait: ask those of another name. Cancelled, it is answered all the same,
        to nobody. Raises RequestError: with what the other function raised, 503 if there is no such node, 504 when time
        is up.
        """
        [answer] = await threads.call(self._ask, to, payload, timeout, text, False)
        if answer.status != 200:
            raise RequestError(answer.status, answer.message)
        return answer

    async def ask_all(
        self, to: str, payload: object, *, timeout: float = 10.0, text: bool | None = None
    ) -> list[Answer]:
        """Have every node of this name that is ready answer: one each, failures too, as their `status` says. None are
        ready: []."""
        answers = await threads.call(self._ask, to, payload, timeout, text, True)
        return [answer for answer in answers if answer.node]

    async def tell(self, to: str, payload: object, *, timeout: float = 10.0, text: bool | None = None) -> None:
        """Have another node do something, by its `on_ask`, and return when it has. As `ask`, without an answer."""
        await self.ask(to, payload, timeout=timeout, text=text)

    async def _ask(self, to: str, payload: object, timeout: float, text: bool | None, everyone: bool) -> list[Answer]:
        return await self._parts.asking.ask(to, payload, timeout, text, everyone=everyone)


def _seconds(expires: float | UnsetType | None) -> float | None:
    """As it is sent: None leaves it as it was."""
    if isinstance(expires, UnsetType):
        return None
    if expires is None:
        return inf
    return seconds_of(expires)
