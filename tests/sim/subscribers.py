"""Clients that subscribe and publish by themselves, and what must hold for them.

W1: a client gets what is published to what it has been told it is subscribed to, and nothing of what it is not.
W2: each thing that it asks is answered once.
W3: a publication comes to a connection at most once, in one subscription.
W4: in a channel with history offsets follow each other, from the position that it was told; what it has missed, too.
W5: what is answered as published has come to all who are subscribed at that proxy, and have been since before it was
asked.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import msgpack
from msgspec.structs import replace

from holdfast.balancer.channel_rules import ChannelRule
from holdfast.protocols.clients.base import Subscribed
from holdfast.protocols.clients.events import Event, Publish, Request, Subscribe, Unsubscribe
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.positions import Position, Publication
from holdfast.proxy.config import Config
from tests.sim.books import Book
from tests.sim.clients import ERROR, Client, SimProtocol, frame

if TYPE_CHECKING:
    from tests.sim.kernel import Stream

OPEN, ASKED, LOGGED = ("open:a", "open:b"), ("asked:a", "asked:b"), ("log:a", "log:b")
CHANNELS = (*OPEN, *ASKED, *LOGGED)
RULES = (
    ChannelRule("open:*", subscribe="anyone", publish="node"),
    ChannelRule("log:*", subscribe="anyone", publish="node"),  # that it has a history is said by tests.sim.history
    ChannelRule("asked:*", subscribe="node", publish="node"),
)
SUBSCRIBE, UNSUBSCRIBE, PUBLISH = range(3)  # what it asks
SUBSCRIBED, UNSUBSCRIBED, DROPPED, PUBLISHED, PUBLICATION = range(10, 15)  # what it is told
FROM_CLIENT = 9  # what a publication is, by its first item: see tests.sim.nodes


def with_rules(config: Config) -> Config:
    return replace(config, channel=RULES)


class SubscribingProtocol(SimProtocol):
    """It has words for channels."""

    wire_format: object = "sim, with channels"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.wire_format = "sim, with channels"

    def _asked(self, number: int, kind: Any, *more: Any) -> Event:
        if kind == SUBSCRIBE:
            channel, since = more
            return Subscribe(channel, None if since is None else Position(*since), context=number)
        if kind == UNSUBSCRIBE:
            return Unsubscribe(more[0], context=number)
        return Publish(more[0], more[1], False, context=number)

    def error(self, request: Request, error: HoldfastError) -> bytes:
        return frame(ERROR, request.context, error.reason.value)  # type: ignore[union-attr]

    def subscribed(self, request: Subscribe, said: Subscribed) -> bytes:
        missed = [(each.offset, each.payload) for each in said.missed]
        return frame(SUBSCRIBED, request.context, said.position, said.recovered, missed)

    def unsubscribed(self, request: Unsubscribe) -> bytes:
        return frame(UNSUBSCRIBED, request.context)

    def dropped(self, channel: str, error: HoldfastError) -> bytes:
        return frame(DROPPED, channel, error.reason.value)

    def published(self, request: Publish) -> bytes:
        return frame(PUBLISHED, request.context)

    def publication(self, channel: str, epoch: str, publication: Publication) -> bytes:
        return frame(PUBLICATION, channel, epoch, publication.offset, publication.payload)


class Subscribing:
    """since: when it was told. epoch, offset: where it is; -1: nowhere. got: publications in this subscription."""

    def __init__(self, since: float, position: Sequence[Any] | None) -> None:
        self.since = since
        self.epoch, self.offset = position or ("", -1)
        self.got: set[int] = set()


class Publications:
    """Of all clients: where, when it was asked, and whether it was answered as published."""

    def __init__(self) -> None:
        self.channel: dict[int, str] = {}
        self.answered = 0
        self.came = 0
        self.recovered = 0


class SubscribingBook(Book):
    """subscriptions: that it was told of, by channel. places: where it was last, of channels with history."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.subscriptions: dict[str, Subscribing] = {}
        self._asking: dict[str, int] = {}  # channels for which it has asked something: that has no answer yet

    @property
    def places(self) -> dict[str, tuple[str, int]]:
        places: dict[str, tuple[str, int]] = self.client.places  # type: ignore[attr-defined]
        return places

    def _gets(self, channel: str, payload: bytes, subscribing: Subscribing) -> None:
        _, number = msgpack.decode(payload)
        publications = self.world.publications
        if publications.channel.get(number) != channel:
            self.fail("W1, nothing of another channel", number, channel)
        if number in subscribing.got:
            self.fail("W3, a publication comes once", number, channel)
        subscribing.got.add(number)
        publications.came += 1

    def subscribed(
        self, number: int, position: Sequence[Any] | None, recovered: bool | None, missed: list[list[Any]]
    ) -> None:
        kind, (channel, since) = self._answered(number)
        self._asking.pop(channel, None)
        if kind != "subscribe":
            self.fail("W2, each is answered by its kind", kind)
        subscribing = self.subscriptions[channel] = Subscribing(self.world.time, position)
        if recovered and (since is None or position is None or since[0] != position[0]):
            self.fail("W4, recovered by the log of the position", since, position)
        if recovered and since is not None and position is not None:
            if [offset for offset, _ in missed] != list(range(since[1] + 1, position[1] + 1)):
                self.fail("W4, what was missed has no gap", since, position, [offset for offset, _ in missed])
            self.world.publications.recovered += len(missed)
        elif missed:
            self.fail("W4, nothing was missed", number)
        for _, payload in missed:
            self._gets(channel, payload, subscribing)
        self._note_place(channel, subscribing)

    def _note_place(self, channel: str, subscribing: Subscribing) -> None:
        if subscribing.offset >= 0:
            self.places[channel] = (subscribing.epoch, subscribing.offset)
        else:
            self.places.pop(channel, None)

    def unsubscribed(self, number: int) -> None:
        _, (channel,) = self._answered(number)
        self._asking.pop(channel, None)
        self.subscriptions.pop(channel, None)

    def dropped(self, channel: str, reason: str) -> None:
        if channel not in self.subscriptions:
            self.fail("W1, what is dropped was there", channel, reason)
        del self.subscriptions[channel]

    def published(self, number: int) -> None:
        kind, (channel,) = self._answered(number)
        if kind != "publish":
            self.fail("W2, each is answered by its kind", kind)
        self.world.publications.answered += 1
        for client in self.world.clients:
            book = client.book
            if not isinstance(book, SubscribingBook) or book.proxy is not self.proxy or book.ended:
                continue
            subscribing = book.subscriptions.get(channel)
            if subscribing is not None and subscribing.since < self.times[number]:
                # It has been written to it by now, though it may not have come.
                self.world.later(0.0, book.is_owed, channel, subscribing, number)

    @property
    def times(self) -> dict[int, float]:
        times: dict[int, float] = self.client.times  # type: ignore[attr-defined]
        return times

    def is_owed(self, channel: str, subscribing: Subscribing, number: int, patience: int = 400) -> None:
        """W5, when all that is under way to it has come: it is read slowly, and may end meanwhile."""
        if self.ended or self.subscriptions.get(channel) is not subscribing or number in subscribing.got:
            return
        client = self.client
        if client.is_still or client.is_slow or client._unread or not client.is_linked:
            self.world.later(0.25, self.is_owed, channel, subscribing, number, patience)
        elif patience:
            self.world.later(0.25, self.is_owed, channel, subscribing, number, patience - 40)
        else:
            self.fail("W5, what is published comes to all who are subscribed", channel, number)

    def publication(self, channel: str, epoch: str, offset: int, payload: bytes) -> None:
        subscribing = self.subscriptions.get(channel)
        if subscribing is None:
            self.fail("W1, nothing of what it is not subscribed to", channel, offset)
            return
        if offset and subscribing.offset >= 0:
            if (epoch, offset) != (subscribing.epoch, subscribing.offset + 1):
                self.fail("W4, offsets follow each other", channel, (epoch, offset), self.places.get(channel))
            subscribing.offset = offset
            self._note_place(channel, subscribing)
        self._gets(channel, payload, subscribing)

    def failed(self, number: int, reason: str) -> None:
        _, (channel, *_) = self._answered(number)
        self._asking.pop(channel, None)
        self.world.checks.failed[reason] += 1

    def next_request(self) -> None:
        for _ in range(self.world.random.choice([1, 2, 6])):
            self._next(self.client)

    def _next(self, client: Client) -> None:
        random = self.world.random
        assert isinstance(client, ChannelClient)
        channel = random.choice(CHANNELS)
        kind = random.random()
        if kind < 0.5:
            client.publish(random.choice([*self.subscriptions, channel]))
        elif channel in self._asking:
            if kind < 0.6:  # while that is under way
                self._asking[channel] = client.unsubscribe(channel)
        elif channel not in self.subscriptions:
            self._asking[channel] = client.subscribe(channel)
        elif kind < 0.7:
            self._asking[channel] = client.unsubscribe(channel)


class ChannelClient(Client):
    """places: where it was, over its connections."""

    protocol = SubscribingProtocol
    make_book = SubscribingBook
    book: SubscribingBook | None  # type: ignore[assignment]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.places: dict[str, tuple[str, int]] = {}
        self.times: dict[int, float] = {}  # when something was asked

    def subscribe(self, channel: str) -> int:
        since = self.places.get(channel)
        return self._say("subscribe", (channel, since), SUBSCRIBE, channel, since)

    def unsubscribe(self, channel: str) -> int:
        return self._say("unsubscribe", (channel,), UNSUBSCRIBE, channel)

    def publish(self, channel: str) -> int:
        number = self.world.next_number()
        self.world.publications.channel[number] = channel
        return self._say("publish", (channel,), PUBLISH, channel, msgpack.encode([FROM_CLIENT, number]), number=number)

    def _say(self, kind: str, arguments: tuple[Any, ...], *what: object, number: int = 0) -> int:
        assert self._stream is not None
        assert self.book is not None
        number = number or self.world.next_number()
        self.times[number] = self.world.time
        self.book.asked(number, kind, arguments)
        self._stream.came(frame(number, *what))
        return number

    def _take(self, stream: "Stream", items: list[Any]) -> None:
        book = self.book
        assert book is not None
        kind, *told = items
        if kind == SUBSCRIBED:
            book.subscribed(*told)
        elif kind == UNSUBSCRIBED:
            book.unsubscribed(*told)
        elif kind == DROPPED:
            book.dropped(*told)
        elif kind == PUBLISHED:
            book.published(*told)
        elif kind == PUBLICATION:
            book.publication(*told)
        else:
            super()._take(stream, items)
