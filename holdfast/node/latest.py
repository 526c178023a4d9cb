"""Which of a proxy's sessions is the latest, by the numbers that it gives them."""

from holdfast.protocols.errors import FrameError

MAX_LATEST = 1000  # far more runs of proxies than there are within the 5 s that a welcome is waited for


class Latest:
    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}  # by proxy, also those that have gone

    def expect(self, proxy: str, number: int) -> None:
        """A session is to stand. Raises FrameError if it is over, and a later one was here before.

        A network that holds up what it carries brings the welcome of a session that the proxy has given up since, for
        one by another way. What that one's snapshot lacks has not gone, and what it has may have.
        """
        latest = self._numbers.pop(proxy, 0)
        self._numbers[proxy] = max(latest, number)
        if len(self._numbers) > MAX_LATEST:
            del self._numbers[next(iter(self._numbers))]
        if 0 < number <= latest:
            raise FrameError(f"this is session {number} of the proxy, and {latest} was here before")
