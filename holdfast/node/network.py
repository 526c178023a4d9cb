"""What the parts of a node know of the links to all proxies."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from holdfast.node.effects import Outlet
from holdfast.node.seams import ProxySession
from holdfast.node.streams import Concerned, Streams
from holdfast.protocols.nodes.frames import Effect


class Network(Outlet, Protocol):
    """holdfast.node.links. sessions: those that have a welcome, by proxy. streams: what goes to each proxy."""

    @property
    def sessions(self) -> Mapping[str, ProxySession]: ...

    @property
    def streams(self) -> Streams: ...

    async def wait_room(self, effects: Sequence[Effect] = ()) -> Concerned:
        """Wait until a proxy is linked, and all that these concern take more."""
        ...


class LinkedSession(ProxySession, Protocol):
    """links: all of them, this one included."""

    @property
    def links(self) -> Network: ...
