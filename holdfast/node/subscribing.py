"""What functions get and give when clients subscribe and publish by themselves: on_subscribe, on_publish.

Owns what of a Subscription can be said: what no proxy would take is refused where it is made.
"""

from math import inf
from typing import Any

import msgspec
from msgspec import Struct

from holdfast.node.admission import data_of
from holdfast.node.plain import seconds_of
from holdfast.node.request import Client, Content
from holdfast.protocols.nodes.calls import Granted


class ChannelRequest(Content):
    """Base class of both. channel: its name. client: who asks. attempt: 1, and one more for each time that a node was
    lost with it."""

    channel: str
    client: Client
    attempt: int = 1

    @property
    def redelivered(self) -> bool:
        """Whether another node may have begun with it."""
        return self.attempt > 1


class SubscribeRequest(ChannelRequest):
    """A client would subscribe to a channel. payload: what it says with that, JSON mostly; b"": nothing. token: what it
    shows, as it came: nobody has looked at it. is_filter: `channel` is a filter (`+`, `#`) for all channels that match.
    """

    token: str = ""
    is_filter: bool = False


class PublishRequest(ChannelRequest):
    """A client would publish to a channel. payload: what. is_text: whether it came as text; then it is valid UTF-8."""


class Subscription(Struct, frozen=True):
    """What on_subscribe returns of a client that may subscribe, if there is more to say than True.

    info: JSON that the client is told with it. recover: whether it gets what it has missed, if it says where it was, in
    a channel with history. expires: seconds until it ends, unless the client asks again; None: never. Raises TypeError,
    ValueError for what can't be.
    """

    info: Any = None
    recover: bool = True
    expires: float | None = None

    def __post_init__(self) -> None:
        self._granted()

    def _granted(self) -> Granted:
        """As it goes to the proxy. Raises ValueError for info that has become no JSON meanwhile."""
        try:
            info = data_of(self.info)
        except ValueError as error:
            raise ValueError(f"info of a Subscription: {error}") from error
        expires = 0.0
        if self.expires is not None:
            expires = seconds_of(self.expires)
            if not 0 < expires < inf:
                raise ValueError(f"expires of a Subscription: a number of seconds above 0, got {self.expires!r:.80}")
        return Granted(info, bool(self.recover), expires)


def sender_of(client: Client) -> bytes:
    """What others are told of who has published something."""
    return msgspec.json.encode({"client": f"{client.id:016x}", "user": client.user})
