from holdfast.complaints import INTERVAL, Complaints


def test_the_same_is_said_once_a_minute_and_another_reason_at_once():
    complaints = Complaints()
    assert complaints.is_due("can't connect", 0.0)
    assert not complaints.is_due("can't connect", 0.1)
    assert complaints.is_due("the handshake failed", 0.2)
    assert not complaints.is_due("can't connect", INTERVAL - 0.1)
    assert complaints.is_due("can't connect", INTERVAL)
    assert not complaints.is_due("can't connect", INTERVAL + 0.1)
