"""Failures that come again and again: which of them are worth a line."""

INTERVAL = 60.0


class Complaints:
    """Of one thing that is tried until it succeeds."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def is_due(self, reason: str, now: float) -> bool:
        """Whether to say it: not if the same was said less than a minute ago."""
        if now - self._said.get(reason, float("-inf")) < INTERVAL:
            return False
        self._said = {why: at for why, at in self._said.items() if now - at < INTERVAL} | {reason: now}
        return True
