"""What one message of a stranger costs a node: linear in its size, and in pieces, between which others go on."""

import json
import time
from itertools import count
from types import SimpleNamespace

import pytest
import trio

from holdfast.kuzzle import expiring, realtime, rooms
from holdfast.kuzzle.catalog import Catalog
from holdfast.kuzzle.contents import Contents
from holdfast.kuzzle.documents import Documents
from holdfast.kuzzle.expiring import Expiring
from holdfast.kuzzle.filters import MAX_FIELD_LENGTH, FilterError, flatten, matches, normalise
from holdfast.kuzzle.holdings import Holdings, Quota
from holdfast.kuzzle.time_slice import TimeSlice
from holdfast.kuzzle.wire import Request

HERE = {"index": "city", "collection": "rides"}


@pytest.mark.parametrize("name", ["[" * 60_000, "a[" * 30_000, "\\[" * 15_000 + "]", "a[" * 30_000 + "]"])
def test_a_long_field_name_is_refused_in_no_time(name):
    """Of the processor, with a wide margin: a pattern took 10 s and more."""
    began = time.process_time()
    with pytest.raises(FilterError):
        normalise({"exists": name})
    assert time.process_time() - began < 3


def test_a_flattened_document_is_as_large_as_what_filters_can_name():
    """Each field repeats what it is in: a long name with many fields below it would be the square of its size."""
    document = {"K" * 50_000: {f"{n}": 1 for n in range(2000)}, "k" * 200: {f"{n}": {"m": 1} for n in range(2000)}}
    flat = flatten(document)
    assert flat["k" * 200 + ".7.m"] == 1
    assert sum(map(len, flat)) < 4001 * MAX_FIELD_LENGTH
    deep = 1
    for _ in range(500):
        deep = {"a": deep}
    assert sum(map(len, flatten(deep))) < MAX_FIELD_LENGTH**2


class Counted(str):
    """Text that counts how often it is looked at."""

    looks = 0

    def __eq__(self, other):
        Counted.looks += 1
        return str.__eq__(self, other)

    def __hash__(self):
        Counted.looks += 1
        return str.__hash__(self)


def test_an_array_is_gone_through_once_for_all_conditions():
    asked = [normalise({"exists": f'tags["{n}"]'}) for n in range(200)]
    flat = flatten({"tags": [Counted(f"t{n}") for n in range(1000)]})
    assert not any(matches(filters, flat) for filters in asked)
    assert Counted.looks < 5000


class Hearsay:
    """A node as far as Realtime needs it to name who is told what."""

    id = "n"

    def __init__(self):
        self.state, self.told = {}, 0

    def on_state(self, function, *, inline):
        self.set = function

    def on_master(self, function):
        pass

    async def notify(self, payload, *, channels, exclude, text, tail):
        self.told += len(channels)


def with_rooms(count, time_slice):
    """Realtime with so many rooms that want a document before it is changed, and as many after that."""
    node = Hearsay()
    made = realtime.Realtime(node, lambda token: False, time_slice)
    for number in range(2 * count):
        filters = normalise({"equals": {"side": "after" if number < count else "before"}})
        value = {"index": "city", "collection": "rides", "filter": list(filters)}
        node.set(rooms.entry_key(f"room{number}", 1, "311"), value)
    return node, made


async def notify_document(made):
    request = Request(controller="document", action="replace", args={**HERE, "_id": "1"})
    await made.notify_document(request, "replace", "1", {"side": "before"}, {"side": "after"}, None)


async def test_who_is_told_that_a_document_left_is_found_in_linear_time():
    """Of the processor, with a wide margin: to look for each of 30,000 rooms among 30,000 took 7 s and more."""
    node, made = with_rooms(30_000, TimeSlice())
    began = time.process_time()
    await notify_document(made)
    assert node.told == 60_000
    assert time.process_time() - began < 4


async def test_handlers_that_have_waited_for_the_same_frame_find_their_rooms_one_after_the_other():
    now, passes = count(1), 0
    node, made = with_rooms(1, TimeSlice(lambda: float(next(now))))

    async def others():
        nonlocal passes
        while True:
            passes += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        async with trio.open_nursery() as handlers:
            for _ in range(50):
                handlers.start_soon(notify_document, made)
        nursery.cancel_scope.cancel()
    assert node.told == 100
    assert passes >= 50


class Everything(dict):
    """A state that is not gone through."""

    def __iter__(self):
        raise AssertionError("all keys of all nodes' state are looked at")

    keys = values = items = __iter__


class Follower:
    """A node as far as the documents of its API need it to be read."""

    def __init__(self):
        self.state, self._told = Everything(), []

    def on_state(self, function, *, inline):
        self._told.append(function)

    def set(self, key, value):
        self.state[key] = value
        for tell in self._told:
            tell(key, value)


async def test_who_reads_a_collection_looks_at_no_other():
    node = Follower()
    holdings, contents = Holdings(node, Quota()), Contents(node)
    catalog = Catalog(node, holdings, contents)
    documents = Documents(node, catalog, None, holdings, contents, TimeSlice())
    for index in ("city", "other"):
        node.set(f"kuzzle/index/{index}", {"owner": "user a"})
        for collection in ("rides", "cabs"):
            node.set(f"kuzzle/collection/{index}/{collection}", {"owner": "user a"})
            for id in ("1", "2/3"):
                source = {"of": f"{index}/{collection}"}
                node.set(f"kuzzle/document/{index}/{collection}/{id}", {"source": source, "version": 1})
    node.set("kuzzle/document/city/rides/gone", {"source": None})
    request = Request(controller="document", action="search", args=HERE)
    assert await documents.count(request) == {"count": 2}
    found = await documents.search(request)
    hits = [json.loads(bytes(hit)) for hit in found["hits"]]
    assert [(hit["_id"], hit["_source"]) for hit in hits] == [(id, {"of": "city/rides"}) for id in ("1", "2/3")]
    assert await catalog.list_indexes(request) == {"indexes": ["city", "other"]}
    assert [each["name"] for each in (await catalog.list_collections(request))["collections"]] == ["cabs", "rides"]


class Deleted(dict):
    """A state with so many deletions that are remembered."""

    looks = 0

    def get(self, key):
        self.looks += 1
        return super().get(key)

    def version(self, key):
        return 1


async def test_the_sweep_of_deletions_goes_on_in_pieces():
    now, passes, sweeps = count(1), 0, []
    state = Deleted({f"kuzzle/expiring/{n}": {"until": time.time() + 1000, "value": {}} for n in range(100)})
    Expiring(SimpleNamespace(state=state, on_master=sweeps.append), TimeSlice(lambda: float(next(now))))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(*sweeps)
        while state.looks < len(state):
            passes += 1
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert passes >= 99


async def test_nor_is_what_others_have_in_the_state_passed_over_at_once(monkeypatch):
    monkeypatch.setattr(expiring, "STRIDE", 2)
    now, passes, sweeps = count(1), 0, []
    state = Deleted({**dict.fromkeys(map(str, range(100)), 1), "kuzzle/expiring/1": {"until": 1e18, "value": {}}})
    Expiring(SimpleNamespace(state=state, on_master=sweeps.append), TimeSlice(lambda: float(next(now))))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(*sweeps)
        while not state.looks:
            passes += 1
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    assert passes >= 50
