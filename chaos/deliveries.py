"""What clients have heard of each other's notifications: when, how often, and what was left out between two others.

Pure. Whether a notification was due is chaos.due's to say. A client hears its channel over one connection after the
other, and what is promised is promised of each: the numbers of one run of a node grow, nothing is left out between two
that came, and nothing comes twice. Over two of them it may hear one again that was published before it came to the
second.
"""

from array import array
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from holdfast.chaos.due import MOST

TOLD = 20  # of each kind: so many are told one by one
UNKNOWN = -1


class Twice(Struct):
    """`client` heard the notification of (sender, request) at `first` and `again`; then as the run's `number`th.

    came: when it joined its channel over the connection on which it came again. sent: when the request was. proxies: of
    both connections, when that is known. Times: seconds of the clients' clock, or since the start.
    """

    client: int
    sender: int
    request: int
    run: int
    number: int
    sent: float
    first: float
    came: float
    again: float
    proxies: tuple[int, int] = (-1, -1)

    def since(self, start: float) -> "Twice":
        """With times since then."""
        first, came, again = self.first - start, self.came - start, self.again - start
        return replace(self, sent=self.sent - start, first=first, came=came, again=again)


class Missed(Struct):
    """`client` did not hear the notification of (sender, request), sent and answered at these times.

    is_between: it heard earlier and later ones of the same run of a node over one connection.
    """

    client: int
    sender: int
    request: int
    sent: float
    answered: float
    is_between: bool

    def since(self, start: float) -> "Missed":
        """With times since then."""
        return replace(self, sent=self.sent - start, answered=self.answered - start)


class Disordered(Struct):
    """`client` heard the run's `number`th at `at`, after the `last`th over the same connection."""

    client: int
    sender: int
    request: int
    run: int
    number: int
    last: int
    sent: float
    at: float
    proxy: int = -1

    def since(self, start: float) -> "Disordered":
        """With times since then."""
        return replace(self, sent=self.sent - start, at=self.at - start)


class Published:
    """Which requests have which numbers of a run, in one channel: as far as anybody heard them."""

    def __init__(self) -> None:
        self._runs: dict[int, array[int]] = {}  # place of the sender among his neighbours, and request, in one number

    def add(self, run: int, number: int, place: int, request: int) -> None:
        numbers = self._runs.get(run)
        if numbers is None:
            numbers = self._runs[run] = array("q")
        if number >= len(numbers):
            numbers.extend([UNKNOWN] * (number + 1 - len(numbers)))
        numbers[number] = request << 8 | place

    def between(self, run: int, number: int, next_number: int) -> Iterator[tuple[int, int]]:
        """Place and request of each that is known to be between these."""
        for one in self._runs[run][number + 1 : next_number]:
            if one != UNKNOWN:
                yield one & 0xFF, one >> 8


class Ears:
    """One client's. heard: how often over one connection, for each neighbour by his request; at most MOST.

    gaps: (run, number, next number) that came one after the other over one connection. began: not before that the
    present one did. came: when it joined its channel over it.
    """

    __slots__ = ("_at", "_numbers", "began", "came", "gaps", "heard")

    def __init__(self, neighbours: int) -> None:
        self.heard = [bytearray() for _ in range(neighbours)]
        self.gaps: list[tuple[int, int, int]] = []
        self.began = self.came = 0.0
        self._at = [array("d") for _ in range(neighbours)]
        self._numbers: dict[int, int] = {}  # the last one of each run, over the present connection

    def moves(self, at: float) -> None:
        """The connection has ended."""
        self.began = self.came = at
        self._numbers.clear()

    def hear(self, place: int, request: int, at: float) -> float | None:
        """When it came last before; None: never."""
        heard, times = self.heard[place], self._at[place]
        if request >= len(heard):
            lacking = bytes(request + 1 - len(heard))
            heard.extend(lacking)
            times.frombytes(8 * lacking)
        before = times[request] if heard[request] else None
        times[request] = at
        if before is None or before >= self.began:
            heard[request] = min(heard[request] + 1, MOST)
        return before

    def last(self, run: int) -> int:
        """The highest number of the run that came over this connection; 0: none did."""
        return self._numbers.get(run, 0)

    def is_next(self, run: int, number: int) -> bool:
        """Whether this number of the run comes after those that came over this connection."""
        last = self._numbers.get(run, 0)
        if number <= last:
            return False
        if last and number != last + 1:
            self.gaps.append((run, last, number))
        self._numbers[run] = number
        return True
