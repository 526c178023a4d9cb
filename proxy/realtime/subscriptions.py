"""What clients have subscribed to by themselves, and what they publish: from an adapter's event to its one answer.

Owns which subscriptions are a client's own wish, when they end, and what is under way. Whether it may is
proxy.realtime.permits'; who is in a channel, whoever wished it, is proxy.realtime.channels'; what it has missed comes
from proxy.realtime.histories. A subscription ends by an Unsubscribe, with its session, when its time is over, when a
node has the client leave the channel, or when nobody can say any more what it has missed; of the last three the client
is told (`dropped`). Who is in the channel by a node's wish too stays there.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from heapq import heappop, heappush
from itertools import count
from math import inf

from holdfast.protocols.clients.base import Subscribed
from holdfast.protocols.clients.events import Publish, Subscribe, Unsubscribe
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import HoldfastError
from holdfast.protocols.positions import Position, Publication
from holdfast.proxy.clients.clients import Clients
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.clients.session import Peer, Session
from holdfast.proxy.config import ClientSettings
from holdfast.proxy.realtime.channels import SUBSCRIBED, Channels
from holdfast.proxy.realtime.fan_out import FanOut
from holdfast.proxy.realtime.filtered import Filtering
from holdfast.proxy.realtime.followed import Newcomer
from holdfast.proxy.realtime.history import History
from holdfast.proxy.realtime.permits import Grant, Permits, Wish

Done = Callable[[Subscribed | HoldfastError], None]

# An end that is further off is looked for again then. So what is looked for once too often, because a client has shown
# a new token, is soon no more.
LOOKED_AT = 60.0
NO_HISTORY = "the channel has no history"
NO_POSITION = "a filter has no position"
NOT_RECOVERED = "it is not to be had, by the word of who let the client in"


Key = tuple[str, bool]  # a channel, or a filter: True


class Subscription:
    """expires: when it ends, by the reactor's clock; inf: never. due: when that is looked for. has_position: the client
    has been told where it is in the channel's log. filtering: of a filter."""

    __slots__ = ("due", "expires", "filtering", "has_position")

    def __init__(self) -> None:
        self.expires = self.due = inf
        self.filtering: Filtering | None = None
        self.has_position = False


class Entering:
    """A client on its way into a channel. done: is told, unless it is withdrawn before."""

    __slots__ = ("done", "grant", "is_withdrawn", "request", "session")

    def __init__(self, session: Session, request: Subscribe, grant: Grant, done: Done) -> None:
        self.session = session
        self.request = request
        self.grant = grant
        self.done = done
        self.is_withdrawn = False


class Subscriptions:
    """See proxy.clients.session.Subscribing. under_way: fan-outs that have begun. What a client gets of a channel when
    it comes back is no more than may wait for it, `client.max_outbox_bytes`."""

    def __init__(
        self,
        permits: Permits,
        clients: Clients,
        channels: Channels,
        history: History,
        under_way: Callable[[], Iterable[FanOut]],
        settings: ClientSettings,
        reactor: Reactor,
    ) -> None:
        self._permits = permits
        self._clients = clients
        self._channels = channels
        self._histories = history.histories
        self._under_way = under_way
        self._max_missed_bytes = settings.max_outbox_bytes
        self._reactor = reactor
        self._of: dict[Session, dict[Key, Subscription]] = {}
        self._wishes: dict[Session, dict[Wish, Entering | None]] = {}
        self._due: list[tuple[float, int, Session, Key]] = []
        self._number = count()
        history.on_interrupted = self.interrupted
        channels.on_joined, channels.on_left = self.joined, self.left
        clients.subscribing = self

    def __len__(self) -> int:
        """How many clients have some."""
        return len(self._of)

    # --- what clients ask -------------------------------------------------------------------------------------------

    def subscribe(self, connection: Peer, event: Subscribe) -> None:
        """See proxy.clients.session.Subscribing, of this and the next two. In a channel it has subscribed to already it
        is asked anew whether the client may, and that counts from then on: so a new token puts off the end."""
        self._wish(connection, event, self._may_subscribe)

    def publish(self, connection: Peer, event: Publish) -> None:
        self._wish(connection, event, self._may_publish)

    def unsubscribe(self, connection: Peer, event: Unsubscribe) -> None:
        session = connection.session
        if session is not None:
            wishes = self._wishes.get(session, {})
            for wish in [each for each in wishes if _is_of(each.event, event)]:
                self._clients.has_abandoned = True  # a node may be asked whether it may
                self._end(wish, HoldfastError("the client has unsubscribed meanwhile", Reason.CLIENT_LEFT))
            self._forget_one(session, (event.channel, event.is_filter))
            if not event.is_filter:
                self._channels.leave(session.id, event.channel, self._under_way(), is_own=True)
        connection.unsubscribed(event)

    def _wish(
        self, connection: Peer, event: Subscribe | Publish, may: Callable[[Wish, Grant | HoldfastError], None]
    ) -> None:
        session = connection.session
        if session is None:
            connection.fail(event, HoldfastError("only a client with a session may do that", Reason.REFUSED))
            return
        wish = Wish(connection, session, event)
        self._wishes.setdefault(session, {})[wish] = None
        self._permits.ask(wish, partial(may, wish))

    def _may_subscribe(self, wish: Wish, word: Grant | HoldfastError) -> None:
        if isinstance(word, HoldfastError):
            self._end(wish, word)
        elif not wish.is_over and isinstance(wish.event, Subscribe):
            entering = self.enter(wish.session, wish.event, word, partial(self._end, wish))
            if not wish.is_over:
                self._wishes[wish.session][wish] = entering

    def _may_publish(self, wish: Wish, word: Grant | HoldfastError) -> None:
        self._end(wish, word if isinstance(word, HoldfastError) else None)

    def _end(self, wish: Wish, answer: Subscribed | HoldfastError | None) -> None:
        """It is answered. None: it is done."""
        if wish.is_over:
            return
        wish.is_over = True
        wishes = self._wishes[wish.session]
        if (entering := wishes.pop(wish)) is not None:
            entering.is_withdrawn = True
        if not wishes:
            del self._wishes[wish.session]
        event = wish.event
        if isinstance(answer, HoldfastError):
            wish.connection.fail(event, answer)
        elif isinstance(event, Publish):
            wish.connection.published(event)
        elif answer is not None:
            wish.connection.subscribed(event, answer)

    # --- entering -----------------------------------------------------------------------------------------------------

    def enter(self, session: Session, request: Subscribe, grant: Grant, done: Done) -> Entering:
        """Make it a member, for it may. done: told once, at once or later, at the moment at which it is one, with all
        that it has missed; or why it can't be. What is published from then on is written after what `done` writes."""
        entering = Entering(session, request, grant, done)
        channel, since = request.channel, request.since
        if request.is_filter:
            self._filter(entering)
        elif self._histories is None or channel not in self._histories:
            self._join(entering, None, None if since is None else False, (), "" if since is None else NO_HISTORY)
        else:
            since = since if grant.recovers else None
            self._histories.comes(channel, since, self._max_missed_bytes, partial(self._caught_up, entering))
        return entering

    def _filter(self, entering: Entering) -> None:
        session, request = entering.session, entering.request
        rule = self._permits.rule_of(request.channel)
        mine = self._of.get(session, {}).get((request.channel, True))
        if mine is None and rule is not None:
            filtering = Filtering(session, rule)
            try:
                self._channels.add_filter(request.channel, filtering)
            except HoldfastError as error:
                entering.done(error)
                return
            mine = self._of.setdefault(session, {})[request.channel, True] = Subscription()
            mine.filtering = filtering
        recovered, why = (None, "") if request.since is None else (False, NO_POSITION)
        if mine is not None:
            self._say(entering, mine, Subscribed(request.channel, None, recovered, (), why))

    def _caught_up(self, entering: Entering, newcomer: Newcomer, position: Position | None) -> None:
        if entering.is_withdrawn:
            return
        if entering.request.since is None:
            self._join(entering, position, None, (), "")
        elif not entering.grant.recovers:
            self._join(entering, position, False, (), NOT_RECOVERED)
        elif newcomer.why is not None:
            self._join(entering, position, False, (), newcomer.why.value)
        else:
            self._join(entering, position, True, newcomer.missed, "")

    def _join(
        self,
        entering: Entering,
        position: Position | None,
        recovered: bool | None,
        missed: Sequence[Publication],
        detail: str,
    ) -> None:
        session, channel = entering.session, entering.request.channel
        limit = self._channels.limit(session, channel)
        if not self._channels.join(session.id, channel, SUBSCRIBED):
            if limit:
                entering.done(HoldfastError(f"no more channels: {limit} is reached", Reason.OVERLOADED))
            return  # else it has gone
        if missed:  # what is being written to members just now is among that
            self._channels.skip(session, channel, self._under_way())
        subscription = self._of.setdefault(session, {}).setdefault((channel, False), Subscription())
        subscription.has_position = position is not None
        self._say(entering, subscription, Subscribed(channel, position, recovered, missed, detail))

    def _say(self, entering: Entering, subscription: Subscription, said: Subscribed) -> None:
        grant, request, now = entering.grant, entering.request, self._reactor.now
        subscription.expires = grant.expires
        self._look_for(entering.session, (request.channel, request.is_filter), subscription, now)
        said.info = grant.info
        said.expires = None if grant.expires == inf else max(0.0, grant.expires - now)
        entering.done(said)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _look_for(self, session: Session, key: Key, subscription: Subscription, now: float) -> None:
        due = min(subscription.expires, now + LOOKED_AT)
        if subscription.expires < inf and due < subscription.due:
            subscription.due = due
            heappush(self._due, (due, next(self._number), session, key))

    def tick(self, now: float) -> None:
        """Now and then: end those whose time is over."""
        while self._due and self._due[0][0] <= now:
            due, _, session, key = heappop(self._due)
            subscription = self._of.get(session, {}).get(key)
            if subscription is None or subscription.due != due:
                continue
            subscription.due = inf
            if subscription.expires <= now:
                self._drop(session, key, HoldfastError("the time of the subscription is over", Reason.EXPIRED))
            else:
                self._look_for(session, key, subscription, now)

    def _drop(self, session: Session, key: Key, error: HoldfastError) -> None:
        """Its subscription is over, by no wish of its own."""
        self._forget_one(session, key)
        channel, is_filter = key
        if not is_filter and session.channels is not None and session.channels.get(channel) == SUBSCRIBED:
            self._channels.leave(session.id, channel, self._under_way(), is_own=True)
        session.connection.dropped(channel, error)

    def left(self, session: Session, channel: str) -> None:
        """A node has it leave the channel."""
        if (channel, False) not in self._of.get(session, ()):
            session.connection.left(channel)
        else:
            self._forget_one(session, (channel, False))
            session.connection.dropped(channel, HoldfastError("a node has taken it out of the channel", Reason.KICKED))

    def joined(self, session: Session, channel: str) -> None:
        """A node has it join the channel."""
        session.connection.joined(channel)

    def interrupted(self, channel: str, why: str) -> None:
        """Members may have missed something: positions in the channel are over, and who knows one is told. Who
        subscribes again, with its position, is told what can be had."""
        for session in self._channels.members(channel):
            subscription = self._of.get(session, {}).get((channel, False))
            if subscription is not None and subscription.has_position:
                self._drop(session, (channel, False), HoldfastError(why, Reason.INTERRUPTED))

    def _forget_one(self, session: Session, key: Key) -> None:
        mine = self._of.get(session)
        subscription = None if mine is None else mine.pop(key, None)
        if mine is None or subscription is None:
            return
        if not mine:
            del self._of[session]
        if subscription.filtering is not None:
            self._channels.remove_filter(key[0], subscription.filtering, self._under_way())

    def ended(self, session: Session) -> None:
        """See proxy.clients.session.Subscribing."""
        for channel in session.channels or ():
            self._channels.skip(session, channel, self._under_way())

    def forget(self, session: Session) -> None:
        """A client has gone. Nobody waits for what it has asked."""
        for key in list(self._of.get(session, ())):
            self._forget_one(session, key)
        for wish, entering in self._wishes.pop(session, {}).items():
            wish.is_over = True
            if entering is not None:
                entering.is_withdrawn = True


def _is_of(asked: Subscribe | Publish, event: Unsubscribe) -> bool:
    if not isinstance(asked, Subscribe):
        return False
    return asked.channel == event.channel and asked.is_filter == event.is_filter
