"""One channel with history of which somebody is here: how far its log was given out, and what comes next.

Owns the order: what is given out is the log's, one offset after the other, however it came, by a node or read from the
log. Who comes with a position is no member until it has what all have; what is given out meanwhile it gets with what it
has missed. Pure: what is to be read, written or joined is returned, or told to the newcomer.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum

from holdfast.balancer.history.base import Page
from holdfast.protocols.positions import Position, Publication

MAX_FORMER = 4  # epochs of which it is known how far they were given out


class Why(Enum):
    """Why what a client has missed can't be had."""

    OTHER_LOG = "the log is another one by now"
    TRIMMED = "the log does not go back so far"
    AHEAD = "the log has not come so far: it was begun anew, or restored"
    TOO_MUCH = "it is more than may wait for a client"
    AWAY = "the log can't be read at present"


class Newcomer:
    """Somebody who will be a member. since: where it is; None: wherever all are. max_bytes: that it may have missed.

    on_caught_up: told when it is where all are: it is to be made a member at once. missed: what it has missed; why: it
    can't have that.
    """

    __slots__ = ("_bytes", "is_asked", "max_bytes", "missed", "offset", "on_caught_up", "since", "why")

    def __init__(
        self, since: Position | None, max_bytes: int, on_caught_up: Callable[["Newcomer", Position | None], None]
    ) -> None:
        self.since = since
        self.max_bytes = max_bytes
        self.on_caught_up = on_caught_up
        self.missed: list[Publication] = []
        self.why: Why | None = None
        self.offset = -1 if since is None else since.offset
        self.is_asked = False
        self._bytes = 0

    def takes(self, publication: Publication) -> None:
        """The next one."""
        self._bytes += len(publication.payload)
        self.offset = publication.offset
        if self._bytes > self.max_bytes:
            self.gives_up(Why.TOO_MUCH)
        else:
            self.missed.append(publication)

    def gives_up(self, why: Why) -> None:
        """It begins where all are."""
        self.missed, self.why, self.since = [], why, None


class Followed:
    """epoch, last: of its log, what was given out, or is being; epoch "": not known yet, or is_new: there is none.
    end: up to here it is here, and will be given out. wanted: the highest offset that is known to be in the log.
    is_reading: what is missing is asked for. doing: what is being given out; its offset is 0 if it has no place in the
    log. is_beginning: a log is begun, for a newcomer. is_welcoming: newcomers are being made members. had: offsets
    that the members have already, without a position. order: when its end was asked for, among the answers of the log;
    0: never."""

    __slots__ = (
        "channel",
        "doing",
        "end",
        "epoch",
        "former",
        "had",
        "is_beginning",
        "is_new",
        "is_reading",
        "is_welcoming",
        "last",
        "newcomers",
        "order",
        "ready",
        "wanted",
    )

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.epoch = ""
        self.last = self.end = self.wanted = 0
        self.ready: deque[Publication] = deque()
        self.newcomers: list[Newcomer] = []
        self.former: dict[str, int] = {}
        self.had: set[int] = set()
        self.doing: Publication | None = None
        self.order = 0
        self.is_beginning = self.is_reading = self.is_new = self.is_welcoming = False

    @property
    def done(self) -> int:
        """Up to here it is given out, to the last of those who are here."""
        return self.last - (self.doing is not None and self.doing.offset > 0)

    @property
    def lacks(self) -> bool:
        """Something of the log has not come."""
        return self.wanted > self.end

    def knows(self, epoch: str, last: int) -> None:
        """The log, as it is now: whoever comes from now on gets what is above."""
        self.epoch = epoch
        self.last = self.end = self.wanted = last

    def has_given(self, epoch: str, offset: int) -> bool:
        """Whether that was given out, or will be, of this log or of one before."""
        return offset <= (self.end if epoch == self.epoch else self.former.get(epoch, 0))

    def offer(self, publication: Publication) -> None:
        """One of its log. What does not follow what is here is read instead, with what is between."""
        if publication.offset == self.end + 1:
            self.end += 1
            self.ready.append(publication)
        self.wanted = max(self.wanted, publication.offset)

    def read(self, page: Page, publications: list[Publication]) -> bool:
        """Of its log: what is above `end`, the oldest first. False: what follows is no longer kept."""
        for publication in publications:
            if publication.offset == self.end + 1:
                self.end += 1
                self.ready.append(publication)
        self.wanted = max(self.wanted, page.last)
        return not (self.lacks and page.first > self.end + 1)

    def skip(self, offset: int) -> None:
        """What comes before it can't be had. Whoever is here has to be told."""
        self.last = self.end = offset - 1
        self.wanted = max(self.wanted, self.last)

    def begins_anew(self, epoch: str, last: int) -> None:
        """Another log has this name now: whoever knows a position has to be told. Of the log before it is known how far
        it was given out."""
        self.former[self.epoch] = self.last
        if len(self.former) > MAX_FORMER:
            del self.former[next(iter(self.former))]
        self.ready = deque(each for each in self.ready if not each.offset)
        self.had.clear()
        self.knows(epoch, last)
        for newcomer in self.newcomers:
            if newcomer.since is not None:
                newcomer.gives_up(Why.OTHER_LOG)

    def next(self) -> Publication | None:
        """The next to be given out, if there is one: it is, from now on."""
        if self.doing is not None or not self.ready:
            return None
        self.doing = publication = self.ready.popleft()
        if not publication.offset:
            return publication
        self.last = publication.offset
        for newcomer in self.newcomers:
            if newcomer.since is not None and newcomer.offset == publication.offset - 1:
                newcomer.takes(publication)
        return publication

    # --- newcomers --------------------------------------------------------------------------------------------------

    def welcome(self, *, is_away: bool = False) -> bool:
        """Those who are where all are become members. Whether there is one. is_away: where that is nobody can say."""
        if not (self.epoch or is_away):
            return False
        position = None if is_away else Position(self.epoch, self.last)
        newcomers, self.newcomers = self.newcomers, []
        is_one_told = False
        for newcomer in newcomers:
            if newcomer.since is None or newcomer.offset == self.last:
                is_one_told = True
                newcomer.on_caught_up(newcomer, position)
            else:
                self.newcomers.append(newcomer)
        return is_one_told

    def shows(self, newcomer: Newcomer, page: Page, publications: list[Publication]) -> None:
        """What the log has above where that one is. What all have not got yet is offered to all."""
        since = newcomer.since
        if since is None:
            return
        if page.epoch != since.epoch or page.epoch != self.epoch:
            newcomer.gives_up(Why.OTHER_LOG)
        elif newcomer.offset > max(page.last, self.last):
            newcomer.gives_up(Why.AHEAD)
        elif page.first > newcomer.offset + 1 and page.last > newcomer.offset:
            newcomer.gives_up(Why.TRIMMED)
        else:
            for publication in publications:
                if publication.offset > self.last:
                    self.offer(publication)
                elif publication.offset == newcomer.offset + 1 and newcomer.since is not None:
                    newcomer.takes(publication)
