"""Ways between nodes and proxies that can't reach each other: the tunnels through us, and the sessions that come to us
through another proxy.

Owns what the node link makes of identities that have no session: a node's on its way elsewhere, or a proxy that asks.
"""

from collections.abc import Mapping
from enum import Enum
from functools import partial

import trio

from holdfast.balancer.cluster.cluster import Cluster
from holdfast.balancer.links.peers import PeerLink
from holdfast.balancer.links.tunnels import Tunnels
from holdfast.balancer.links.zeromq import ZeromqHub
from holdfast.balancer.settings import NodeSettings
from holdfast.protocols.errors import FrameError
from holdfast.protocols.nodes.frames import NO_TOKEN, WRONG_TOKEN, Via, decode_from_node
from holdfast.protocols.peers.frames import Tunnelled


class Kind(Enum):
    """What came: something of a node that is for another proxy, or would be and goes nowhere; a batch of a node for us;
    no batch at all."""

    PASSED_ON = "passed on"
    DROPPED = "dropped"
    FOR_US = "for us"
    OTHER = "other"


class Ways:
    """links: to peers, as they are."""

    def __init__(
        self,
        hub: ZeromqHub,
        cluster: Cluster,
        links: Mapping[str, PeerLink],
        settings: NodeSettings,
        max_tunnels: int,
    ) -> None:
        self._hub = hub
        self._cluster = cluster
        self._links = links
        self._through: set[str] = set()  # proxies through which we have had sessions
        there = partial(self._send, back=False)
        self._tunnels = Tunnels(self._hears, there, hub.send_raw, max_tunnels, hub.when_read)
        self._settings = settings
        hub.on_end = self._tunnels.probe
        cluster.on_tunnelled = self._tunnelled

    def __len__(self) -> int:
        """Tunnels through us."""
        return len(self._tunnels)

    def take(self, identity: bytes, data: bytes) -> Kind:
        """From an identity that has no session here."""
        is_passed_on = self._tunnels.forward(identity, data)
        if is_passed_on is not None:
            return Kind.PASSED_ON if is_passed_on else Kind.DROPPED
        try:
            number, batch = decode_from_node(data)
        except FrameError:
            return Kind.OTHER
        if number or not batch or not isinstance(batch[0], Via):
            return Kind.FOR_US
        if not self._settings.admits(batch[0].token):
            self._tunnels.refuse(identity, WRONG_TOKEN if batch[0].token else NO_TOKEN, fatal=True)
            return Kind.DROPPED
        return Kind.PASSED_ON if self._tunnels.via(identity, batch[0].proxy) else Kind.DROPPED

    def tend(self) -> None:
        """End those of proxies that are not heard any more."""
        self._tunnels.tend()
        for proxy in [proxy for proxy in self._through if not self._hears(proxy)]:
            self.lose(proxy)

    def lose(self, proxy: str) -> None:
        self._through.discard(proxy)
        self._hub.forget_route(_way(proxy), "the proxy that it came through is not heard any more")

    def _hears(self, proxy: str) -> bool:
        return proxy in self._links and proxy in self._cluster.membership.heard_now(trio.current_time())

    def _send(self, proxy: str, session: bytes, data: bytes, *, back: bool) -> bool:
        link = self._links.get(proxy)
        return link is not None and link.send(self._cluster.tunnel(proxy, session, data, back=back))

    def _tunnelled(self, peer: str, frame: Tunnelled) -> None:
        """Back to a node here; or of a session with us, and the peer has the node's connection."""
        if frame.proxy not in ("", self._cluster.me.proxy):  # of a proxy that was at our address
            if frame.data and not frame.back:
                self._send(peer, frame.session, b"", back=True)
            return
        if frame.back:
            self._tunnels.returned(peer, frame.session, frame.data)
            return
        session = _way(peer) + frame.session
        if frame.data:
            self._through.add(peer)
            route = partial(self._send, peer, frame.session, back=True)
            self._hub.take(session, frame.data, trio.current_time(), route)
        else:
            self._hub.forget_route(session, "the way to it has ended")


def _way(proxy: str) -> bytes:
    """What the identity of each session that comes through this proxy begins with."""
    return b"T" + proxy.encode() + b"/"
