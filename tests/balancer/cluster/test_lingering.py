"""How long those that were evicted count, whoever has it from whom."""

import pytest

from holdfast.balancer.cluster.lingering import Lingering
from holdfast.protocols.peers.frames import Evicted, Record
from tests.balancer.cluster.views import member, record_of

GRACE = 20.0


@pytest.fixture
def it():
    return Lingering(GRACE)


def gone(*names):
    return {"gone": tuple(map(member, names))}


def names(it, now):
    return [m.proxy for m in it.members(now)]


def test_who_was_in_the_former_record_lingers_for_the_grace(it):
    it.followed(record_of("abcd"), record_of("ab", 6), {"d"}, 1.0)
    assert list(it) == ["c"], "a and b are in it, and of d we know better"
    assert names(it, 1.0 + GRACE) == ["c"]
    assert it.say(2.0) == [Evicted(member("c"), GRACE - 1.0)]
    assert it.say(1.0 + GRACE) == [], "that would be no time"
    assert names(it, 1.1 + GRACE) == []
    it.prune(record_of("ab", 6), 1.0 + GRACE)
    assert list(it) == ["c"]
    it.prune(record_of("ab", 6), 1.1 + GRACE)
    assert list(it) == []


@pytest.mark.parametrize(
    ("former", "version", "but", "known"),
    [
        (Record(), 6, "", ["c"]),  # who begins has seen nothing
        (Record(5), 6, "", ["c"]),  # nor who has only seen that nobody is there
        (record_of("ab"), 8, "", ["c"]),  # who has missed a record has not seen all
        (record_of("ab"), 6, "", []),  # whoever is out of the next one was seen to go
        (Record(), 6, "c", []),
    ],
)
def test_those_that_a_record_names_are_guessed_by_who_has_not_seen_them_go(it, former, version, but, known):
    it.followed(former, record_of("ab", version, **gone("c")), set(but), 1.0)
    assert names(it, 1.0 + GRACE) == known


def test_what_is_guessed_is_not_guessed_again(it):
    it.followed(record_of("ab"), record_of("ab", 8, **gone("c")), (), 1.0)
    it.followed(record_of("ab", 8), record_of("ab", 10, **gone("c")), (), 5.0)
    assert it.say(5.0) == [Evicted(member("c"), GRACE - 4.0)]


def test_what_was_seen_is_not_a_guess(it):
    it.followed(record_of("abc"), record_of("ab", 8, **gone("c")), (), 1.0)
    it.told([Evicted(member("c"), 3.0)], (), 2.0)
    assert it.say(2.0) == [Evicted(member("c"), GRACE - 1.0)]


def test_nor_is_what_was_guessed_once_and_is_seen_now(it):
    it.followed(record_of("ab"), record_of("ab", 8, **gone("c")), (), 1.0)
    it.followed(record_of("abc", 8), record_of("ab", 9), (), 2.0)
    it.told([Evicted(member("c"), 3.0)], (), 3.0)
    assert it.say(3.0) == [Evicted(member("c"), GRACE - 1.0)]


def test_a_word_of_another_is_better_than_a_guess_and_the_first_one_counts(it):
    it.followed(record_of("ab"), record_of("ab", 8, **gone("c")), (), 1.0)
    it.told([Evicted(member("c"), 3.0), Evicted(member("d"), GRACE + 9.0), Evicted(member("e"), 3.0)], {"e"}, 2.0)
    assert it.say(2.0) == [Evicted(member("c"), 3.0), Evicted(member("d"), GRACE)], "never for longer than ours"
    it.told([Evicted(member("c"), 9.0), Evicted(member("d"), 9.0)], (), 2.0)
    assert it.say(2.0) == [Evicted(member("c"), 3.0), Evicted(member("d"), GRACE)]


def test_who_was_guessed_and_has_gone_is_seen_the_next_time(it):
    it.followed(record_of("ab"), record_of("ab", 8, **gone("c")), (), 1.0)
    it.followed(record_of("ab", 8), record_of("abc", 9), (), 2.0)
    assert list(it) == [], "it is back"
    it.told([Evicted(member("c"), 3.0)], (), 3.0)
    it.told([Evicted(member("c"), 9.0)], (), 3.0)
    assert it.say(3.0) == [Evicted(member("c"), 3.0)]


def test_who_is_back_does_not_linger(it):
    at_any = member("c", is_bound=False)  # that it has an address proves nothing
    it.followed(record_of("abc", members=(member("a"), at_any)), record_of("a", 6), (), 1.0)
    assert list(it) == ["c"]
    it.prune(record_of("a", 7, members=(member("a"), at_any)), 2.0)
    assert list(it) == []


def test_who_said_goodbye_and_who_is_proven_dead_are_forgotten(it):
    it.followed(record_of("abcd"), record_of("ab", 6), (), 1.0)
    it.discard("c")
    it.discard("x")
    assert list(it) == ["d"]
    newcomer = member("e", place="d")
    it.prune(record_of("ab", 7, members=(member("a"), newcomer)), 2.0)
    assert list(it) == [], "its address has another"


def test_who_was_frozen_may_come_back_for_longer_than_it_counts_as_there():
    it = Lingering(GRACE, 2 * GRACE)
    it.followed(record_of("abc"), record_of("ab", 6), set(), 1.0)
    it.prune(record_of("ab", 6), 1.0 + 2 * GRACE)
    assert names(it, 1.1 + GRACE) == []
    assert [m.proxy for m in it.asleep(1.0 + 2 * GRACE)] == ["c"]
    assert it.asleep(1.1 + 2 * GRACE) == []
    it.prune(record_of("abc", 7), 2.0)
    assert it.asleep(2.0) == [], "it is there"
