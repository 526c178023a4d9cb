"""The last steps of the state, so that who is a little behind needs no copy of all of it.

Owns which step follows which position, and how many are kept. Refuses to grow: the oldest are forgotten.
"""

from collections import OrderedDict

from holdfast.protocols.nodes.frames import Entry
from holdfast.protocols.nodes.state import Position, item_bytes
from holdfast.protocols.peers.replication import Step

MAX_STEPS = 10_000
MAX_BYTES = 16 << 20
# While somebody is sent the whole state: what is ordered meanwhile must still be there when that is done, or who joins
# under load would never be done.
COPYING = 16  # times as much

CHUNK_STEPS = 1000
CHUNK_BYTES = 256 << 10  # of steps in a frame; one message must not hold up others for long


def step_bytes(step: Step) -> int:
    """What a step counts for, in memory and on the wire."""
    return 64 + len(step.node) + item_bytes(step.key, step.value) if isinstance(step, Entry) else 32


def position_of(step: Step) -> Position:
    return step.epoch, step.index


class Recent:
    """is_copied: somebody is sent the state as it was at some position in here."""

    def __init__(self) -> None:
        self.is_copied = False
        self.bytes = 0
        self._steps: OrderedDict[Position, Step] = OrderedDict()  # by the position before it

    def __len__(self) -> int:
        return len(self._steps)

    def __contains__(self, position: Position) -> bool:
        """Whether what follows it is known."""
        return position in self._steps

    def add(self, former: Position, step: Step) -> None:
        self._steps[former] = step
        self.bytes += step_bytes(step)
        factor = COPYING if self.is_copied else 1
        while len(self._steps) > MAX_STEPS * factor or self.bytes > MAX_BYTES * factor:
            self.bytes -= step_bytes(self._steps.popitem(last=False)[1])

    def clear(self) -> None:
        self._steps.clear()
        self.bytes = 0

    def after(self, position: Position) -> list[Step]:
        """The next steps, as many as fit into a frame."""
        steps: list[Step] = []
        size = 0
        while (step := self._steps.get(position)) is not None and len(steps) < CHUNK_STEPS and size < CHUNK_BYTES:
            steps.append(step)
            size += step_bytes(step)
            position = position_of(step)
        return steps


def chunks(steps: list[Step]) -> list[list[Step]]:
    """The same steps, in lists that fit into a frame."""
    result: list[list[Step]] = []
    size = CHUNK_BYTES
    for step in steps:
        if size >= CHUNK_BYTES or len(result[-1]) >= CHUNK_STEPS:
            result.append([])
            size = 0
        result[-1].append(step)
        size += step_bytes(step)
    return result
