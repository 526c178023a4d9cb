"""The logs of one proxy, in its memory: gone with it.

Owns the logs, what they take in all, and when each ends. Refuses to take more than `max_bytes`: the oldest publication
of one of the largest logs goes then, or, where all logs are tiny, the one to which nothing came for longest.
"""

import os
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from struct import Struct

from holdfast.balancer.history.base import (
    LOG_BYTES,
    MAX_IDENTITIES,
    MAX_NEWS,
    PUBLICATION_BYTES,
    REMEMBER,
    RENEWED_AGE,
    TINY_BYTES,
    Append,
    Appended,
    Keep,
    Log,
    Logged,
    Page,
    check,
    new_epoch,
    size_of,
)
from holdfast.balancer.history.changes import Changes
from holdfast.balancer.history.identities import Identities
from holdfast.balancer.history.sizes import Sizes

SLACK = 1024  # ends of logs that are no more, always allowed

# at, is_text, bytes of note; then note and payload. In one object: each has 33 bytes of its own.
_HEAD = Struct("<d?I")


class _Log:
    __slots__ = ("at", "change", "channel", "ends", "epoch", "first", "gone", "identities", "keep", "payload_bytes",
                 "publications", "rank", "size")  # fmt: skip

    def __init__(self, channel: str, epoch: str, at: float, ends: float) -> None:
        self.channel = channel
        self.at = at  # of the last publication
        self.ends = ends
        self.keep = Keep(0, 0, 0.0)
        self.change = 0
        self.size = LOG_BYTES
        self.rank = 0
        self.begin(epoch)

    def begin(self, epoch: str) -> None:
        self.epoch = epoch
        self.first = 1
        self.gone = 0  # at the front of the lists, empty
        self.identities: list[bytes] = []
        self.publications: list[bytes] = []
        self.payload_bytes = 0

    @property
    def last(self) -> int:
        return self.first + len(self.publications) - self.gone - 1

    def add(self, append: Append, now: float) -> None:
        """now: not before that of the one ahead."""
        self.at = now
        self.ends = self.at + append.keep.age
        self.keep = append.keep
        self.identities.append(append.identity)
        self.publications.append(_HEAD.pack(self.at, append.is_text, len(append.note)) + append.note + append.payload)
        self.payload_bytes += len(append.payload)

    def has_too_much(self, now: float) -> bool:
        """Of the oldest one: whether it is to go. There is one."""
        keep = self.keep
        return (
            len(self.publications) - self.gone > keep.messages
            or 0 < keep.bytes < self.payload_bytes
            or _HEAD.unpack_from(self.publications[self.gone])[0] + keep.age <= now
        )

    def drop(self) -> int:
        """The oldest one. Returns what it took."""
        data = self.publications[self.gone]
        note_bytes = _HEAD.unpack_from(data)[2]
        self.payload_bytes -= len(data) - _HEAD.size - note_bytes
        size = len(data) - _HEAD.size + len(self.identities[self.gone]) + PUBLICATION_BYTES
        self.identities[self.gone] = self.publications[self.gone] = b""
        self.gone += 1
        self.first += 1
        if 2 * self.gone >= len(self.publications):  # seldom enough that moving the rest is a step for each that went
            del self.identities[: self.gone], self.publications[: self.gone]
            self.gone = 0
        return size

    def publication(self, offset: int) -> tuple[Logged, int]:
        """It, and the bytes of its payload."""
        index = offset - self.first + self.gone
        data = self.publications[index]
        at, is_text, note_bytes = _HEAD.unpack_from(data)
        end = _HEAD.size + note_bytes
        payload = data[end:]
        return Logged(offset, self.identities[index], payload, is_text, data[_HEAD.size : end], at), len(payload)


class MemoryLog(Log):
    """A Log in plain attributes. What it knows of the time is the latest `now`.

    max_bytes: of all logs, as sizes are counted (base). remember_seconds: for which identities are known, if there are
    not more than max_identities, which take about 100 bytes each.
    """

    is_blocking = False

    def __init__(
        self,
        max_bytes: int,
        remember_seconds: float = REMEMBER,
        max_identities: int = MAX_IDENTITIES,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._max_bytes = max_bytes
        self._entropy = entropy
        self._now = 0.0
        self._logs: dict[str, _Log] = {}
        self._sizes = Sizes[_Log]()
        self._changes = Changes[_Log]()
        self._ends: list[tuple[float, int, _Log]] = []  # a heap: each log once, at its end or before
        self._begun = 0  # logs
        self._known = Identities(max_identities, remember_seconds)
        self.made_room = 0

    @property
    def forgotten_early(self) -> int:  # type: ignore[override]  # it is only read
        return self._known.early

    def append(self, appends: Sequence[Append], now: float) -> list[Appended]:
        check(appends)
        self._tick(now)
        return [self._append(append) for append in appends]

    def read(self, channel: str, after: int, limit: int, max_bytes: int, now: float) -> Page:
        self._tick(now)
        log = self._present(channel)
        if log is None:
            return Page("", 1, 0, [])
        self._trim(log)
        last = log.last
        found: list[Logged] = []
        left = max_bytes
        for offset in range(max(log.first, after + 1), min(last, max(log.first, after + 1) + limit - 1) + 1):
            publication, size = log.publication(offset)
            if found and size > left:
                break
            found.append(publication)
            left -= size
        return Page(log.epoch, log.first, last, found)

    def news(self, cursor: str, limit: int) -> tuple[str, list[tuple[str, str, int]]]:
        if not cursor:
            return str(self._changes.last), []
        logs = self._changes.since(int(cursor), min(limit, MAX_NEWS))
        return str(logs[-1].change) if logs else cursor, [(log.channel, log.epoch, log.last) for log in logs]

    def renew(self, channel: str, epoch: str) -> str:
        log = self._present(channel)
        if log is None:
            if epoch:
                return ""
            log = self._begin(channel, self._now + RENEWED_AGE)
        elif log.epoch != epoch:
            return log.epoch
        else:
            log.begin(self._epoch())
            self._sizes.change(log, LOG_BYTES - log.size)
        self._changes.add(log, len(self._logs))
        return log.epoch

    def close(self) -> None:
        pass

    def _append(self, append: Append) -> Appended:
        place = self._known.find(append.channel, append.identity)
        if place is not None:
            return Appended(*place, False)
        log = self._present(append.channel)
        if log is None:
            log = self._begin(append.channel, self._now + append.keep.age)
        elif log.keep != append.keep:
            self._trim(log)  # what is gone by what was said before stays so
        log.add(append, self._now)
        appended = Appended(log.epoch, log.last, True)
        self._known.add(append.channel, append.identity, log.epoch, appended.offset, self._now)
        self._sizes.change(log, size_of(append))
        self._changes.add(log, len(self._logs))
        self._trim(log)
        self._make_room(log)
        return appended

    def _present(self, channel: str) -> _Log | None:
        log = self._logs.get(channel)
        if log is not None and log.ends <= self._now:  # its age is less than it was
            self._forget(log)
            return None
        return log

    def _begin(self, channel: str, ends: float) -> _Log:
        log = self._logs[channel] = _Log(channel, self._epoch(), self._now, ends)
        self._sizes.add(log)
        self._begun += 1
        heappush(self._ends, (ends, self._begun, log))
        if len(self._ends) > 2 * len(self._logs) + SLACK:  # of logs that had to go before their end
            self._ends = [entry for entry in self._ends if self._is_there(entry[2])]
            heapify(self._ends)
        return log

    def _epoch(self) -> str:
        return new_epoch(self._now, self._entropy(4))

    def _trim(self, log: _Log) -> None:
        while log.first <= log.last and log.has_too_much(self._now):
            self._sizes.change(log, -log.drop())

    def _make_room(self, present: _Log) -> None:
        while self._sizes.total > self._max_bytes:
            log = self._sizes.largest()
            if log.size < TINY_BYTES:
                log = self._sizes.longest_unchanged()
                if log is not present:
                    self._forget(log)
                    self.made_room += 1
                    continue
            if log.last < log.first:
                return
            self.made_room += 1
            self._sizes.change(log, -log.drop())

    def _forget(self, log: _Log) -> None:
        log.change = 0
        self._sizes.remove(log)
        del self._logs[log.channel]

    def _is_there(self, log: _Log) -> bool:
        return self._logs.get(log.channel) is log

    def _tick(self, now: float) -> None:
        """Logs that have ended are forgotten. Each is looked at once in its age."""
        self._now = max(self._now, now)
        self._known.tick(self._now)
        while self._ends and self._ends[0][0] <= self._now:
            _, number, log = heappop(self._ends)
            if not self._is_there(log):
                continue
            if log.ends <= self._now:
                self._forget(log)
            else:
                heappush(self._ends, (log.ends, number, log))
