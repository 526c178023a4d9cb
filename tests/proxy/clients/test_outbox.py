from hypothesis import given
from hypothesis import strategies as st

from holdfast.proxy.clients.held import Held
from holdfast.proxy.clients.outbox import CHUNK_BYTES, Outbox


@given(parts=st.lists(st.binary(min_size=1, max_size=50), min_size=1), takes=st.lists(st.integers(1, 60)))
def test_whatever_is_written_at_a_time_the_bytes_come_out_in_order(parts, takes):
    outbox = Outbox(Held())
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


def seal(plain):
    """Longer, and to be read only whole: as records are."""
    return len(plain).to_bytes(3, "big") + plain


def unseal(data):
    plain = b""
    while data:
        size = int.from_bytes(data[:3], "big")
        assert len(data) >= 3 + size, "a record is cut"
        plain += data[3 : 3 + size]
        data = data[3 + size :]
    return plain


@given(
    parts=st.lists(st.integers(1, 3 * CHUNK_BYTES), min_size=1, max_size=4),
    writes=st.lists(st.integers(1, 2 * CHUNK_BYTES), max_size=6),
)
def test_what_is_sealed_comes_out_whole_and_the_rest_can_be_left_out(parts, writes):
    outbox = Outbox(Held())
    sent = [bytes([place]) * size for place, size in enumerate(parts)]
    for part in sent:
        outbox.put(part)
    wire = b""
    for size in writes:
        if not outbox.size:
            break
        data = outbox.peek_sealed(seal)[:size]
        outbox.take_sealed(len(data))
        wire += data
    outbox.truncate()
    outbox.put(b"last")
    while outbox.size:
        data = outbox.peek_sealed(seal)
        outbox.take_sealed(len(data))
        wire += data
    plain = unseal(wire)
    assert plain.endswith(b"last")
    assert plain[:-4] in [b"".join(sent[:count]) for count in range(len(sent) + 1)]


def test_small_parts_are_joined_and_large_ones_are_not_copied():
    outbox = Outbox(Held())
    outbox.put(b"a" * 10)
    outbox.put(b"b" * 10)
    outbox.put(b"c" * CHUNK_BYTES)
    assert bytes(outbox.peek()) == b"a" * 10 + b"b" * 10
    outbox.take(20)
    assert isinstance(outbox.peek(), memoryview)


@given(parts=st.lists(st.binary(min_size=2, max_size=9), min_size=1, max_size=5), data=st.data())
def test_truncate_keeps_only_a_part_that_is_half_written(parts, data):
    outbox = Outbox(Held())
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
