"""What the process holds of its clients' input and output: one sum, kept by whoever comes to hold something or lets go.

The payloads of open requests are the ledger's sum; proxy.clients.budget adds the two up and says what follows from it.
"""


class Held:
    """bytes: of adapters, of requests above `client.max_in_flight`, and of all outboxes.

    A notification waits in the outboxes of many at once and is there once: so it is counted once.
    """

    __slots__ = ("_holders", "bytes")

    def __init__(self) -> None:
        self.bytes = 0
        self._holders: dict[int, int] = {}  # of each part of an outbox, by its identity

    def keep(self, part: bytes) -> None:
        """One more outbox has it."""
        key = id(part)
        holders = self._holders.get(key, 0)
        self._holders[key] = holders + 1
        if not holders:
            self.bytes += len(part)

    def drop(self, part: bytes) -> None:
        """One of those that have it has it no more."""
        key = id(part)
        holders = self._holders[key] - 1
        if holders:
            self._holders[key] = holders
        else:
            del self._holders[key]
            self.bytes -= len(part)

    def share(self, part: bytes) -> int:
        """Of its bytes, an equal part for each that has it: the shares of all are what is held."""
        return len(part) // self._holders[id(part)]
