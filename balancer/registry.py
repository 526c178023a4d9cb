"""The numbered stream that tells nodes every client.

Owns which clients are open, the number of the last change, and the changes that not all nodes have been told yet; and
of which clients one node is to be told yet that they came or went (proxy.nodes.once tells it): that is what nodes have
to know when this proxy is no more. Each client is encoded once, when it opens; pages, changes and requests re-use the
bytes (20,000 clients in memory are 20,000 byte strings). Refuses to open an id twice. Knows no nodes: who has been told
what is the announcer's. The other end is protocols.nodes.clients.
"""

from typing import NamedTuple, cast

from msgspec import Raw
from msgspec.structs import replace

from holdfast.protocols.nodes.announcements import CAME, WENT
from holdfast.protocols.nodes.frames import (
    Changes,
    Client,
    Clients,
    Closed,
    Due,
    Opened,
    decode_client,
    encode_frame,
    pack_ids,
)

PAGE_BYTES = 256 << 10  # a page of clients with huge headers ends here: one frame must not hold up a link for long
CLOSED_BYTES = 32  # what a Closed takes, about


class Gone(NamedTuple):
    """What is due of a client that is not open any more."""

    encoded: bytes
    reason: str
    came: bool

    @property
    def due(self) -> int:
        return WENT | CAME if self.came else WENT


class ClientRegistry:
    """Every open client of this proxy. `sequence`: number of the last change; it starts at 0.

    pending: changes up to that one, since the last `forget_pending`. untold: clients that came among them; always the
    same object.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self.pending: list[Opened | Closed] = []
        self.untold: set[int] = set()
        self._pending_bytes = 0
        self._encoded: dict[int, bytes] = {}
        self._coming: set[int] = set()  # of these: one node is to be told yet that they came
        self._gone: dict[int, Gone] = {}

    def __len__(self) -> int:
        return len(self._encoded)

    def __contains__(self, client_id: int) -> bool:
        return client_id in self._encoded

    @property
    def newest(self) -> int:
        """Of the clients that are open the one that came last; 0: none is."""
        return next(reversed(self._encoded), 0)

    def open(self, client: Client, due: bool = False) -> None:
        """Add a client. due: one node is to be told. Raises ValueError if the id is open."""
        if client.id in self._encoded:
            raise ValueError(f"client {client.id} is open already")
        encoded = self._encoded[client.id] = bytes(encode_frame(client))
        if due:
            self._coming.add(client.id)
        self.sequence += 1
        self.pending.append(Opened(_as_client(encoded), due))
        self.untold.add(client.id)
        self._pending_bytes += len(encoded)

    def update(self, client_id: int, data: bytes) -> None:
        """What the application keeps of a client, if it is open: each node is told, as if it had come."""
        client = self.get(client_id)
        if client is None:
            return
        encoded = self._encoded[client_id] = bytes(encode_frame(replace(client, data=data)))
        self._opened(client_id, encoded)

    def close(self, client_id: int, reason: str, due: bool = False) -> None:
        """Remove a client, if it is open. due: one node is to be told."""
        encoded = self._encoded.pop(client_id, None)
        if encoded is None:
            return
        what = 0
        if due:
            gone = self._gone[client_id] = Gone(encoded, reason, client_id in self._coming)
            self._coming.discard(client_id)
            what = gone.due
        self.sequence += 1
        self.pending.append(Closed(client_id, reason, what))
        self._pending_bytes += CLOSED_BYTES

    def told(self, client_id: int, what: int) -> None:
        """One node has been told that it came, or that it went, or nobody will be: CAME, WENT. It may be another
        proxy's client, which is no more: who knew it knows it by its id."""
        encoded = self._encoded.get(client_id)
        if encoded is not None:
            self._coming.discard(client_id)
            self._opened(client_id, encoded)
        elif what == CAME:
            if client_id in self._gone:
                self._gone[client_id] = self._gone[client_id]._replace(came=False)
            self._again(client_id, WENT)
        else:
            self._gone.pop(client_id, None)
            self._again(client_id, 0)

    def _opened(self, client_id: int, encoded: bytes) -> None:
        self.sequence += 1
        self.pending.append(Opened(_as_client(encoded), client_id in self._coming))
        self.untold.add(client_id)
        self._pending_bytes += len(encoded)

    def _again(self, client_id: int, due: int) -> None:
        self.sequence += 1
        self.pending.append(Closed(client_id, "", due))
        self.untold.add(client_id)  # the node that is told the next of it is to know of this
        self._pending_bytes += CLOSED_BYTES

    @property
    def is_full(self) -> bool:
        """What is pending is enough for a frame."""
        return self._pending_bytes >= PAGE_BYTES

    def changes(self, told: int = 0) -> Raw:
        """The frame of what is pending, without the first `told`. There must be more than that."""
        return encode_frame(Changes(self.sequence - len(self.pending) + told + 1, self.pending[told:]))

    def forget_pending(self) -> None:
        """Every node has been told."""
        self.pending.clear()
        self.untold.clear()
        self._pending_bytes = 0

    def info(self, client_id: int) -> bytes:
        """The client, encoded; b"" if it is not open."""
        return self._encoded.get(client_id, b"")

    def get(self, client_id: int) -> Client | None:
        """The client, decoded: for those who look at a few."""
        encoded = self._encoded.get(client_id)
        return None if encoded is None else decode_client(encoded)

    def snapshot(self) -> "ClientsSnapshot":
        """Begin to tell a node the clients: send Welcome with the snapshot's `sequence` at once, then its pages.

        What is pending now is in them; before each page goes what has become so since.
        """
        return ClientsSnapshot(self._encoded, self._coming, self._gone, self.sequence)


class ClientsSnapshot:
    """The clients for one node, in pages made when the link has room for them.

    A page has what is open when it is made, and every change after `sequence` goes to the node too, in one order with
    the pages. So a client that opens meanwhile comes as a change only, and one that closes before its page is in none,
    or is among those that are due: these are in the pages after the clients.
    is_complete: the last page has been made.
    """

    def __init__(self, encoded: dict[int, bytes], coming: set[int], gone: dict[int, Gone], sequence: int) -> None:
        self.sequence = sequence
        self._encoded = encoded
        self._coming = coming
        self._gone = gone
        self._gone_ids: list[int] | None = None  # from when the clients are told
        self._next_gone = 0
        self._ids = list(encoded)
        self._next = 0
        self.is_complete = False

    def next_page(self, size: int) -> Raw | None:
        """The next Clients frame, of at most `size` clients, to be sent at once; the last may be empty. Then None."""
        if self.is_complete:
            return None
        page: list[Client] = []
        page_bytes, first = 0, self._next
        while self._next < len(self._ids) and len(page) < size and page_bytes < PAGE_BYTES:
            encoded = self._encoded.get(self._ids[self._next])
            self._next += 1
            if encoded is not None:
                page.append(_as_client(encoded))
                page_bytes += len(encoded)
        due = [client for client in self._ids[first : self._next] if client in self._coming] if self._coming else []
        gone: list[Due] = []
        if self._next == len(self._ids):
            if self._gone_ids is None:
                self._gone_ids = list(self._gone)
            while self._next_gone < len(self._gone_ids) and len(page) + len(gone) < size and page_bytes < PAGE_BYTES:
                each = self._gone.get(self._gone_ids[self._next_gone])
                self._next_gone += 1
                if each is not None:
                    gone.append(Due(_as_client(each.encoded), each.reason, each.came))
                    page_bytes += len(each.encoded)
            self.is_complete = self._next_gone == len(self._gone_ids)
        return encode_frame(Clients(page, self.is_complete, pack_ids(due), gone))


def _as_client(encoded: bytes) -> Client:
    """Encoded bytes where a frame wants a Client: msgspec puts a Raw into the frame as it is."""
    return cast("Client", Raw(encoded))
