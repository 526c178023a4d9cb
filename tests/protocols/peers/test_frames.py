"""The parts of frames that have something to say themselves."""

import pytest

from holdfast.protocols.peers.frames import Member, Record

HERE = "host 1"


@pytest.mark.parametrize(
    ("router", "other", "host", "is_same"),
    [
        ("tcp://10.0.0.1:7510", "tcp://10.0.0.1:7510", "another", True),
        ("tcp://10.0.0.1:7510", "tcp://10.0.0.1:7511", HERE, False),
        ("tcp://127.0.0.1:7510", "tcp://127.0.0.1:7510", HERE, True),
        ("tcp://127.0.0.1:7510", "tcp://127.0.0.1:7510", "another", False),
        ("tcp://[::1]:7510", "tcp://[::1]:7510", "another", False),
        ("tcp://localhost:7510", "tcp://localhost:7510", "another", False),
    ],
)
def test_a_loopback_address_is_a_place_on_one_host_only(router, other, host, is_same):
    assert Member("a", router, "", HERE).is_at(Member("b", other, "", host)) is is_same


@pytest.mark.parametrize(
    ("router", "host", "is_bound", "does"),
    [
        ("tcp://10.0.0.1:7510", HERE, True, True),
        ("tcp://10.0.0.1:7510", HERE, False, False),
        ("tcp://10.0.0.1:7510", "another", True, False),
        ("tcp://10.0.0.1:7511", HERE, True, False),
    ],
)
def test_who_has_bound_an_address_of_this_machine_outlives_who_had(router, host, is_bound, does):
    ours, other = Member("a", "tcp://10.0.0.1:7510", "", HERE, True), Member("b", router, "", host, is_bound)
    assert ours.outlives(other) is other.outlives(ours) is does


def test_a_quorum_is_more_than_half():
    members = [Member(str(number), "", "") for number in range(5)]
    assert [Record(members=tuple(members[:count])).quorum for count in range(1, 6)] == [1, 2, 2, 3, 3]
    assert Record(members=tuple(members[:2])).ids == ("0", "1")
