"""The logs of several machines: in a Redis, as coordination has it (a server, a master that Sentinels name, a cluster).

Owns what is sent and what comes back, and that no answer is larger than a page. All keys have one hash tag, so in a
Redis Cluster one node has all logs. Refuses to try anything twice: to append again is up to who asked, and harmless.
"""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from struct import Struct
from typing import NamedTuple, TypeVar

from holdfast.balancer.coordination.base import CoordinationError
from holdfast.balancer.coordination.redis_bounds import LINE_BYTES
from holdfast.balancer.coordination.redis_client import STEPS, Argument, RedisClient
from holdfast.balancer.coordination.redis_urls import Servers
from holdfast.balancer.history import redis_scripts as scripts
from holdfast.balancer.history.base import (
    END,
    MAX_IDENTITIES,
    MAX_IDENTITY_BYTES,
    MAX_NEWS,
    MAX_NOTE_BYTES,
    MAX_PAYLOAD_BYTES,
    REMEMBER,
    Append,
    Appended,
    Log,
    LogUnavailable,
    Page,
    check,
    new_epoch,
)
from holdfast.balancer.history.contents import MAX_NAME_BYTES, appended_of, epoch_of, news_of, number_of, page_of

Result = TypeVar("Result")

_LENGTHS = Struct(">5I")

# Of one script, so that none takes long: appends, and bytes of theirs (one may have more); publications, and bytes.
MAX_APPENDS, MAX_APPEND_BYTES = 256, 4 << 20
MAX_PAGE, MAX_PAGE_BYTES = 256, 8 << 20
MAX_AGE = 1e10  # seconds: Redis refuses times that are much longer
MAX_ANSWER_BYTES = (
    MAX_PAYLOAD_BYTES
    + MAX_PAGE_BYTES
    + MAX_PAGE * (MAX_NOTE_BYTES + MAX_IDENTITY_BYTES + 16 * LINE_BYTES)
    + MAX_NEWS * (MAX_NAME_BYTES + 16 * LINE_BYTES)
)


class _Script(NamedTuple):
    text: str
    digest: str


APPEND, READ, NEWS, RENEW = (
    _Script(text, scripts.digest(text)) for text in (scripts.APPEND, scripts.READ, scripts.NEWS, scripts.RENEW)
)


class RedisLog(Log):
    """A Log in Redis 5 or later. name: of the cluster; clusters of different names may share a Redis.

    timeout: of each operation. max_bytes: of all logs, as sizes are counted (base); Redis takes about as much, and 150
    bytes for each identity. remember_seconds: for which identities are known, if there are not more than
    max_identities. clock: for tests; without one time is Redis's, since several machines have several.
    """

    is_blocking = True

    def __init__(
        self,
        servers: Servers,
        name: str,
        timeout: float,
        max_bytes: int,
        remember_seconds: float = REMEMBER,
        max_identities: int = MAX_IDENTITIES,
        password: str = "",
        sentinel_password: str = "",
        clock: Callable[[], float] | None = None,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._servers = servers
        self._key = f"{{holdfast:{name}}}:history"
        self._timeout = timeout
        self._limits = (max_bytes, math.ceil(remember_seconds * 1000), max_identities)
        self._clock = clock
        self._entropy = entropy
        self.made_room = 0
        self.forgotten_early = 0
        self._end = 0.0  # of the operation that is under way
        self._client = RedisClient(servers, timeout / STEPS, self._left, password, sentinel_password, MAX_ANSWER_BYTES)

    def append(self, appends: Sequence[Append], now: float) -> list[Appended]:
        check(appends)
        self._end = time.monotonic() + self._timeout
        appended: list[Appended] = []
        for part in _parts(appends):
            args: list[Argument] = [new_epoch(now, self._entropy(4)), *self._limits]
            for append in part:
                keep = append.keep
                args += (append.channel, append.identity, append.payload, int(append.is_text), append.note)
                args += (keep.messages, keep.bytes, math.ceil(min(keep.age, MAX_AGE) * 1000))
            places, made_room, forgotten = self._eval(APPEND, args, partial(_appended, len(part)))
            appended += places
            self.made_room += made_room
            self.forgotten_early += forgotten
        return appended

    def read(self, channel: str, after: int, limit: int, max_bytes: int, now: float) -> Page:
        self._end = time.monotonic() + self._timeout
        args = (channel, min(after, END), min(limit, MAX_PAGE), min(max_bytes, MAX_PAGE_BYTES))
        return self._eval(READ, args, lambda reply: _page(reply, after))

    def news(self, cursor: str, limit: int) -> tuple[str, list[tuple[str, str, int]]]:
        self._end = time.monotonic() + self._timeout
        since, _, change = cursor.partition(" ")
        args = (new_epoch(time.time(), self._entropy(4)), since, change, min(limit, MAX_NEWS))
        return self._eval(NEWS, args, _news)

    def renew(self, channel: str, epoch: str) -> str:
        self._end = time.monotonic() + self._timeout
        return self._eval(RENEW, (new_epoch(time.time(), self._entropy(4)), channel, epoch), epoch_of)

    def close(self) -> None:
        self._client.close()

    def _eval(self, script: _Script, args: Sequence[Argument], read: Callable[[object], Result]) -> Result:
        now = "" if self._clock is None else math.floor(self._clock() * 1000)
        try:
            reply = self._client.eval(_as_it_is, script.text, [self._key], [now, *args], script.digest)
        except CoordinationError as error:
            raise LogUnavailable(str(error)) from error
        try:
            return read(reply)
        except LogUnavailable as error:
            self._client.close()  # it may be another server by the next time
            raise LogUnavailable(f"{self._servers}: {error}") from error

    def _left(self) -> float:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"not done within {self._timeout:g} s")
        return left


def _parts(appends: Sequence[Append]) -> Iterator[Sequence[Append]]:
    """One at least, so that what has ended is forgotten."""
    begin = size = 0
    for index, append in enumerate(appends):
        size += len(append.payload) + len(append.note)
        if index > begin and (index - begin == MAX_APPENDS or size > MAX_APPEND_BYTES):
            yield appends[begin:index]
            begin, size = index, len(append.payload) + len(append.note)
    yield appends[begin:]


def _as_it_is(reply: object) -> object:
    return reply


def _rows(reply: object, columns: int) -> list[list[object]]:
    if not isinstance(reply, list) or not all(isinstance(row, list) and len(row) == columns for row in reply):
        raise LogUnavailable(f"expected a list of lists of {columns}, got something else")
    return reply


def _appended(number: int, reply: object) -> tuple[list[Appended], int, int]:
    [[found, made_room, forgotten]] = _rows([reply], 3)
    places = [appended_of(epoch, offset, is_new) for epoch, offset, is_new in _rows(found, 3)]
    if len(places) != number:
        raise LogUnavailable(f"expected {number} places, got {len(places)}")
    return places, number_of(made_room), number_of(forgotten)


def _page(reply: object, after: int) -> Page:
    [[epoch, first, last, publications]] = _rows([reply], 4)
    if not isinstance(publications, bytes):
        raise LogUnavailable("expected publications, got something else")
    return page_of(epoch, first, last, _publications(publications), after)


def _publications(data: bytes) -> Iterator[tuple[object, ...]]:
    """Each as page_of takes it. Times are exact to the millisecond."""
    start = 0
    while start < len(data):
        lengths = _LENGTHS.unpack_from(data, start) if start + _LENGTHS.size <= len(data) else (len(data),)
        start += _LENGTHS.size
        if start + sum(lengths) > len(data):
            raise LogUnavailable("a publication: expected more bytes than there are")
        parts = []
        for length in lengths:
            parts.append(data[start : start + length])
            start += length
        place, measures, identity, note, payload = parts
        offset, _, at = place.partition(b"-")
        yield offset, identity, payload, measures[:1], note, number_of(at) / 1000


def _news(reply: object) -> tuple[str, list[tuple[str, str, int]]]:
    [[store, change, found]] = _rows([reply], 3)
    return f"{epoch_of(store)} {number_of(change)}", news_of(_rows(found, 3))
