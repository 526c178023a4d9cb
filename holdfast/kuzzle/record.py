"""Record: what the entry of a document holds: its content, and which requests made its latest changes.

A request that is delivered again must not be done again, and be answered as if it had been the first time. So what was
done is remembered where it was done, by the same compare-and-set: apart from it, it would be of another moment. A
document that was deleted leaves its record, without content. What is too much to remember is known to be missing.

Pure: times are seconds since 1970.
"""

from itertools import dropwhile
from typing import Any, NamedTuple

import msgspec

Source = dict[str, Any]

# A node that is killed is noticed within milliseconds, and others change a document some hundred times a second. More
# would be sent to every node with each change of a small document; and of large ones there is at least the last.
MAX_CHANGES = 16
MAX_PAST_BYTES = 8 << 10  # of those before the last


class Change(msgspec.Struct, frozen=True, array_like=True):
    """before: the content that it replaced, None if there was none. until: so long its request may come again."""

    origin: str
    version: int
    until: float
    before: Source | None


class Written(NamedTuple):
    """What a change did. after: None if it was a deletion, and version that of what was deleted."""

    version: int
    before: Source | None
    after: Source | None


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """source: None if there is no such document. owner: who counts as having it. changes: the latest, in order.
    lost: until then a request may come again whose change is not among them any more."""

    source: Source | None = None
    version: int = 0
    owner: str = ""
    changes: tuple[Change, ...] = ()
    lost: float = 0.0

    @property
    def until(self) -> float:
        """When nothing of it need be remembered any more."""
        return max((self.lost, *(change.until for change in self.changes)))

    @property
    def is_bare(self) -> bool:
        """Whether forgetting would leave as much: most documents are created, and then only read."""
        return self.source is not None and all(change.before is None for change in self.changes)

    @property
    def last(self) -> Written:
        """What the last change did. Only of what `changed` returns."""
        change = self.changes[-1]
        return Written(change.version, change.before, self.source)

    def made_by(self, origin: str) -> Written | None:
        """What this request did, if that is known."""
        after = self.source
        for change in reversed(self.changes):
            if change.origin == origin:
                return Written(change.version, change.before, after)
            after = change.before
        return None

    def changed(self, source: Source | None, owner: str, origin: str, until: float, now: float) -> "Record":
        """With one change more; source None deletes it. The oldest are forgotten: those that are over, and those
        beyond the limits. Not one in the middle: what a change made is what the next one has replaced."""
        version = 1 if self.source is None else self.version + (source is not None)
        past = list(dropwhile(lambda change: change.until <= now, self.changes))
        lost, room = self.lost, MAX_PAST_BYTES
        for place in range(len(past) - 1, -1, -1):
            room -= len(msgspec.msgpack.encode(past[place]))
            if room < 0 or len(past) - place >= MAX_CHANGES:
                lost = max(lost, *(change.until for change in past[: place + 1]))
                past = past[place + 1 :]
                break
        return Record(source, version, owner, (*past, Change(origin, version, until, self.source)), lost)

    def forgetful(self) -> "Record":
        """The same, where there is no room for more: it is only known that something is not known."""
        return Record(self.source, self.version, self.owner, lost=self.until)

    def faded(self, now: float) -> "Record | None":
        """What is left of it when nothing need be remembered any more; None: nothing."""
        if self.until > now:
            return self
        return None if self.source is None else Record(self.source, self.version, self.owner)


NONE = Record()
