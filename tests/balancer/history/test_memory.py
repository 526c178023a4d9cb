"""What is so of logs in memory. What every store promises is in tests/contracts."""

import sys

import pytest

from holdfast.balancer.history.base import END, LOG_BYTES, PUBLICATION_BYTES, Append, Keep
from holdfast.balancer.history.memory import SLACK, MemoryLog

NOW = 1_800_000_000.0
KEEP = Keep(1000, 0, 3600.0)


def append(log, channel, number, *, payload=b"payload", keep=KEEP, now=NOW):
    return log.append([Append(channel, b"%d" % number, payload, True, b"", keep)], now)[0]


def steps(function, *args):
    """Lines of Python that are run by a call."""
    count = 0

    def trace(frame, event, arg):
        nonlocal count
        count += event == "line"
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*args)
    finally:
        sys.settrace(former)
    return count


@pytest.mark.parametrize("after", [0, 5_000, 9_990, END])
def test_reading_a_page_does_not_walk_the_log(after):
    keep = Keep(10_000, 0, 3600.0)
    log = MemoryLog(1 << 30)
    for number in range(10_000):
        append(log, "c", number, keep=keep)
    log.read("c", after, 10, 1 << 20, NOW)
    assert steps(log.read, "c", after, 10, 1 << 20, NOW) < 400


def test_what_it_takes_is_what_it_counts():
    log = MemoryLog(1 << 30)
    for number in range(10):
        append(log, f"{number % 2}", number, payload=bytes(128))
    assert log._sizes.total == 2 * LOG_BYTES + 10 * (PUBLICATION_BYTES + 1 + 128)
    log.append([], NOW + 3600.0)
    assert log._sizes.total == 0
    assert not log._logs


def test_logs_that_had_to_go_leave_nothing():
    log = MemoryLog(20 * LOG_BYTES)
    for number in range(5 * SLACK):
        append(log, f"{number}", number)
    assert len(log._logs) <= 20
    assert len(log._ends) <= SLACK + 2 * len(log._logs)
    assert len(log._changes._numbers) <= SLACK + 2 * len(log._logs) + 2
    log.append([], NOW + 7200.0)
    assert len(log._known) == 0


def test_a_publication_takes_no_more_than_is_said():
    """10,000 channels with 100 messages of 128 bytes in 350 MiB: 367 bytes for each. Objects as Python counts them."""
    log = MemoryLog(1 << 30)
    for number in range(2000):
        log.append([Append(f"{number % 20}", number.to_bytes(24, "big"), bytes(128), True, b"", KEEP)], NOW)
    taken = sum(map(sys.getsizeof, (log._ends, log._changes._numbers, log._changes._things))) / 20
    for channel in map(str, range(20)):
        held, [generation] = log._logs[channel], log._known._channels[channel]
        taken += sys.getsizeof(held.publications) + sum(map(sys.getsizeof, held.publications))
        taken += sys.getsizeof(held.identities) + sum(map(sys.getsizeof, held.identities))
        taken += sys.getsizeof(generation.known) + 32 * len(generation.known)  # the offsets
    assert taken / 2000 < 360
