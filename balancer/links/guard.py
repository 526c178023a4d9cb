"""What a proxy's sockets ask of whoever connects: CURVE keys, or the shared token.

On the node port the handshake asks for a key, if there are keys; a token is in the hello, or in what a proxy asks.
Where we publish nobody says anything, so the handshake asks for all: our own key pair, which all proxies of a cluster
have, or a password that the token makes.
"""

import hmac
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING

from holdfast.balancer.links.door import MAX_STRANGERS
from holdfast.balancer.links.zap import Zap

if TYPE_CHECKING:
    import zmq

    from holdfast.balancer.links.curve import Curve

PEERS = b"peers"  # the ZAP domain of what we publish on
USER = b"proxy"


class Guard:
    """curve: None without. token: "" without. max_strangers: at each port, who has not said who it is."""

    def __init__(self, curve: "Curve | None" = None, token: str = "") -> None:
        self._curve = curve
        self.max_strangers = MAX_STRANGERS
        # Not the token: who can pretend to be a peer's address must not get what nodes say.
        self._password = blake2b(token.encode(), person=PEERS, digest_size=32).hexdigest().encode() if token else b""
        self._zap: Zap | None = None

    def start(self, context: "zmq.Context[zmq.Socket[bytes]]") -> None:
        """Decide for all sockets of this context who may connect."""
        if self._curve is not None or self._password:
            self._zap = Zap(context, self.lets_in)

    def stop(self) -> None:
        if self._zap is not None:
            self._zap.stop()

    def lets_in(self, domain: bytes, mechanism: bytes, credentials: Sequence[bytes]) -> bool:
        if mechanism == b"CURVE" and self._curve is not None and len(credentials) == 1:
            return self._curve.is_ours(credentials[0]) if domain == PEERS else self._curve.is_authorized(credentials[0])
        is_plain = mechanism == b"PLAIN" and domain == PEERS and len(credentials) == 2
        return is_plain and bool(self._password) and hmac.compare_digest(credentials[1], self._password)

    def for_nodes(self, socket: "zmq.Socket[bytes]") -> None:
        """To be bound, and dialled by nodes and peers."""
        if self._curve is not None:
            self._curve.apply(socket)

    def for_peers(self, socket: "zmq.Socket[bytes]") -> None:
        """To be bound, and dialled by peers only."""
        socket.zap_domain = PEERS
        if self._curve is not None:
            self._curve.apply(socket)
        elif self._password:
            socket.plain_server = True

    def to_nodes_port(self, socket: "zmq.Socket[bytes]") -> None:
        """To dial a peer's `for_nodes`."""
        if self._curve is not None:
            self._curve.apply_to_peer(socket)

    def to_peers_port(self, socket: "zmq.Socket[bytes]") -> None:
        """To dial a peer's `for_peers`."""
        if self._curve is not None:
            self._curve.apply_to_peer(socket)
        elif self._password:
            socket.plain_username, socket.plain_password = USER, self._password
