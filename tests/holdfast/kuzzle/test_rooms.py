"""Rooms as one node knows them: derived from entries of the state, equal on all nodes."""

import json

from hypothesis import given
from hypothesis import strategies as st

from holdfast.kuzzle.filters import normalise, room_id
from holdfast.kuzzle.rooms import SCOPES, USERS, Rooms, Subscription, entry_key

ADULTS = normalise({"range": {"age": {"gte": 18}}})
ALL = normalise({})


def entry(client, filters=ADULTS, index="i", collection="c", digits="311", origin="o"):
    room = room_id(index, collection, filters)
    value = {
        "index": index,
        "collection": collection,
        "filter": filters,
        "volatile": {"name": client},
        "origin": origin,
    }
    return entry_key(room, client, digits), json.loads(json.dumps(value))


def test_a_document_finds_the_rooms_it_is_in_scope_of():
    rooms = Rooms()
    rooms.apply(*entry(1))
    rooms.apply(*entry(2, ALL))
    rooms.apply(*entry(3, ALL, collection="other"))
    adult, child = {"age": 40}, {"age": 4}
    assert {room.id for room in rooms.in_scope("i", "c", adult)} == {room_id("i", "c", ADULTS), room_id("i", "c", ALL)}
    assert {room.id for room in rooms.in_scope("i", "c", child)} == {room_id("i", "c", ALL)}
    assert rooms.in_scope("i", "nobody", adult) == []
    assert rooms.listing() == {
        "i": {"c": {room_id("i", "c", ADULTS): 1, room_id("i", "c", ALL): 1}, "other": {room_id("i", "other", ALL): 1}}
    }


def test_the_same_entry_twice_is_one_subscription():
    rooms = Rooms()
    came = rooms.apply(*entry(1))
    assert came is not None
    assert (came.user, came.room.id) == ("in", room_id("i", "c", ADULTS))
    assert rooms.apply(*entry(1)) is None
    assert rooms.count(came.room.id) == 1
    key, _ = entry(1)
    gone = rooms.apply(key, None)
    assert gone is not None
    assert (gone.user, gone.subscription.volatile) == ("out", {"name": 1})
    assert rooms.apply(key, None) is None
    assert rooms.count(came.room.id) == 0
    assert rooms.get(came.room.id) is None


def test_a_client_with_two_channels_counts_once_and_leaves_with_the_last():
    rooms = Rooms()
    rooms.apply(*entry(1, digits="311", origin="first"))
    assert rooms.apply(*entry(1, digits="111", origin="second")) is None
    room = rooms.get(room_id("i", "c", ADULTS))
    assert room is not None
    assert rooms.count(room.id) == 1
    assert room.members[1].origin == "first"
    assert rooms.apply(entry(1, digits="311")[0], None) is None
    assert rooms.apply(entry(1, digits="111")[0], None) is not None


def test_channels_are_named_for_what_they_want():
    rooms = Rooms()
    for client, (users, scope) in enumerate((users, scope) for users in USERS for scope in SCOPES):
        rooms.apply(*entry(client, digits=f"{USERS[users]}1{SCOPES[scope]}"))
    room = rooms.get(room_id("i", "c", ADULTS))
    assert room is not None
    assert len(room.channels) == 16

    def wanted(channels):
        return {channel.removeprefix(f"{room.id}-") for channel in channels}

    assert wanted(room.channels_for_scope("in")) == {"111", "112", "211", "212", "311", "312", "411", "412"}
    assert wanted(room.channels_for_scope("out")) == {"111", "113", "211", "213", "311", "313", "411", "413"}
    assert wanted(room.channels_for_user("in")) == {"11", "111", "112", "113", "21", "211", "212", "213"}
    assert wanted(room.channels_for_user("out")) == {"11", "111", "112", "113", "41", "411", "412", "413"}


steps = st.lists(
    st.tuples(st.booleans(), st.integers(1, 3), st.sampled_from([ADULTS, ALL]), st.sampled_from(["311", "111"])),
    max_size=30,
)


@given(steps)
def test_rooms_are_what_the_entries_that_live_say(history):
    """However they came about: a node that saw every change and one that got the snapshot agree."""
    rooms, alive = Rooms(), {}
    for is_set, client, filters, digits in history:
        key, value = entry(client, filters, digits=digits)
        rooms.apply(key, value if is_set else None)
        if is_set:
            alive[key] = value
        else:
            alive.pop(key, None)
    fresh = Rooms()
    for key, value in alive.items():
        fresh.apply(key, value)
    assert rooms.listing() == fresh.listing()
    document = {"age": 40}
    for scope in ("in", "out"):
        assert {
            channel for room in rooms.in_scope("i", "c", document) for channel in room.channels_for_scope(scope)
        } == {channel for room in fresh.in_scope("i", "c", document) for channel in room.channels_for_scope(scope)}
    for room in fresh.in_scope("i", "c", document):
        assert rooms.count(room.id) == len({key.split("/")[3] for key in alive if room.id in key})


def test_a_subscription_survives_being_stored():
    import msgspec

    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(Subscription("i", "c", list(ADULTS), {"a": 1}, "o")))
    rooms = Rooms()
    change = rooms.apply(entry_key("r", 0xFFFFFFFFFFFFFFFF, "311"), stored)
    assert change is not None
    assert change.room.filter == ADULTS
    assert list(change.room.members) == [0xFFFFFFFFFFFFFFFF]
