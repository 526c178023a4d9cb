"""What the reactor wakes a transport for, and when it is not read though it wants to be: it waits for its turn."""

from holdfast.proxy.clients.reactor import HANG_UP, READABLE, WRITABLE
from holdfast.proxy.clients.shared import Shared, Waiting


def _there_is_one() -> None:
    """Whoever waits is taken up at a turn's end; that of this turn may have been."""


class Interest(Waiting):
    """fd: -1 when closed. interest: what we want to be woken for. has_eof: the peer will send no more.

    waits_for_turn: since `put_off`, until `take_up`. kept_bytes: of what has come, encrypted, and is above the share of
    one turn. pending and direct are the transport's: the three are side by side in memory, since a fan-out to thousands
    is made of misses.
    """

    __slots__ = (
        "_clients", "_is_finishing", "_registered",
        "direct", "fd", "has_eof", "interest", "kept_bytes", "pending", "waits_for_turn",
    )  # fmt: skip

    def __init__(self, clients: Shared, fd: int) -> None:
        self._clients = clients
        self.fd = fd
        self.pending: bytes | list[bytes] | None = None
        self.direct: object = None
        self.interest = READABLE
        self.has_eof = False
        self.kept_bytes = 0
        self.waits_for_turn = False
        self._is_finishing = False
        self._registered = READABLE  # what the reactor wakes us for

    def set_reading(self, is_wanted: bool) -> None:
        """Backpressure reaches the client through its own socket."""
        interest = (READABLE if is_wanted and not self.has_eof else 0) | (self.interest & WRITABLE)
        if interest != self.interest:
            self._set_interest(interest)

    def watch_for_end(self) -> None:
        """Of one that is not read: be woken when the peer will send no more, as by an error. Until it is read again."""
        if not self.interest & READABLE:
            self._registered = self.interest | HANG_UP
            self._clients.reactor.modify(self.fd, self._registered)

    def _end_of_file(self) -> None:
        self.has_eof = True
        self.interest &= ~READABLE

    def _set_interest(self, interest: int) -> None:
        self.interest = interest
        # Who is not to be read stays registered until something comes: an HTTP client's next request mostly comes after
        # the reply, so that saves two system calls for each.
        if interest != self._registered and interest | READABLE != self._registered:
            self._register()
        if self.kept_bytes:
            self._go_on_later()

    def _register(self) -> None:
        self._registered = self.interest & ~READABLE if self.waits_for_turn else self.interest
        self._clients.reactor.modify(self.fd, self._registered)

    def put_off(self) -> bool:
        """Be not read until `take_up`. False: nothing is to be read, or what comes is only discarded.

        `interest` stays as it is: whoever looks at that has not stopped to listen, and its time runs.
        """
        if self._is_finishing or not self.interest & READABLE:
            return False
        self.waits_for_turn = True
        self._register()
        return True

    def _keep(self, kept_bytes: int) -> None:
        """So many wait for another turn."""
        self._clients.held.bytes += kept_bytes - self.kept_bytes
        self.kept_bytes = kept_bytes
        if kept_bytes:
            self._go_on_later()

    def _go_on_later(self) -> None:
        """With what is kept, if it is wanted."""
        if not self.waits_for_turn and self.put_off():
            self._clients.encrypted.append(self)
            self._clients.reactor.in_next_turn(_there_is_one)
