"""What one proxy has said of itself: its heartbeat, record, nodes, and how many members its channels have.

Owns no decision: membership gets what it needs of each frame when it comes. Full facts and the changes after them are
the same frames, and each sets something to a value.
"""

from collections.abc import Iterable

from protocols.peers.frames import Beat, Counts, Fact, Nodes, NodeSeen, Told

PAGE = 2000  # counts in a page: some 80 KB


class PeerFacts:
    """A peer's, as last told; or our own, as last set."""

    def __init__(self) -> None:
        self.beat = Beat(0, [], [])
        self.nodes: list[NodeSeen] = []
        self.counts: dict[str, int] = {}

    def apply(self, frame: Fact) -> None:
        """A change. Told is membership's alone."""
        match frame:
            case Beat():
                self.beat = frame
            case Nodes(nodes):
                self.nodes = nodes
            case Counts(counts):
                for channel, count in counts:
                    if count:
                        self.counts[channel] = count
                    else:
                        self.counts.pop(channel, None)

    def replace(self, frames: Iterable[Fact]) -> None:
        """Full facts: what they do not name is no more."""
        self.nodes = []
        self.counts = {}
        for frame in frames:
            self.apply(frame)

    def pages(self, told: Told, size: int = PAGE) -> list[list[Fact]]:
        """All facts, with the record that we follow."""
        counts = list(self.counts.items())
        pages: list[list[Fact]] = [[told, self.beat, Nodes(self.nodes)]]
        pages += ([Counts(counts[start : start + size])] for start in range(0, len(counts), size))
        return pages
