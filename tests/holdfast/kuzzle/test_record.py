"""What a document's entry remembers of its latest changes: each whole, or it is known that something is missing."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.kuzzle.record import MAX_CHANGES, MAX_PAST_BYTES, NONE, Record, Written


def after(record, *contents, now=0.0, until=60.0):
    """With a change for each content, by the requests "1", "2" and so on."""
    for number, content in enumerate(contents, 1):
        record = record.changed(content, "o", f"{number}", until, now)
    return record


def test_each_change_is_told_as_the_first_time():
    record = after(NONE, {"a": 1}, {"a": 2}, None, {"a": 3})
    assert record.made_by("1") == Written(1, None, {"a": 1})
    assert record.made_by("2") == Written(2, {"a": 1}, {"a": 2})
    assert record.made_by("3") == Written(2, {"a": 2}, None)
    assert record.made_by("4") == record.last == Written(1, None, {"a": 3})
    assert record.made_by("5") is None
    assert (record.source, record.version, record.lost) == ({"a": 3}, 1, 0)


def test_what_is_too_much_to_remember_is_known_to_be_missing():
    record = after(NONE, *({"n": n} for n in range(MAX_CHANGES)))
    assert (len(record.changes), record.lost) == (MAX_CHANGES, 0)
    record = record.changed({"n": -1}, "o", "more", 70.0, 0.0)
    assert (len(record.changes), record.lost) == (MAX_CHANGES, 60)
    assert record.made_by("1") is None
    assert record.made_by("2") == Written(2, {"n": 0}, {"n": 1})


def test_large_contents_are_remembered_for_the_last_change_alone():
    large = {"a": "x" * MAX_PAST_BYTES}
    record = after(NONE, {}, large, large)
    assert ([change.origin for change in record.changes], record.lost) == (["1", "2", "3"], 0)
    record = record.changed({}, "o", "4", 60, 0)
    assert ([change.origin for change in record.changes], record.lost) == (["4"], 60)


def test_what_can_not_come_again_is_forgotten():
    record = after(NONE, {"a": 1}, {"a": 2}).changed({"a": 3}, "o", "3", 100.0, 60.0)
    assert [change.origin for change in record.changes] == ["3"]
    assert record.lost == 0
    longer = after(NONE, {"a": 1}, until=90.0).changed({"a": 2}, "o", "2", 50.0, 0.0)
    longer = longer.changed({"a": 3}, "o", "3", 100.0, 60.0)
    assert longer.made_by("1") == Written(1, None, {"a": 1}), "though a later one is over"


def test_a_record_fades():
    record = after(NONE, {"a": 1}, {"a": 2})
    assert record.until == 60
    assert record.faded(59) is record
    assert record.faded(60) == Record({"a": 2}, 2, "o")
    assert after(record, None).faded(60) is None
    assert [r.is_bare for r in (after(NONE, {}), record, after(record, None), record.faded(60))] == [
        True, False, False, True,
    ]  # fmt: skip


def test_without_room_it_is_known_that_something_is_not_known():
    record = after(NONE, {"a": 1}, None).forgetful()
    assert record == Record(None, 1, "o", (), 60.0)
    assert record.until == 60
    assert record.faded(60) is None


@pytest.mark.parametrize("content", [{"a": 1}, None])
def test_a_deletion_without_memory_is_smaller_than_any_document(content):
    document = msgspec.msgpack.encode(after(NONE, {"_kuzzle_info": {"author": "-1", "createdAt": 1}}))
    assert len(msgspec.msgpack.encode(after(NONE, {}, None).forgetful())) < len(document)


step = st.tuples(st.none() | st.integers(0, 6000), st.integers(0, 40), st.integers(0, 60))


@given(st.lists(step, max_size=60))
def test_whoever_can_come_again_is_known_or_known_to_be_missing(steps):
    """steps: the size of a content, or a deletion; how long after the one before; how long it may come again."""
    record, done, now = NONE, {}, 0.0
    for number, (size, pause, span) in enumerate(steps):
        now += pause
        content = None if size is None else {"n": number, "x": "x" * size}
        before = record.source
        record = record.changed(content, "o", f"{number}", now + span, now)
        done[f"{number}"] = Written(record.version, before, content), now + span
        record = msgspec.convert(msgspec.to_builtins(record), Record)
        assert len(record.changes) <= MAX_CHANGES
        assert sum(len(msgspec.msgpack.encode(change)) for change in record.changes[:-1]) <= MAX_PAST_BYTES
        assert record.last == done[f"{number}"][0]
        for origin, (written, until) in done.items():
            known = record.made_by(origin)
            assert known == written if known else until <= now or record.lost >= until
