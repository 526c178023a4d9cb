"""The numbered stream that tells every node every client.

Owns which clients are open and the number of the last delta. Each client is encoded once, when it opens; pages and
deltas re-use the bytes (20,000 clients in memory are 20,000 byte strings). Refuses to open an id twice. Knows no
nodes: what it returns goes into the batch of every link, in this order. The other end is protocols.nodes.clients.
"""

from typing import cast

from msgspec import Raw, msgpack

from protocols.nodes.frames import Client, Clients, Closed, Opened, encode_frame

_decoder = msgpack.Decoder(Client)

PAGE_BYTES = 256 << 10  # a page of clients with huge headers ends here: one frame must not hold up a link for long


class ClientRegistry:
    """Every open client of this proxy. `sequence`: number of the last delta; it starts at 0."""

    def __init__(self) -> None:
        self.sequence = 0
        self._encoded: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._encoded)

    def __contains__(self, client_id: int) -> bool:
        return client_id in self._encoded

    def open(self, client: Client) -> Raw:
        """Add a client. Returns the Opened frame for every link. Raises ValueError if the id is open."""
        if client.id in self._encoded:
            raise ValueError(f"client {client.id} is open already")
        encoded = self._encoded[client.id] = bytes(encode_frame(client))
        self.sequence += 1
        return encode_frame(Opened(self.sequence, _as_client(encoded)))

    def close(self, client_id: int, reason: str) -> Raw | None:
        """Remove a client. Returns the Closed frame for every link; None if no such client is open."""
        if self._encoded.pop(client_id, None) is None:
            return None
        self.sequence += 1
        return encode_frame(Closed(self.sequence, client_id, reason))

    def get(self, client_id: int) -> Client | None:
        """The client, decoded: for those who look at a few."""
        encoded = self._encoded.get(client_id)
        return None if encoded is None else _decoder.decode(encoded)

    def snapshot(self) -> "Snapshot":
        """Begin to tell a node the clients: send Welcome with the snapshot's `sequence` at once, then its pages."""
        return Snapshot(self._encoded, self.sequence)


class Snapshot:
    """The clients for one node, in pages made when the link has room for them.

    A page has what is open when it is made, and every delta after `sequence` goes to the node too, in one order with
    the pages. So a client that opens meanwhile comes as a delta only, and one that closes before its page is in none.
    """

    def __init__(self, encoded: dict[int, bytes], sequence: int) -> None:
        self.sequence = sequence
        self._encoded = encoded
        self._ids = list(encoded)
        self._next = 0
        self._is_complete = False

    def next_page(self, size: int) -> Raw | None:
        """The next Clients frame, of at most `size` clients, to be sent at once; the last may be empty. Then None."""
        if self._is_complete:
            return None
        page: list[Client] = []
        page_bytes = 0
        while self._next < len(self._ids) and len(page) < size and page_bytes < PAGE_BYTES:
            encoded = self._encoded.get(self._ids[self._next])
            self._next += 1
            if encoded is not None:
                page.append(_as_client(encoded))
                page_bytes += len(encoded)
        self._is_complete = self._next == len(self._ids)
        return encode_frame(Clients(page, last=self._is_complete))


def _as_client(encoded: bytes) -> Client:
    """Encoded bytes where a frame wants a Client: msgspec puts a Raw into the frame as it is."""
    return cast("Client", Raw(encoded))
