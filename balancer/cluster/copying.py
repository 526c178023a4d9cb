"""A state on its way from one member to another, page by page: the side that gives, and the side that takes.

Owns the pages. Each is asked for when the one before has come, so neither side holds more than it must, and a loss
costs one page.
"""

from holdfast.balancer.state import StateCopy
from holdfast.protocols.nodes.frames import State
from holdfast.protocols.nodes.state import Position, StatePages

PAGE_ITEMS = 2000  # a page of small values is some 100 KB; of large ones protocols.nodes.state ends it earlier
GIVEN_FOR = 5.0  # seconds without a question after which what is given is forgotten


class Given:
    """The state as it was when this was made, for all who ask. Its values are the state's own; pages are but lists."""

    def __init__(self, copy: StateCopy, now: float) -> None:
        self.position = copy.position
        self._coming = copy.snapshot(PAGE_ITEMS)
        self._pages: list[State] = []
        self._asked_at = now

    def page(self, number: int, now: float) -> State | None:
        """None: there is no such page."""
        self._asked_at = now
        while number >= len(self._pages):
            page = next(self._coming, None)
            if page is None:
                return None
            self._pages.append(page)
        return self._pages[number]

    def is_forgotten(self, now: float) -> bool:
        return now - self._asked_at > GIVEN_FOR


class Taken:
    """What has come of a state at this position. next: the page that is to be asked for."""

    def __init__(self, position: Position, pages: StatePages) -> None:
        self.position = position
        self.pages = pages
        self.next = 0

    def add(self, number: int, page: State) -> bool | None:
        """True: it was the last. None: it is not the page that comes next. Raises FrameError past a limit."""
        if number != self.next:
            return None
        self.next += 1
        return self.pages.add(page)
