"""What the nodes themselves say: who acts as master, and which clients came and went, each once."""

from collections import Counter, defaultdict

from holdfast.chaos.lines import Lines
from holdfast.chaos.masters import Masters


class Testimony:
    """nodes: their names by pid, for the world to fill in. clients: those that are there, by node.

    wrong: what no node may be told, counted.
    """

    __test__ = False  # pytest

    def __init__(self) -> None:
        self.nodes: dict[int, str] = {}
        self.masters = Masters()
        self.acting = ("", 0.0)  # who, and when it last did
        self.longest_pause = 0.0  # in which nobody acted; the world sets it to 0 when it begins to count
        self.clients: dict[str, set[int]] = defaultdict(set)
        self.wrong: Counter[str] = Counter()
        self._opened: dict[str, set[int]] = defaultdict(set)

    async def run(self, pipe: int) -> None:
        """Task."""
        lines = Lines(pipe)
        while (line := await lines.next()) is not None:
            self.say(line.decode())

    def say(self, line: str) -> None:
        """Lines of chaos.masters and chaos.openings."""
        match line.split(" "):
            case [_, "opened", pid, client]:
                self._open(self.nodes[int(pid)], int(client))
            case [_, "closed", pid, client]:
                self._close(self.nodes[int(pid)], int(client))
            case [at, epoch, node]:
                self._act(float(at), int(epoch), node)

    def _act(self, at: float, epoch: int, node: str) -> None:
        self.masters.acted(at, epoch, node)
        self.longest_pause = max(self.longest_pause, at - self.acting[1])
        self.acting = (node, at)

    def _open(self, node: str, client: int) -> None:
        if client in self._opened[node]:
            self.wrong[f"{node}: opened twice"] += 1
        self._opened[node].add(client)
        self.clients[node].add(client)

    def _close(self, node: str, client: int) -> None:
        if client not in self.clients[node]:
            self.wrong[f"{node}: closed, and it was not open"] += 1
        self.clients[node].discard(client)
