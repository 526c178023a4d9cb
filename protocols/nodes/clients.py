"""A node's view of a proxy's clients, fed by the frames Welcome, Clients, Opened and Closed.

Owns which clients the node has been told of, and finds the differences, so that each client is told as opened
once and as closed once however often the session is made anew. Refuses a stream with a hole: FrameError, and the
session ends. A new session repairs it. Holds for one proxy; ids of clients never repeat, across runs neither.
"""

from protocols.errors import FrameError
from protocols.nodes.frames import Client, Clients, Closed, Opened


class ClientView:
    """The receiving end of balancer.registry.

    A session begins with `welcome`; then pages of the snapshot come with deltas between them. While they do, `clients`
    also has those of the former session whose fate is not known yet: they are told as closed at the last page.
    """

    def __init__(self) -> None:
        self.clients: dict[int, Client] = {}
        self._sequence: int | None = None  # None: no session, or its stream has broken
        self._confirmed: set[int] | None = None  # clients that this session's snapshot has told; None: it is complete

    @property
    def is_synced(self) -> bool:
        """Whether the last page has come, so that `clients` is what the proxy has."""
        return self._sequence is not None and self._confirmed is None

    def welcome(self, sequence: int) -> None:
        """A session stands; its snapshot follows. sequence: Welcome.clients_sequence."""
        self._sequence = sequence
        self._confirmed = set()

    def page(self, page: Clients) -> tuple[list[Client], list[Client]]:
        """A page of the snapshot. Returns who is to be told as opened and, with the last page, as closed."""
        if self._sequence is None or self._confirmed is None:
            raise FrameError("a page of clients came, but no snapshot is on its way")
        opened = []
        for client in page.clients:
            self._confirmed.add(client.id)
            if client.id not in self.clients:
                self.clients[client.id] = client
                opened.append(client)
        if not page.last:
            return opened, []
        closed = [self.clients.pop(gone) for gone in self.clients.keys() - self._confirmed]
        self._confirmed = None
        return opened, closed

    def opened(self, frame: Opened) -> Client | None:
        """A delta. Returns the client if it is new here. Raises FrameError if a number is missing."""
        self._advance(frame.sequence)
        client = frame.client
        if self._confirmed is not None:
            self._confirmed.add(client.id)
        if client.id in self.clients:
            return None
        self.clients[client.id] = client
        return client

    def closed(self, frame: Closed) -> Client | None:
        """A delta. Returns the client if it was known here: during a snapshot it may go before its page is made."""
        self._advance(frame.sequence)
        return self.clients.pop(frame.client, None)

    def _advance(self, sequence: int) -> None:
        if self._sequence is None or sequence != self._sequence + 1:
            expected = "a welcome" if self._sequence is None else f"number {self._sequence + 1}"
            self._sequence = None  # nothing more of this stream is to be believed
            raise FrameError(f"expected {expected} in the stream of clients, got number {sequence}")
        self._sequence = sequence
