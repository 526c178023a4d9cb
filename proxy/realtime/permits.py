"""Whether a client may do something in a channel by itself: by the channel's rule, by a token, by a node's word.

Owns what each kind of rule asks for. Without a rule nothing is allowed. Who has subscribed, and what comes of it, is
proxy.realtime.subscriptions'.
"""

from collections.abc import Callable
from math import inf
from typing import NamedTuple, Protocol

from holdfast.balancer.channel_rules import ChannelRule, ChannelRules
from holdfast.balancer.filters import levels_of
from holdfast.protocols.clients.events import Publish, Subscribe
from holdfast.protocols.close import Reason
from holdfast.protocols.errors import ConfigError, HoldfastError
from holdfast.protocols.nodes.frames import Client
from holdfast.proxy.clients.session import Peer, Session


class Grant(NamedTuple):
    """It may. info: what it is told with that, as JSON; b"": nothing. expires: when that ends, by the reactor's clock;
    inf: never. recovers: it gets what it has missed."""

    info: bytes = b""
    expires: float = inf
    recovers: bool = True


MAY = Grant()
Told = Callable[[Grant | HoldfastError], None]


class Wish:
    """What a client has asked of a channel. is_over: it is answered, or nobody wants the answer any more."""

    __slots__ = ("connection", "event", "is_over", "session")

    def __init__(self, connection: Peer, session: Session, event: Subscribe | Publish) -> None:
        self.connection = connection
        self.session = session
        self.event = event
        self.is_over = False


class AsksNodes(Protocol):
    """Who has a node say: proxy.nodes.channel_calls."""

    def ask(self, wish: Wish, told: Told) -> None:
        """told: once, at once or later, unless the wish is over by then."""
        ...


class ReadsTokens(Protocol):
    """proxy.clients.tokens."""

    def grant(self, token: str, user: str, channel: str) -> tuple[bytes, float]:
        """What a token says of a channel: its info, and when it expires, as of Grant. Raises HoldfastError."""
        ...


class Permits:
    """tokens: None: there are no keys. client_of: what is known of a session, by its id. max_name_bytes: of a channel's
    name."""

    def __init__(
        self,
        rules: ChannelRules,
        tokens: ReadsTokens | None,
        nodes: AsksNodes,
        client_of: Callable[[int], Client | None],
        max_name_bytes: int,
    ) -> None:
        self._rules = rules
        self._tokens = tokens
        self._nodes = nodes
        self._client_of = client_of
        self._max_name_bytes = max_name_bytes

    def ask(self, wish: Wish, told: Told) -> None:
        """told: once, at once or later, unless the wish is over by then."""
        event = wish.event
        channel = event.channel
        try:
            self._check_name(channel)
            if isinstance(event, Subscribe) and event.is_filter:
                _check_filter(channel)
        except HoldfastError as error:
            told(error)
            return
        rule = self._rules.of(channel)  # of a filter, that which matches its text
        if rule is None:
            told(HoldfastError("no rule lets clients do that in this channel", Reason.REFUSED))
        elif isinstance(event, Publish):
            if rule.publish == "node":
                self._nodes.ask(wish, told)
            else:
                told(HoldfastError("clients may not publish to this channel", Reason.REFUSED))
        elif rule.subscribe == "anyone":
            told(MAY)
        elif rule.subscribe == "node":
            self._nodes.ask(wish, told)
        elif rule.subscribe == "token":
            told(self._by_token(wish, event))
        else:
            told(HoldfastError("clients may not subscribe to this channel", Reason.REFUSED))

    def rule_of(self, channel: str) -> ChannelRule | None:
        """The rule that counts."""
        return self._rules.of(channel)

    def _check_name(self, channel: str) -> None:
        try:
            size = len(channel.encode())
        except UnicodeEncodeError:
            size = 0
        if not size:
            raise HoldfastError("expected the name of a channel", Reason.BAD_REQUEST)
        if size > self._max_name_bytes:
            raise HoldfastError(f"a channel's name has at most {self._max_name_bytes} bytes", Reason.BAD_REQUEST)

    def _by_token(self, wish: Wish, event: Subscribe) -> Grant | HoldfastError:
        client = self._client_of(wish.session.id)
        if self._tokens is None or client is None:
            return HoldfastError("tokens are not verified here", Reason.NOT_IMPLEMENTED)
        try:
            return Grant(*self._tokens.grant(event.token, client.user, event.channel))
        except HoldfastError as error:
            return error


def _check_filter(pattern: str) -> None:
    try:
        levels_of(pattern)
    except ConfigError as error:
        raise HoldfastError(str(error), Reason.BAD_REQUEST) from error
