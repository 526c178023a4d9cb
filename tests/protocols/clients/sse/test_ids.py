"""Positions in several channels as one text."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.protocols.clients.sse import ids
from holdfast.protocols.clients.sse.asking import MAX_CHANNELS
from holdfast.protocols.positions import Position

EPOCHS = st.text(max_size=60)
POSITIONS = st.dictionaries(
    st.text(min_size=1, max_size=30), st.builds(Position, EPOCHS, st.integers(0, (1 << 63) - 1)), max_size=8
)


@given(POSITIONS, st.lists(st.text(max_size=5), max_size=3))
def test_what_is_written_is_read(positions, others):
    text = ids.write(positions)
    assert re.fullmatch(r"[A-Za-z0-9_-]*", text)  # a header and a query can have it as it is
    if text:
        read = ids.read(text, [*positions, *others])
        assert {channel: at for channel, at in read.items() if channel in positions} == positions


def test_of_no_position_nothing_is_written():
    assert ids.write({}) == ""


def test_channels_that_were_not_asked_for_are_left_out():
    text = ids.write({"a": Position("e", 1), "b": Position("f", 2)})
    assert ids.read(text, ["b", "c"]) == {"b": Position("f", 2)}


def test_one_of_a_channel_is_short_and_one_of_the_most_channels_fits():
    epoch = "193a2b4c5d6-0123456789abcdef"
    assert len(ids.write({"news": Position(epoch, 12345)})) <= 60
    assert len(ids.write({str(n): Position("e" * 64, 1 << 62) for n in range(MAX_CHANNELS)})) <= ids.MAX_ID // 2


@given(st.binary(max_size=80))
def test_nothing_else_is_an_id(data):
    text = data.decode("latin-1")
    try:
        ids.read(text, ["a"])
    except ValueError:
        pass


@pytest.mark.parametrize("text", ["x", "A", "é", "AQAA", "A" * (ids.MAX_ID + 1), "Ag", "AQ" + "A" * 8])
def test_what_is_none_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 - whichever part of it is wrong
        ids.read(text, ["a"])


def test_cut_off_at_any_place_it_is_none_or_has_fewer():
    whole = {"a": Position("epoch", 1), "b": Position("epoch", 2)}
    text = ids.write(whole)
    for size in range(1, len(text)):
        try:
            read = ids.read(text[:size], whole)
        except ValueError:
            continue
        assert read in ({}, {"a": Position("epoch", 1)})
