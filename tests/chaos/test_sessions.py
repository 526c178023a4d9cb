import msgspec
import pytest

from holdfast.chaos.due import ON_THE_WAY
from holdfast.chaos.failover import Fault, Percentiles
from holdfast.chaos.sessions import NOTICE, TOLD, Moves, Session, Sessions, ends, lost_at, moves, passed_by

DEATH = Fault("kill-proxy", "proxy-1", 10.0, proxies=[0])
RESTART = Fault("restart", "all proxies", 10.0, until=12.0, proxies=[0, 1])


@pytest.fixture
def sessions():
    """Client 7 is with proxy 0, client 8 with proxy 1."""
    sessions = Sessions()
    for client, proxy in ((7, 0), (8, 1)):
        sessions.is_there(sessions.began(client, proxy, 1.0))
        sessions.joined(client, 100 + client, 1.5)
    return sessions


def test_all_stay(sessions):
    assert moves(sessions.all, [DEATH]) == Moves()
    assert ends(sessions.all, [DEATH]) == {107: None, 108: None}


def test_a_client_of_a_dead_proxy_moves(sessions):
    sessions.ended(7, "end of file", 10.01)
    sessions.is_there(sessions.began(7, 1, 10.05))
    sessions.joined(7, 207, 10.11)
    assert moves(sessions.all, [DEATH]) == Moves(1, {}, Percentiles(1, 100.0, 100.0, 100.0))
    assert ends(sessions.all, [DEATH]) == {107: 10.0, 207: None, 108: None}  # with its proxy, not when it noticed


@pytest.mark.parametrize(
    "fault",
    [
        Fault("kill-proxy", "proxy-2", 10.0, proxies=[1]),  # another one
        Fault("kill", "node-1", 10.0),
        Fault("kill-proxy", "proxy-1", 10.5, proxies=[0]),  # later
        Fault("kill-proxy", "proxy-1", 0.5, proxies=[0]),  # it was connected to the next run
    ],
)
def test_a_client_of_a_living_proxy_is_dropped(sessions, fault):
    sessions.ended(7, "close code 1012", 10.01)
    assert moves(sessions.all, [fault]).dropped == {"close code 1012": 1}
    assert ends(sessions.all, [fault])[107] == 10.01 - NOTICE, "when it may have been told so"


def test_who_is_hit_twice_is_away_from_the_first_time(sessions):
    sessions.ended(7, "end of file", 10.01)
    sessions.is_there(sessions.began(7, 1, 10.05))
    sessions.ended(7, "end of file", 10.21)  # before it had joined there
    sessions.is_there(sessions.began(7, 0, 10.3))
    sessions.joined(7, 307, 10.51)
    told = moves(sessions.all, [DEATH, Fault("kill-together", "proxy-2", 10.2, proxies=[1])])
    assert told == Moves(2, {}, Percentiles(1, 500.0, 500.0, 500.0))
    assert set(ends(sessions.all, [])) == {107, 307, 108}


@pytest.mark.parametrize(
    ("began", "ended", "is_explained"),
    [
        (1.0, 10.0, True),
        (1.0, 11.9, True),  # the last that it let go
        (11.0, 11.9, True),  # it came while the proxy drained
        (1.0, 12.0 + NOTICE / 2, True),
        (1.0, 13.1, False),  # something else has ended it
        (1.0, 9.9, False),
        (12.1, 12.2, False),  # it was connected to the next run
    ],
)
def test_what_lasts_explains_what_ends_meanwhile(began, ended, is_explained):
    session = Session(7, 1, began, 107, began, ended, "close code 1012")
    assert (moves([session], [RESTART]).moved, lost_at(session, [RESTART])) == (
        (1, 10.0) if is_explained else (0, None)
    )


def test_who_came_between_the_word_and_the_deed():
    kill = Fault("kill-proxy", "proxy-2", 10.0, proxies=[1], struck=10.6)
    for began, is_explained in ((9.0, True), (10.3, True), (10.7, False)):
        session = Session(7, 1, began, 107, began, 11.0, "end of file")
        assert (lost_at(session, [kill]) is not None) == is_explained


def test_who_was_late_to_notice(sessions):
    sessions.ended(7, "close code 1012", 20.0, lag=5.0)
    assert ends(sessions.all, [RESTART])[107] == 20.0 - NOTICE - 5.0
    assert moves(sessions.all, [RESTART]).moved == 0
    sessions.ended(7, "close code 1012", 20.0, lag=7.5)
    assert moves(sessions.all, [RESTART]).moved == 1


def test_at_which_proxy_it_was(sessions):
    sessions.ended(7, "end of file", 10.0)
    sessions.is_there(sessions.began(7, 1, 10.5))
    assert [sessions.proxy_of(7, at) for at in (0.5, 5.0, 10.0, 10.2, 11.0)] == [-1, 0, 0, -1, 1]


FREEZE = Fault("freeze-proxy", "proxy-2", 10.0, until=16.0, proxies=[1])
NODE_DIES = Fault("kill", "node-1", 14.0)


@pytest.mark.parametrize(
    ("proxy", "ended", "others", "since"),
    [
        (1, None, [], None),  # it was brought all
        (1, 9.9, [], None),
        (1, 15.0, [], 10.0),
        (1, 20.0, [], None),
        (1, None, [NODE_DIES], None),  # so nothing was missing
        (1, 20.0, [NODE_DIES], 10.0),
        (1, 24.0, [NODE_DIES], None),
        (1, 20.0, [Fault("kill", "node-1", 9.9)], None),
        (1, 20.0, [Fault("kill", "node-1", 16.1)], None),  # it had brought all by then
        (0, 20.0, [NODE_DIES], None),
        (1, 16.2, [Fault("freeze-node", "node-1", 5.0, until=8.0)], 5.0),  # what that had kept was on its way at 10
        (1, 16.2, [Fault("freeze-node", "node-1", 3.0, until=3.9)], 10.0),
    ],
)
def test_what_passes_by_those_of_a_frozen_proxy(proxy, ended, others, since):
    session = Session(7, proxy, 1.0, 107, 1.0, ended, TOLD if ended else "")
    assert passed_by(session, [FREEZE, *others]) == (since and (since - ON_THE_WAY, ended))


@pytest.mark.parametrize(
    ("fault", "others", "since"),
    [
        (Fault("freeze-node", "node-1", 16.0, until=19.0), [], 16.0),
        (Fault("freeze-node", "node-1", 14.1, until=14.9), [], 14.1),
        (Fault("freeze-node", "node-1", 13.9, until=14.9), [], None),  # its link is back
        (Fault("freeze-node", "node-1", 11.0, until=14.0), [Fault("kill", "node-1", 16.0)], 11.0),  # nobody brings it
        (Fault("freeze-proxy", "proxy-1", 16.0, until=22.0, proxies=[0]), [], None),  # another one
        (Fault("freeze-node", "node-1", 20.1, until=23.0), [], None),
        (Fault("kill", "node-1", 19.0), [], None),  # it had answered nothing that the proxy did not have
    ],
)
def test_what_a_fault_had_kept_from_a_proxy_that_was_killed(fault, others, since):
    death = Fault("kill-proxy", "proxy-2", 20.0, proxies=[1])
    session = Session(7, 1, 1.0, 107, 1.0, 20.0, "end of file")
    assert passed_by(session, [fault, *others, death]) == (since and (since - ON_THE_WAY, 20.0))


def test_what_a_fault_had_kept_when_the_clients_were_not_looking():
    session = Session(7, 1, 1.0, 107, 1.0, 20.0, "end of file", lag=2.0)
    assert passed_by(session, [Fault("freeze-node", "node-1", 12.1, until=15.0)]) == (12.1 - ON_THE_WAY, 20.0)


@pytest.mark.parametrize(("kind", "since"), [("kill-proxy", 19.7), ("restart-kill", 19.7), ("restart", None)])
def test_a_dead_proxy_delivers_nothing_though_its_client_notices_later(kind, since):
    """A witness has tasks and buffers of its own, on a busy machine. One that is told to stop still delivers."""
    death = Fault(kind, "proxy-2", 19.7, until=0.0 if kind == "kill-proxy" else 20.5, proxies=[1])
    session = Session(7, 1, 1.0, 107, 1.0, 20.0, "end of file")
    assert passed_by(session, [death]) == (since and (since - ON_THE_WAY, 20.0))


def test_a_refused_connection_is_none(sessions):
    sessions.ended(7, "end of file", 10.01)
    sessions.began(7, 1, 10.05)
    sessions.is_there(sessions.began(7, 1, 10.06))
    assert [session.began for session in sessions.all] == [1.0, 1.0, 10.06]
    assert sessions.all[-1].ended is None


def test_they_survive_the_pipe(sessions):
    sessions.all[0].id = (1 << 64) - 1
    assert msgspec.json.decode(msgspec.json.encode(sessions.all), type=list[Session]) == sessions.all
