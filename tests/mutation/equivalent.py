"""Mutants that change nothing which anybody could see, each with why: (file, its line as it is, change): reason."""

SAVES = "what is kept is what would be worked out again: it saves the work"

EQUIVALENT: dict[tuple[str, str, str], str] = {
    ("holdfast/node/stream.py", "self._places += 1", "1: 2"): "places are compared, so they need only grow",
    ("balancer/cluster/hearing.py", "if now != self._asked_at:", "if now != self._asked_at: always"): SAVES,
    ("balancer/cluster/hearing.py", "self._asked_at = now", "without: self._asked_at = now"): SAVES,
}
