"""Which notifications were due, and which of them came.

Pure. What came of a request and how often somebody has heard its notification are added up in one byte, for all
requests of a client at once: a run has millions of them.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

from msgspec import Struct

# What came of a request. AWAY: what ANSWERED is for those who were on the move.
OPEN, ANSWERED, FAILED, GONE, AWAY = 0x00, 0x10, 0x20, 0x30, 0x40
MOST = 0x0F  # times that it can have been heard
# Seconds before a connection's end: what was answered in them may have been lost with it. Its proxy had it by then, and
# the kernel may have had it yet. What a fault had kept from the proxy is chaos.sessions's.
ON_THE_WAY = 1.0
# Seconds after which nothing comes again: a node keeps for 60 what it can't bring, and looks once a second.
OLDEST = 61.0 + ON_THE_WAY


class Notifications(Struct):
    """published: by requests that were answered. delivered: those that were due, at all members together, once each.
    duplicated: over one connection. again: over two, which is not promised; the latest of them `again_after` seconds
    after it was published, at the least; too_old: of them, later than OLDEST. unfounded: of
    requests that got no reply of a node, or of another group. not_due: what might come once (chaos.accounting) and did,
    in no other column; excused: and did not, though it was answered. old_masters: announcements of an epoch below one
    heard before.
    """

    published: int = 0
    delivered: int = 0
    missing: int = 0
    duplicated: int = 0
    again: int = 0
    again_after: float = 0.0
    too_old: int = 0
    out_of_order: int = 0
    unfounded: int = 0
    not_due: int = 0
    excused: int = 0
    old_masters: int = 0


def while_away(
    outcomes: bytearray, sent_at: Sequence[float], done_at: Sequence[float], away: Iterable[tuple[float, float]]
) -> bytearray:
    """A client's requests as they are to somebody who was away then. Requests are in the order of sending.

    away: since when answered, and until when sent, it may have passed him by.
    """
    changed = outcomes[:]
    all_done_at = list(accumulate(done_at, max))  # ascending, so that it can be searched
    for since, until in away:
        for request in range(bisect_left(all_done_at, since), bisect_right(sent_at, until)):
            if changed[request] == ANSWERED and done_at[request] >= since:
                changed[request] = AWAY
    return changed


def compared(outcomes: bytearray, heard: bytearray) -> bytes:
    """A byte for each request. heard: how often, up to MOST; it may be shorter."""
    # All are added at once, as two long numbers: no sum is above 255, so nothing is carried.
    total = int.from_bytes(outcomes, "little") + int.from_bytes(heard, "little")
    return total.to_bytes(len(outcomes), "little")


def count(heard: bytes, told: Notifications, *, is_cluster: bool) -> None:
    """Adds what bytes of `compared` say to `told`. is_cluster: of several proxies."""
    once = heard.count(ANSWERED + 1)
    told.delivered += once
    if once == len(heard):
        return  # as it should be; and a hundred times as fast
    for value in set(heard) - {ANSWERED + 1}:
        requests = heard.count(value)
        outcome, times = value & ~MOST, value & MOST
        if outcome == ANSWERED:
            told.delivered += requests if times else 0
            told.missing += 0 if times else requests
            told.duplicated += requests * max(0, times - 1)
        elif outcome in (GONE, AWAY) or (outcome == FAILED and is_cluster):
            told.not_due += requests if times else 0
            told.excused += requests if outcome == AWAY and not times else 0
            told.duplicated += requests * max(0, times - 1)
        else:
            told.unfounded += requests * times
