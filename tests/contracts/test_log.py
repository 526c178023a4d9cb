"""What every store of logs promises. Another implementation is another entry in STORES."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from holdfast.balancer.coordination.redis_urls import parse_urls
from holdfast.balancer.history.base import (
    END,
    LOG_BYTES,
    MAX_IDENTITY_BYTES,
    MAX_NOTE_BYTES,
    PUBLICATION_BYTES,
    RENEWED_AGE,
    Append,
    Appended,
    Keep,
    Log,
    Page,
)
from holdfast.balancer.history.memory import MemoryLog
from holdfast.balancer.history.redis import RedisLog
from holdfast.balancer.history.sqlite import SqliteLog

TIMEOUT = 20.0
MUCH = 1 << 30
ALL = (0, 1000, MUCH)  # of a log, for `read`
REMEMBERED = 600.0
KEEP = Keep(100, 0, 3600.0)
numbers = count(1)


@dataclass
class Store:
    """How to open it, empty, and what time it is there."""

    make: Callable[..., Log]
    time: list[float] = field(default_factory=lambda: [1_800_000_000.0])
    opened: list[Log] = field(default_factory=list)

    def open(self, max_bytes: int = MUCH, **options) -> Log:
        self.opened.append(self.make(lambda: self.time[0], max_bytes, REMEMBERED, **options))
        return self.opened[-1]

    @property
    def now(self) -> float:
        return self.time[0]

    def let_pass(self, seconds: float) -> None:
        self.time[0] += seconds

    def close(self) -> None:
        for log in self.opened:
            log.close()


def memory(request):
    return lambda clock, *args, **options: MemoryLog(*args, **options)


def sqlite(request):
    folder = request.getfixturevalue("tmp_path")
    return lambda clock, *args, **options: SqliteLog(
        str(folder / str(next(numbers))), TIMEOUT, *args, clock=clock, **options
    )


def redis(request):
    servers = parse_urls([request.getfixturevalue("redis_server").url])
    return lambda clock, *args, **options: RedisLog(
        servers, f"contract {next(numbers)}", TIMEOUT, *args, clock=clock, **options
    )


STORES = {"memory": memory, "sqlite": sqlite, "redis": redis}


@pytest.fixture(params=STORES)
def store(request):
    store = Store(STORES[request.param](request))
    yield store
    store.close()


@pytest.fixture
def log(store):
    return store.open()


def publication(channel="c", payload=b"payload", *, identity=None, is_text=True, note=b"", keep=KEEP):
    identity = str(next(numbers)).encode() if identity is None else identity
    return Append(channel, identity, payload, is_text, note, keep)


def payloads(page: Page) -> list[bytes]:
    return [publication.payload for publication in page.publications]


def offsets(page: Page) -> list[int]:
    return [publication.offset for publication in page.publications]


class TestAppending:
    def test_gives_each_log_an_epoch_and_offsets_from_1_without_gaps(self, store, log):
        channels = "abacabb"
        appended = log.append([publication(channel) for channel in channels], store.now)
        assert [each.offset for each in appended] == [1, 1, 2, 1, 3, 2, 3]
        epochs = {channel: each.epoch for channel, each in zip(channels, appended, strict=True)}
        assert len(set(epochs.values())) == 3
        assert all(each == Appended(epochs[c], each.offset, True) for c, each in zip(channels, appended, strict=True))
        [again] = log.append([publication("a")], store.now)
        assert again == Appended(epochs["a"], 4, True)

    def test_counts_once_for_an_identity(self, store, log):
        [first] = log.append([publication(identity=b"i", payload=b"first")], store.now)
        log.append([publication()], store.now)
        [again] = log.append([publication(identity=b"i", payload=b"another")], store.now + 1)
        assert again == Appended(first.epoch, 1, False)
        assert payloads(log.read("c", *ALL, store.now)) == [b"first", b"payload"]

    def test_counts_once_within_a_batch(self, store, log):
        appended = log.append([publication(identity=identity) for identity in (b"i", b"j", b"i", b"j")], store.now)
        assert [(each.offset, each.is_new) for each in appended] == [(1, True), (2, True), (1, False), (2, False)]
        assert log.read("c", *ALL, store.now).last == 2

    def test_of_the_same_identity_in_another_channel_is_another(self, store, log):
        appended = log.append([publication("a", identity=b"i"), publication("b", identity=b"i")], store.now)
        assert [each.is_new for each in appended] == [True, True]

    def test_nothing(self, store, log):
        assert log.append([], store.now) == []

    @pytest.mark.parametrize(
        "wrong",
        [
            publication(identity=b"i" * (MAX_IDENTITY_BYTES + 1)),
            publication(note=b"n" * (MAX_NOTE_BYTES + 1)),
        ],
        ids=["identity", "note"],
    )
    def test_what_is_too_large_is_not_done_at_all(self, store, log, wrong):
        with pytest.raises(ValueError, match="expected at most"):
            log.append([publication(), wrong], store.now)
        assert log.read("c", *ALL, store.now) == Page("", 1, 0, [])

    def test_with_a_clock_that_was_set_back(self, store, log):
        log.append([publication()], store.now)
        log.append([publication()], store.now - 100)
        page = log.read("c", *ALL, store.now - 100)
        first, second = page.publications
        assert first.at <= second.at


class TestReading:
    def test_where_there_is_no_log(self, store, log):
        assert log.read("c", *ALL, store.now) == Page("", 1, 0, [])
        assert log.read("c", END, 1, MUCH, store.now) == Page("", 1, 0, [])

    @pytest.mark.parametrize("is_text", [True, False])
    @pytest.mark.parametrize("note", [b"", b"\x81\xa1a\x01"])
    @pytest.mark.parametrize("payload", [b"", b"{}", bytes(range(256)) * 300], ids=len)
    def test_gives_back_what_was_appended(self, store, log, payload, note, is_text):
        channel, identity = "röom:\n{}*'\"\0", bytes(range(32))
        append = publication(channel, payload, identity=identity, note=note, is_text=is_text)
        [appended] = log.append([append], store.now)
        page = log.read(channel, *ALL, store.now)
        assert page[:3] == (appended.epoch, 1, 1)
        [found] = page.publications
        assert found[:5] == (1, identity, payload, is_text, note)
        assert found.at == pytest.approx(store.now, abs=0.002)

    def test_what_comes_after_an_offset_oldest_first(self, store, log):
        log.append([publication(payload=b"%d" % number) for number in range(1, 7)], store.now)
        assert payloads(log.read("c", 3, 1000, MUCH, store.now)) == [b"4", b"5", b"6"]
        assert payloads(log.read("c", 3, 2, MUCH, store.now)) == [b"4", b"5"]
        for after in (6, 7, END):
            assert log.read("c", after, 2, MUCH, store.now)[1:] == (1, 6, [])
        assert log.read("c", 0, 0, MUCH, store.now)[1:] == (1, 6, [])

    def test_no_more_bytes_than_that_but_one(self, store, log):
        log.append([publication(payload=bytes(size)) for size in (10, 20, 30, 400, 10)], store.now)
        assert offsets(log.read("c", 0, 1000, 60, store.now)) == [1, 2, 3]
        assert offsets(log.read("c", 0, 1000, 59, store.now)) == [1, 2]
        assert offsets(log.read("c", 3, 1000, 59, store.now)) == [4]
        assert offsets(log.read("c", 3, 1000, 0, store.now)) == [4]

    def test_many(self, store, log):
        keep = Keep(5000, 0, 3600.0)
        for _ in range(10):
            log.append([publication(payload=b"%d" % next(numbers), keep=keep) for _ in range(100)], store.now)
        after, found = 0, []
        while (page := log.read("c", after, 1000, MUCH, store.now)).publications:
            found += page.publications
            after = found[-1].offset
        assert [each.offset for each in found] == list(range(1, 1001))
        assert [int(each.payload) for each in found] == sorted(int(each.payload) for each in found)


class TestKeeping:
    def test_the_newest_so_many(self, store, log):
        keep = Keep(3, 0, 3600.0)
        appended = log.append([publication(keep=keep) for _ in range(5)], store.now)
        assert [each.offset for each in appended] == [1, 2, 3, 4, 5]
        page = log.read("c", *ALL, store.now)
        assert page[1:3] == (3, 5)
        assert offsets(page) == [3, 4, 5]

    def test_so_many_bytes_of_payload(self, store, log):
        keep = Keep(100, 50, 3600.0)
        log.append([publication(payload=bytes(20), note=b"note", keep=keep) for _ in range(5)], store.now)
        assert offsets(log.read("c", *ALL, store.now)) == [4, 5]
        log.append([publication(payload=bytes(50), keep=keep)], store.now)
        assert offsets(log.read("c", *ALL, store.now)) == [6]
        log.append([publication(payload=bytes(51), keep=keep)], store.now)
        page = log.read("c", *ALL, store.now)
        assert page[1:] == (8, 7, [])
        log.append([publication(payload=bytes(1), keep=keep)], store.now)
        assert offsets(log.read("c", *ALL, store.now)) == [8]

    def test_none_older_than_that(self, store, log):
        keep = Keep(100, 0, 10.0)
        for _ in range(8):
            log.append([publication(keep=keep)], store.now)
            store.let_pass(2.0)
        # by now the newest is 2 s old
        assert offsets(log.read("c", *ALL, store.now)) == [5, 6, 7, 8]
        store.let_pass(3.0)
        page = log.read("c", 0, 1, MUCH, store.now)
        assert page[1:3] == (6, 8)
        assert offsets(page) == [6]

    def test_what_the_latest_says_counts(self, store, log):
        log.append([publication() for _ in range(5)], store.now)
        [appended] = log.append([publication(keep=Keep(2, 0, 3600.0))], store.now)
        assert appended.offset == 6
        assert offsets(log.read("c", *ALL, store.now)) == [5, 6]

    def test_what_each_of_a_batch_says_counts(self, store, log):
        keeps = [KEEP, KEEP, Keep(1, 0, 3600.0), KEEP]
        log.append([publication(keep=keep) for keep in keeps], store.now)
        assert offsets(log.read("c", *ALL, store.now)) == [3, 4]

    def test_none_at_all(self, store, log):
        appended = log.append([publication(keep=Keep(0, 0, 3600.0)) for _ in range(2)], store.now)
        assert [each.offset for each in appended] == [1, 2]
        assert log.read("c", *ALL, store.now)[1:] == (3, 2, [])

    def test_for_as_long_as_anybody_can_say(self, store, log):
        log.append([publication(keep=Keep(10, 0, 1e15))], store.now)
        store.let_pass(1e8)
        assert offsets(log.read("c", *ALL, store.now)) == [1]

    @pytest.mark.parametrize("is_read", [True, False])
    def test_what_is_too_old_is_gone_though_an_age_becomes_more(self, store, log, is_read):
        for _ in range(3):
            log.append([publication(keep=Keep(100, 0, 5.0))], store.now)
            store.let_pass(3.0)
        if is_read:
            assert offsets(log.read("c", *ALL, store.now)) == [3]
        log.append([publication(keep=Keep(100, 0, 500.0))], store.now)
        assert offsets(log.read("c", *ALL, store.now)) == [3, 4]

    def test_a_log_ends_with_the_age_of_its_last(self, store, log):
        keep = Keep(100, 0, 10.0)
        [first] = log.append([publication(keep=keep, identity=b"i")], store.now)
        store.let_pass(9.0)
        log.append([publication(keep=keep)], store.now)
        store.let_pass(9.0)
        assert log.read("c", *ALL, store.now).epoch == first.epoch
        store.let_pass(1.1)
        assert log.read("c", *ALL, store.now) == Page("", 1, 0, [])
        [again] = log.append([publication(keep=keep)], store.now)
        assert again.offset == 1
        assert again.epoch != first.epoch
        assert log.append([publication(identity=b"i")], store.now) == [Appended(first.epoch, 1, False)]

    def test_an_age_that_became_less_counts(self, store, log):
        log.append([publication()], store.now)
        log.append([publication(keep=Keep(100, 0, 10.0))], store.now)
        store.let_pass(11.0)
        assert log.read("c", *ALL, store.now) == Page("", 1, 0, [])

    def test_an_identity_outlives_what_is_kept(self, store, log):
        keep = Keep(1, 0, 3600.0)
        [first] = log.append([publication(keep=keep, identity=b"i")], store.now)
        log.append([publication(keep=keep) for _ in range(3)], store.now)
        store.let_pass(REMEMBERED - 1)
        assert log.append([publication(identity=b"i")], store.now) == [Appended(first.epoch, 1, False)]

    def test_an_identity_is_not_remembered_for_ever(self, store, log):
        log.append([publication(identity=b"i")], store.now)
        store.let_pass(2 * REMEMBERED + 1)
        [again] = log.append([publication(identity=b"i")], store.now)
        assert again.offset == 2
        assert again.is_new

    def test_no_more_identities_than_that(self, store):
        log = store.open(max_identities=100)
        log.append([publication(identity=b"%d" % number) for number in range(300)], store.now)
        assert [each.is_new for each in log.append([publication(identity=b"299")], store.now)] == [False]
        assert [each.is_new for each in log.append([publication(identity=b"0")], store.now)] == [True]
        assert log.forgotten_early


class TestRoom:
    """max_bytes"""

    def test_the_largest_gives_its_oldest(self, store):
        size = PUBLICATION_BYTES + 1000 + 20
        log = store.open(2 * LOG_BYTES + 11 * size)
        log.append([publication("small", bytes(1000)) for _ in range(3)], store.now)
        for _ in range(50):
            log.append([publication("large", bytes(1000))], store.now)
        assert offsets(log.read("small", *ALL, store.now)) == [1, 2, 3]
        page = log.read("large", *ALL, store.now)
        assert offsets(page) == list(range(page.first, 51))
        assert 7 <= len(page.publications) <= 9
        assert page.last == 50
        assert log.made_room == 50 - len(page.publications)

    def test_one_that_is_larger_than_all_room(self, store):
        log = store.open(20_000)
        log.append([publication(payload=b"1")], store.now)
        [appended] = log.append([publication(payload=bytes(30_000))], store.now)
        page = log.read("c", *ALL, store.now)
        assert page == Page(appended.epoch, 3, 2, [])
        log.append([publication(payload=b"3")], store.now)
        assert payloads(log.read("c", *ALL, store.now)) == [b"3"]

    def test_of_logs_that_are_all_tiny_the_oldest_go(self, store):
        log = store.open(10 * (LOG_BYTES + PUBLICATION_BYTES + 100))
        for number in range(100):
            [appended] = log.append([publication(f"c{number}")], store.now)
            page = log.read(f"c{number}", 0, 10, MUCH, store.now)
            assert page.epoch == appended.epoch
            assert payloads(page) == [b"payload"]
        there = [number for number in range(100) if payloads(log.read(f"c{number}", *ALL, store.now))]
        assert 8 <= len(there) <= 13
        assert there == list(range(100 - len(there), 100))

    def test_what_ends_makes_room(self, store):
        log = store.open(100_000)
        keep = Keep(1000, 0, 10.0)
        log.append([publication(payload=bytes(1000), keep=keep) for _ in range(60)], store.now)
        store.let_pass(11.0)
        for _ in range(10):
            log.append([], store.now)
        log.append([publication("d", bytes(1000), keep=keep) for _ in range(60)], store.now)
        assert offsets(log.read("d", *ALL, store.now)) == list(range(1, 61))


class TestNews:
    def test_from_now_on(self, store, log):
        log.append([publication()], store.now)
        cursor, news = log.news("", 100)
        assert news == []
        assert log.news(cursor, 100) == (cursor, [])

    def test_each_once_with_its_newest(self, store, log):
        cursor, _ = log.news("", 100)
        appended = log.append([publication(channel) for channel in "abab"], store.now)
        cursor, news = log.news(cursor, 100)
        assert news == [("a", appended[0].epoch, 2), ("b", appended[1].epoch, 2)]
        log.append([publication("a")], store.now)
        cursor, news = log.news(cursor, 100)
        assert news == [("a", appended[0].epoch, 3)]
        assert log.news(cursor, 100) == (cursor, [])

    def test_what_was_appended_before_is_none(self, store, log):
        log.append([publication(identity=b"i")], store.now)
        cursor, _ = log.news("", 100)
        log.append([publication(identity=b"i")], store.now)
        assert log.news(cursor, 100)[1] == []

    def test_in_pages(self, store, log):
        cursor, _ = log.news("", 100)
        log.append([publication(str(number % 10)) for number in range(25)], store.now)
        found, sizes = [], []
        while (page := log.news(cursor, 4))[1]:
            cursor, news = page
            found += news
            sizes.append(len(news))
        assert [channel for channel, _, _ in found] == [str(number % 10) for number in range(15, 25)]
        assert sizes == [4, 4, 2]

    def test_what_comes_between_two_pages_is_told(self, store, log):
        cursor, _ = log.news("", 100)
        log.append([publication(channel) for channel in "abc"], store.now)
        cursor, news = log.news(cursor, 2)
        assert [each[::2] for each in news] == [("a", 1), ("b", 1)]
        log.append([publication("a")], store.now)
        assert [each[::2] for each in log.news(cursor, 100)[1]] == [("c", 1), ("a", 2)]

    def test_begun_anew(self, store, log):
        [appended] = log.append([publication()], store.now)
        cursor, _ = log.news("", 100)
        epoch = log.renew("c", appended.epoch)
        cursor, news = log.news(cursor, 100)
        assert news == [("c", epoch, 0)]

    def test_several_follow(self, store, log):
        old, _ = log.news("", 100)
        log.append([publication("a")], store.now)
        new, _ = log.news("", 100)
        log.append([publication("b")], store.now)
        assert [each[0] for each in log.news(old, 100)[1]] == ["a", "b"]
        assert [each[0] for each in log.news(new, 100)[1]] == ["b"]

    def test_of_those_that_have_ended_there_are_none(self, store, log):
        cursor, _ = log.news("", 100)
        log.append([publication(str(number), keep=Keep(10, 0, 10.0)) for number in range(30)], store.now)
        log.append([publication("b"), publication("c")], store.now)
        store.let_pass(11.0)
        for _ in range(2):
            log.append([publication("d")], store.now)
        assert [each[0] for each in log.news(cursor, 2)[1]] == ["b", "c"]


class TestRenewing:
    def test_begins_an_empty_log_with_another_epoch(self, store, log):
        [first] = log.append([publication(identity=b"i")], store.now)
        epoch = log.renew("c", first.epoch)
        assert epoch not in ("", first.epoch)
        assert log.read("c", *ALL, store.now) == Page(epoch, 1, 0, [])
        assert log.append([publication()], store.now) == [Appended(epoch, 1, True)]
        assert log.append([publication(identity=b"i")], store.now) == [Appended(first.epoch, 1, False)]
        assert log.read("c", *ALL, store.now).last == 1

    def test_is_done_once(self, store, log):
        [first] = log.append([publication()], store.now)
        epoch = log.renew("c", first.epoch)
        log.append([publication()], store.now)
        assert log.renew("c", first.epoch) == epoch
        assert log.read("c", *ALL, store.now)[1:3] == (1, 1)

    def test_where_there_is_none(self, store, log):
        assert log.renew("c", "other") == ""
        assert log.read("c", *ALL, store.now).epoch == ""
        log.append([publication("d")], store.now)
        epoch = log.renew("c", "")
        assert epoch
        assert log.renew("c", "") == epoch
        assert log.read("c", *ALL, store.now) == Page(epoch, 1, 0, [])
        store.let_pass(RENEWED_AGE + 1)
        assert log.read("c", *ALL, store.now).epoch == ""

    def test_of_a_log_that_there_is_by_no_epoch(self, store, log):
        [first] = log.append([publication()], store.now)
        assert log.renew("c", "") == first.epoch

    def test_does_not_prolong_it(self, store, log):
        [first] = log.append([publication(keep=Keep(10, 0, 10.0))], store.now)
        store.let_pass(9.0)
        epoch = log.renew("c", first.epoch)
        assert log.read("c", *ALL, store.now).epoch == epoch
        store.let_pass(1.1)
        assert log.read("c", *ALL, store.now).epoch == ""

    def test_again_and_again(self, store, log):
        epochs = set()
        for number in range(50):
            [appended] = log.append([publication(identity=b"%d" % number)], store.now)
            assert appended.offset == 1
            epochs.add(log.renew("c", appended.epoch))
        assert len(epochs) == 50


# --- a model --------------------------------------------------------------------------------------------------

channels = st.sampled_from("abc")
keeps = st.builds(Keep, st.integers(0, 4), st.sampled_from([0, 0, 30]), st.sampled_from([5.0, 40.0, 2000.0]))
appends = st.builds(
    Append,
    channels,
    st.integers(0, 12).map(lambda number: b"%d" % number),
    st.binary(max_size=20),
    st.booleans(),
    st.binary(max_size=3),
    keeps,
)


class Model:
    """A log as it is said to be, in the plainest way."""

    def __init__(self, epoch: str, ends: float) -> None:
        self.epoch, self.ends, self.age = epoch, ends, 0.0
        self.last, self.kept = 0, []  # offset, append, at

    def add(self, append: Append, now: float) -> None:
        self.last += 1
        self.kept = self.at(now)  # as was said before: what is gone stays so
        self.kept.append((self.last, append, now))
        self.ends, self.age = now + append.keep.age, append.keep.age
        self.kept = self.at(now)
        self.kept = self.kept[max(0, len(self.kept) - append.keep.messages) :]
        while append.keep.bytes and sum(len(each.payload) for _, each, _ in self.kept) > append.keep.bytes:
            self.kept.pop(0)

    def at(self, now: float):
        return [each for each in self.kept if each[2] + self.age > now]


class LogMachine(RuleBasedStateMachine):
    store: Store

    @initialize()
    def open(self):
        self.log = self.store.open()
        self.logs: dict[str, Model] = {}
        self.known: dict[tuple[str, bytes], tuple[str, int, float]] = {}
        self.epochs: set[str] = set()
        self.changed: dict[str, None] = {}
        self.cursor, news = self.log.news("", 100)
        assert news == []

    def present(self, channel) -> Model | None:
        model = self.logs.get(channel)
        if model is not None and model.ends <= self.store.now:
            del self.logs[channel]
            self.changed.pop(channel, None)
            return None
        return model

    def begin(self, channel, epoch, ends) -> None:
        assert epoch not in self.epochs
        self.epochs.add(epoch)
        self.logs[channel] = Model(epoch, ends)

    def change(self, channel) -> None:
        self.changed.pop(channel, None)
        self.changed[channel] = None

    @rule(batch=st.lists(appends, max_size=6))
    def append(self, batch):
        now = self.store.now
        for append, appended in zip(batch, self.log.append(batch, now), strict=True):
            known = self.known.get((append.channel, append.identity))
            if known and not (appended.is_new and now >= known[2] + REMEMBERED):
                assert appended == (*known[:2], False)
                assert now <= known[2] + 2 * REMEMBERED
                continue
            assert appended.is_new
            model = self.present(append.channel)
            if model is None:
                self.begin(append.channel, appended.epoch, now)
                model = self.logs[append.channel]
            model.add(append, now)
            assert appended == (model.epoch, model.last, True)
            self.known[append.channel, append.identity] = (model.epoch, model.last, now)
            self.change(append.channel)

    @rule(seconds=st.sampled_from([0.0, 1.0, 4.0, 30.0, 500.0, 700.0]))
    def let_pass(self, seconds):
        self.store.let_pass(seconds)

    @rule(channel=channels, after=st.integers(0, 12) | st.just(END), limit=st.integers(0, 4), most=st.integers(0, 60))
    def read(self, channel, after, limit, most):
        page = self.log.read(channel, after, limit, most, self.store.now)
        model = self.present(channel)
        if model is None:
            assert page == Page("", 1, 0, [])
            return
        kept = model.at(self.store.now)
        first = kept[0][0] if kept else model.last + 1
        assert page[:3] == (model.epoch, first, model.last)
        expected, size = [], 0
        for offset, append, _ in [each for each in kept if each[0] > after][:limit]:
            size += len(append.payload)
            if expected and size > most:
                break
            expected.append((offset, append.identity, append.payload, append.is_text, append.note))
        assert [tuple(each[:5]) for each in page.publications] == expected

    @rule(limit=st.integers(1, 4))
    def news(self, limit):
        self.cursor, news = self.log.news(self.cursor, limit)
        for channel in list(self.changed):
            self.present(channel)
        expected = list(self.changed)[:limit]
        assert news == [(channel, self.logs[channel].epoch, self.logs[channel].last) for channel in expected]
        for channel in expected:
            del self.changed[channel]

    @rule(channel=channels, is_right=st.booleans())
    def renew(self, channel, is_right):
        self.log.append([], self.store.now)  # so that it knows the time
        model = self.present(channel)
        present = model.epoch if model is not None else ""
        epoch = self.log.renew(channel, present if is_right else "other")
        if not is_right:
            assert epoch == present
            return
        self.begin(channel, epoch, model.ends if model is not None else self.store.now + RENEWED_AGE)
        self.change(channel)

    @invariant()
    @precondition(lambda self: hasattr(self, "log"))
    def nothing_is_left_to_guess(self):
        for channel in "abc":
            model = self.present(channel)
            page = self.log.read(channel, END, 1, 1, self.store.now)
            assert (page.epoch, page.last) == ((model.epoch, model.last) if model is not None else ("", 0))

    def teardown(self):
        self.store.close()
        self.store.opened.clear()


@pytest.mark.parametrize("kind", STORES)
def test_against_a_model(kind, request):
    class Machine(LogMachine):
        store = Store(STORES[kind](request))

    run_state_machine_as_test(Machine, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))
