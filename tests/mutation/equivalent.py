"""Mutants that change nothing which anybody could see, each with why: (file, its line as it is, change): reason."""

EQUIVALENT: dict[tuple[str, str, str], str] = {
    ("holdfast/node/stream.py", "self._places += 1", "1: 2"): "places are compared, so they need only grow",
}
