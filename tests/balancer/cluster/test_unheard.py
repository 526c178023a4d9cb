"""What a newcomer is told that finds a cluster and is not let in."""

import pytest

from holdfast.balancer.cluster.peers import Peers
from holdfast.balancer.cluster.unheard import SILENCE, evicted, knocking, obstacle
from holdfast.protocols.peers.frames import Facts, Proof
from tests.balancer.cluster.views import TIMES, hear, member, membership, record_of


def waits(heard="", live="", **said):
    it = membership("abc", me="d")
    hear(it, heard, 1.0, **said)
    return obstacle(it, live, SILENCE, 1.0)


def test_whom_it_does_not_hear():
    assert waits() == f"to hear 3 of 3 members, such as a at tcp://10.0.0.1:a and pub: {SILENCE}"
    assert waits("ab", "a", strangers="d", firm=True).startswith("to hear 2 of 3 members, such as b at")


def test_a_way_to_one_that_says_nothing_is_not_enough():
    assert waits("", "abc").startswith("to hear 3 of 3")


def four():
    it = membership("abcd", me="e")
    hear(it, "ab", 1.0, strangers="e", firm=True)
    return it


def test_half_is_no_majority():
    assert obstacle(four(), "ab", SILENCE, 1.0).startswith("to hear 2 of 4 members, such as c at")
    it = four()
    hear(it, "c", 1.0)
    assert obstacle(it, "abc", SILENCE, 1.0).startswith("to be heard by 1 of 4 members, such as c at")


def test_who_has_said_nothing_of_itself_yet_has_agreed_to_nothing():
    it = membership("abc", me="d")
    for name in "abc":
        it.heard(name, 1.0)
    assert obstacle(it, "abc", SILENCE, 1.0).startswith("for the members to have agreed")


def test_who_does_not_hear_it():
    assert waits("abc", "abc", firm=True) == (
        "to be heard by 3 of 3 members, such as a at tcp://10.0.0.1:a and pub: they must reach tcp://10.0.0.1:d and pub"
    )


def test_that_the_members_are_not_one_themselves():
    assert waits("abc", "abc", strangers="d").startswith("for the members to have agreed")


def test_that_it_is_on_its_way_in():
    assert waits("abc", "abc", strangers="d", firm=True) == ""
    assert waits("ab", "ab", strangers="d", firm=True) == ""


def gone_from(it, names):
    """Who counts as evicted by a record of these, which `it` follows from now on."""
    former = it.record
    it.adopt(record_of(names, version=former.version + 1), 1.0)
    return [member.proxy for member in evicted(it, former, 1.0)]


def test_who_is_in_no_more_and_was_not_heard_is_evicted():
    it = membership("abc")
    hear(it, "b", 1.0)
    assert gone_from(it, "ab") == ["c"]


def test_who_has_said_that_it_leaves_is_not_whether_the_record_comes_before_or_after():
    it = membership("abc")
    hear(it, "bc", 1.0)
    assert gone_from(it, "ab") == [], "it is heard, and says so in a moment"
    it = membership("abc")
    hear(it, "bc", 1.0)
    it.left("c")
    assert gone_from(it, "ab") == []


def test_so_it_is_with_ourselves():
    assert gone_from(membership("abc"), "bc") == ["a"]
    it = membership("abc")
    it.resign()
    assert gone_from(it, "bc") == []


# --- as members have it -----------------------------------------------------------------------------------------------

LATE = 100.0  # long enough to have been heard, when it was dialled at 0
BEGUN = TIMES.discover_timeout + TIMES.card_ttl


def knocks(me="a", read_at=LATE, since=0.0):
    """Of x, which has a card, b, which is a member, and y, which has none; z is heard."""
    it = membership("ab", me=me)
    it.stored(it.record, {name: member(name) for name in "abxz"}, read_at, read_at)
    peers = Peers(it.me, TIMES, lambda: 7)
    for name in "bxyz":
        peers.want(member(name), since)
    peers["z"].stream.published(1, [Proof(7)])
    peers["z"].stream.facts(Facts(1, []))
    return [one.proxy for one in knocking(it, peers, LATE)]


def test_who_would_be_a_member_and_is_not_heard():
    assert knocks() == ["x"]


def test_who_is_no_member_says_what_it_waits_for_itself():
    assert knocks(me="c") == []


def test_not_by_a_store_that_was_not_read_lately():
    assert knocks(read_at=LATE - TIMES.card_ttl) == ["x"]
    assert knocks(read_at=LATE - TIMES.card_ttl - 0.1) == []


def test_who_had_no_time_for_it_is_not_missed():
    assert knocks(since=LATE - BEGUN) == []
    assert knocks(since=LATE - BEGUN - 0.1) == ["x"]


@pytest.mark.parametrize(("is_leaving", "who"), [(False, ["a", "d"]), (True, ["d"])])
def test_who_leaves_is_heard_or_knows_it_and_is_not_evicted(is_leaving, who):
    it = membership("abcd")
    former = it.record
    if is_leaving:
        it.resign()
    it.adopt(record_of("b", 6), 1.0)
    hear(it, "c", 1.0)
    assert [one.proxy for one in evicted(it, former, 1.0)] == who
