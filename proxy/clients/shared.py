"""What all connections of a proxy share, and what the parts of one know of each other."""

from collections import deque
from math import inf

from holdfast.protocols.close import Reason
from holdfast.proxy.clients.held import Held
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.config import ClientSettings
from holdfast.proxy.metrics import Counters


class Writer:
    """Who has bytes to write at the turn's end."""

    __slots__ = ()

    def flush(self) -> None:
        raise NotImplementedError

    def on_crash(self) -> None:
        """`flush` raised."""
        raise NotImplementedError


class Waiting(Writer):
    """Who may wait for a turn of its own: a transport."""

    __slots__ = ()

    fd: int

    def on_ready(self, events: int, now: float) -> None:
        raise NotImplementedError

    @property
    def is_in_handshake(self) -> bool:
        raise NotImplementedError

    def take_up(self, now: float) -> None:
        """Go on with what had come when it began to wait, or read what has come since."""
        raise NotImplementedError


class Owner:
    """Whose transport it is: the connection. It is told what comes, what has left, and of the end.

    id: of the client, too. in_flight: requests that have no reply yet.
    """

    __slots__ = ("id", "in_flight")

    id: int
    in_flight: int

    def receive(self, data: bytes, now: float) -> None:
        """What the socket gave, decrypted; b"" is end of file."""
        raise NotImplementedError

    def receive_end(self, now: float) -> None:
        """End of file, told right after what came with it."""
        raise NotImplementedError

    def refused(self, why: str, now: float) -> None:
        """What came could not be decrypted."""
        raise NotImplementedError

    def go_on(self, now: float) -> None:
        """It was put off, and a turn has passed."""
        raise NotImplementedError

    def made_room(self, now: float) -> None:
        """There is less to send than before."""
        raise NotImplementedError

    def overflowed(self) -> bool:
        """More waits than may, replies included. False: that is no matter any more."""
        raise NotImplementedError

    def stalled(self) -> None:
        """What waits was not taken, not even a part of it, for as long as may be."""
        raise NotImplementedError

    def schedule(self, when: float) -> None:
        """Have `check` called then, or before."""
        raise NotImplementedError

    def close(self, reason: Reason, detail: str = "", code: int = 0) -> None:
        """Begin to end it, as its protocol does that."""
        raise NotImplementedError

    def lost(self) -> None:
        """The peer has gone."""
        raise NotImplementedError

    def abort(self, reason: Reason) -> None:
        """Close the descriptor now, whatever waits."""
        raise NotImplementedError

    def ended(self, *, is_whole: bool, reason: Reason = Reason.CLIENT_LEFT) -> None:
        """Close the descriptor: all has been said, or, not whole, never will be."""
        raise NotImplementedError


class Shared:
    """Limits as attributes, since each message looks at some. touched: writers, each once.

    unfinished: who has had its share of a turn and has more, each once, in the order in which they go on. encrypted:
    the same of transports whose TLS has something to go on with. judges_at: until then nobody is
    late, see proxy.clients.clients.
    """

    def __init__(self, settings: ClientSettings, reactor: Reactor, counters: Counters) -> None:
        self.reactor = reactor
        self.counters = counters
        self.held = Held()
        self._settings_in_flight, self._is_ordered = settings.max_in_flight, settings.ordered
        self.share_in_flight(1)
        self.max_outbox_bytes = settings.max_outbox_bytes
        self.max_unread_reply_bytes = settings.max_unread_reply_bytes
        self.stall_timeout = settings.ping_timeout
        self.rate = settings.max_message_rate
        self.judges_at = -inf
        self.touched: list[Writer] = []
        self.unfinished: deque[Owner] = deque()
        self.encrypted: deque[Waiting] = deque()

    def share_in_flight(self, share: int) -> None:
        """Each client may ask so much at once: this part of what is configured, and one at least.

        max_asked: with what waits for its turn. max_in_flight: of that with nodes.
        """
        self.max_asked = max(1, self._settings_in_flight // share)
        self.max_in_flight = 1 if self._is_ordered else self.max_asked
