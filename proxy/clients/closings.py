"""What the log says of clients that were closed: who, why, and in whose words.

A mass of them is few lines. Says nothing of those that leave by themselves, and of those that are closed because the
proxy stops or is fenced: that is one line for all.
"""

from collections import Counter

import structlog

from holdfast.masses import Masses
from holdfast.protocols.close import Reason

log = structlog.get_logger("holdfast.clients")

USUAL = frozenset({Reason.CLIENT_LEFT, Reason.DRAINING, Reason.FENCED})


class Closings:
    """Call `tick` now and then."""

    def __init__(self) -> None:
        self._masses = Masses(_tell)
        self.tick = self._masses.tick

    def say(self, client: int, address: str, reason: Reason, detail: str, code: int, now: float) -> None:
        """detail: what the client was told, or might have been. code: of a WebSocket, if it is not the reason's."""
        if self._masses.admits("client_closed", now, reason.value):
            name, own_code = f"{client:016x}", code or None
            log.info("client_closed", client=name, address=address, reason=reason.value, detail=detail, code=own_code)


def _tell(event: str, reasons: Counter[str]) -> None:
    log.info("clients_closed", count=reasons.total(), reasons=dict(reasons))
