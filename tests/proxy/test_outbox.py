from hypothesis import given
from hypothesis import strategies as st

from proxy.outbox import CHUNK_BYTES, Outbox


@given(parts=st.lists(st.binary(min_size=1, max_size=50), min_size=1), takes=st.lists(st.integers(1, 60)))
def test_whatever_is_written_at_a_time_the_bytes_come_out_in_order(parts, takes):
    outbox = Outbox()
    for part in parts:
        outbox.put(part)
    expected = b"".join(parts)
    written = b""
    sizes = iter([*takes, *[1000] * len(expected)])
    while outbox.size:
        assert outbox.size == len(expected) - len(written)
        chunk = bytes(outbox.peek())
        assert chunk
        count = min(next(sizes), len(chunk))
        written += chunk[:count]
        outbox.take(count)
    assert written == expected


def test_small_parts_are_joined_and_large_ones_are_not_copied():
    outbox = Outbox()
    outbox.put(b"a" * 10)
    outbox.put(b"b" * 10)
    outbox.put(b"c" * CHUNK_BYTES)
    assert bytes(outbox.peek()) == b"a" * 10 + b"b" * 10
    outbox.take(20)
    assert isinstance(outbox.peek(), memoryview)


@given(parts=st.lists(st.binary(min_size=2, max_size=9), min_size=1, max_size=5), data=st.data())
def test_truncate_keeps_only_a_part_that_is_half_written(parts, data):
    outbox = Outbox()
    for part in parts:
        outbox.put(part)
    taken = data.draw(st.integers(0, sum(map(len, parts)) - 1))
    left = taken
    while left:
        count = min(left, len(outbox.peek()))
        outbox.take(count)
        left -= count
    whole = 0
    for part in parts:
        if whole + len(part) > taken:
            break
        whole += len(part)
    expected = part[taken - whole :] if taken > whole else b""
    outbox.truncate()
    assert outbox.size == len(expected)
    if expected:
        assert bytes(outbox.peek()) == expected


def test_has_moved_tells_of_progress():
    outbox = Outbox()
    outbox.put(b"abc")
    outbox.has_moved = False
    outbox.take(0)
    assert not outbox.has_moved
    outbox.take(1)
    assert outbox.has_moved
