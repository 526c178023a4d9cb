"""Whom this proxy hears, and since when each of the others is silent.

Owns the times at which peers were heard. Who of them is a member is balancer.cluster.membership's.
"""


class Hearing:
    """timeout: seconds after which a peer that says nothing is not heard any more."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._heard_at: dict[str, float] = {}
        self._silent_from: dict[str, float] = {}  # when it was heard, or became a member, or we woke up
        # One tick asks a dozen times, at one moment.
        self._asked_at: float | None = None
        self._answer: frozenset[str] = frozenset()

    def heard(self, peer: str, now: float) -> None:
        self._heard_at[peer] = self._silent_from[peer] = now
        self._asked_at = None

    def joined(self, proxy: str, now: float) -> None:
        """It has become one: who has never been heard is silent from now on."""
        self._silent_from[proxy] = self._heard_at.get(proxy, now)

    def left(self, peer: str) -> None:
        """It said so itself."""
        self._heard_at.pop(peer, None)
        self._asked_at = None

    def forget(self, peer: str) -> None:
        self.left(peer)
        self._silent_from.pop(peer, None)

    def awoke(self, now: float) -> None:
        """We were away. Silence counts from now; but nobody counts as heard, because what waited for us is old."""
        self._heard_at.clear()
        self._silent_from = dict.fromkeys(self._silent_from, now)
        self._asked_at = None

    def now(self, now: float) -> frozenset[str]:
        """All that are heard, members or not. The same object as before, if they are the same."""
        if now != self._asked_at:
            self._asked_at = now
            answer = {peer for peer, at in self._heard_at.items() if now - at <= self._timeout}
            if answer != self._answer:
                self._answer = frozenset(answer)
        return self._answer

    def silent_since(self, peer: str) -> float:
        return self._silent_from[peer]
