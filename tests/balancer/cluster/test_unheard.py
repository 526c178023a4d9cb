"""What a newcomer is told that finds a cluster and is not let in."""

from holdfast.balancer.cluster.unheard import SILENCE, obstacle
from tests.balancer.cluster.views import hear, membership


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
