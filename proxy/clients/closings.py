"""What the log says of clients that were closed: who, why, and in whose words.

Owns that a mass of them is few lines. Says nothing of those that leave by themselves, and of those that are closed
because the proxy stops or is fenced: that is one line for all.
"""

from collections import Counter

import structlog

from holdfast.protocols.close import Reason

log = structlog.get_logger("holdfast.clients")

USUAL = frozenset({Reason.CLIENT_LEFT, Reason.DRAINING, Reason.FENCED})
INTERVAL = 1.0
MOST = 10  # lines within one interval; then one more tells how many there were


class Closings:
    """Call `tick` now and then."""

    def __init__(self) -> None:
        self._since = float("-inf")
        self._said = 0
        self._unsaid: Counter[str] = Counter()

    def say(self, client: int, address: str, reason: Reason, detail: str, code: int, now: float) -> None:
        """detail: what the client was told, or might have been. code: of a WebSocket, if it is not the reason's."""
        self.tick(now)
        if self._said == MOST:
            self._unsaid[reason.value] += 1
            return
        self._said += 1
        name, own_code = f"{client:016x}", code or None
        log.info("client_closed", client=name, address=address, reason=reason.value, detail=detail, code=own_code)

    def tick(self, now: float) -> None:
        if now - self._since < INTERVAL:
            return
        self._since = now
        self._said = 0
        if self._unsaid:
            log.info("clients_closed", count=self._unsaid.total(), reasons=dict(self._unsaid))
            self._unsaid.clear()
