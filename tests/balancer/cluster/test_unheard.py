"""What a newcomer is told that finds a cluster and is not let in."""

from holdfast.balancer.cluster.unheard import SILENCE, evicted, obstacle
from tests.balancer.cluster.views import hear, membership, record_of


def waits(heard="", live="", **said):
    it = membership("abc", me="d")
    hear(it, heard, 1.0, **said)
    return obstacle(it, live, SILENCE, 1.0)


def test_whom_it_does_not_hear():
    assert waits() == f"to hear 3 of 3 members, such as a at tcp://10.0.0.1:a and pub: {SILENCE}"
    assert waits("ab", "a", strangers="d", firm=True).startswith("to hear 2 of 3 members, such as b at")


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
