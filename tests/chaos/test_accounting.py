"""Each way of losing something is put into a history by hand, and must be found."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.chaos.accounting import Accounting
from holdfast.chaos.deliveries import Disordered, Missed, Twice
from holdfast.chaos.due import OLDEST, Notifications
from holdfast.chaos.failover import Fault, Percentiles

RUN = 77  # of a node


@pytest.fixture
def books():
    return Accounting(clients=4, group=2)


def ask(books, client, at=1.0):
    return books.sent(client, at)


def notify(books, client, request, number=1, run=RUN, to=(0, 1), at=1.5):
    """As the proxy does: the sender's whole group, clients 0 and 1 or 2 and 3, hears it."""
    for neighbour in to:
        books.notified(client // 2 * 2 + neighbour, client, request, run, number, at)


def answer(books, client, request, at=1.5, attempt=1):
    books.replied(client, request, client, attempt, at)


def good_exchange(books, client=0, number=1):
    request = ask(books, client)
    notify(books, client, request, number)
    answer(books, client, request)
    return request


def test_nothing_lost(books):
    for number in range(1, 4):
        good_exchange(books, client=0, number=number)
    good_exchange(books, client=3)
    verdict = books.verdict()
    assert books.is_complete()
    assert books.lost == 0
    assert (verdict.requests.sent, verdict.requests.answered_once) == (4, 4)
    assert verdict.notifications == Notifications(published=4, delivered=8)
    assert verdict.latency == Percentiles(count=4, p50=500.0, p99=500.0, max=500.0)
    assert verdict.dropped == {}


def test_never_answered(books):
    good_exchange(books)
    ask(books, 1)
    assert books.verdict().requests.unanswered == 1
    assert not books.is_complete()


def test_answered_twice(books):
    request = good_exchange(books)
    answer(books, 0, request)
    answer(books, 0, request)
    requests = books.verdict().requests
    assert (requests.answered_once, requests.answered_twice) == (0, 1)
    assert books.lost == 1


def test_an_error_and_then_a_reply_is_twice(books):
    request = ask(books, 0)
    books.failed(0, request, "no_node", retryable=True, at=2.0)
    answer(books, 0, request)
    requests = books.verdict().requests
    assert (requests.answered_once, requests.answered_twice, requests.errors) == (0, 1, {"no_node": 1})


def test_reply_to_the_wrong_client(books):
    """Both have a request of that number, so only the echo of who asked tells."""
    ask(books, 0)
    ask(books, 1)
    books.replied(0, 0, 1, 1, 2.0)
    requests = books.verdict().requests
    assert (requests.wrong_client, requests.unanswered) == (1, 2)
    assert books.lost == 1


@pytest.mark.parametrize("number", [5, -3])
def test_reply_that_nobody_asked_for(books, number):
    good_exchange(books)
    answer(books, 0, number)
    books.unasked()
    books.failed(0, None, "bad_request", retryable=False, at=2.0)
    assert books.verdict().requests.stray == 3


def test_redelivered(books):
    request = ask(books, 0)
    notify(books, 0, request)
    answer(books, 0, request, attempt=3)
    assert books.verdict().requests.redelivered == 1


def test_errors_by_kind(books):
    for kind, retryable in (("no_node", True), ("no_node", True), ("node_error", False)):
        books.failed(0, ask(books, 0), kind, retryable, at=2.0)
    verdict = books.verdict()
    assert verdict.requests.errors == {"no_node": 2, "node_error": 1}
    assert verdict.requests.unexpected_errors == 1
    assert verdict.notifications == Notifications()  # none was due, and none came


@pytest.mark.parametrize(
    ("faults", "unexpected"),
    [
        ([], 1),
        ([Fault("kill", "node-1", 1.5)], 1),
        ([Fault("kill", "node-1", 1.5), Fault("kill", "node-2", 9.0)], 1),  # not yet
        ([Fault("kill", "node-1", 1.5), Fault("kill-proxy", "proxy-1", 2.0)], 1),  # which loses no node
        ([Fault("freeze-proxy", "proxy-1", -8.0, until=1.1), Fault("kill", "node-2", 2.5)], 0),
        ([Fault("kill", "node-2", -1.5), Fault("kill", "node-2", -0.9), Fault("kill", "node-2", 2.0)], 0),
    ],
)
def test_two_faults_explain_what_was_lost_with_two_nodes(books, faults, unexpected):
    books.failed(0, ask(books, 0, 1.0), "quarantined", retryable=False, at=3.0)
    verdict = books.verdict(faults)
    assert verdict.requests.unexpected_errors == unexpected
    assert verdict.requests.errors == {"quarantined": 1}


def test_missing_notification(books):
    request = ask(books, 0)
    notify(books, 0, request, to=(0,))
    answer(books, 0, request)
    notifications = books.verdict().notifications
    assert (notifications.delivered, notifications.missing) == (1, 1)
    assert not books.is_complete()


def test_duplicated_notification(books):
    request = good_exchange(books)
    notify(books, 0, request, number=2, to=(1,))
    notifications = books.verdict().notifications
    assert (notifications.delivered, notifications.duplicated, notifications.missing) == (2, 1, 0)


def test_notification_out_of_order(books):
    first, second = ask(books, 0), ask(books, 0)
    books.notified(0, 0, second, RUN, 2, 1.5)
    books.notified(0, 0, first, RUN, 1, 1.5)
    assert books.verdict().notifications.out_of_order == 1
    assert books.lost == 1


def test_order_is_per_run_of_a_node(books):
    first, second = ask(books, 0), ask(books, 0)
    books.notified(0, 0, second, RUN, 2, 1.5)
    books.notified(0, 0, first, RUN + 1, 1, 1.5)
    assert books.verdict().notifications.out_of_order == 0


def test_numbers_may_have_holes(books):
    """A handler that died with its node, or whose reply was refused, had a number too."""
    good_exchange(books, number=4)
    good_exchange(books, number=9)
    assert books.verdict().notifications == Notifications(published=2, delivered=4)


def test_notification_of_a_request_that_failed(books):
    request = ask(books, 0)
    books.failed(0, request, "deadline_exceeded", retryable=True, at=2.0)
    notify(books, 0, request)
    assert books.verdict().notifications.unfounded == 2


def test_notification_of_a_request_without_reply(books):
    notify(books, 0, ask(books, 0), to=(1,))
    assert books.verdict().notifications.unfounded == 1


def test_notification_of_another_group_or_of_nothing(books):
    request = good_exchange(books, client=0)
    books.notified(2, 0, request, RUN, 2, 1.5)
    books.notified(0, 0, 1000, RUN, 3, 1.5)
    books.notified(0, -1, 0, RUN, 4, 1.5)
    assert books.verdict().notifications.unfounded == 3


def test_older_master(books):
    for epoch in (1, 2, 2, 1, 3):
        books.announced(0, epoch)
    books.announced(1, 1)  # another client's ears
    assert books.verdict().notifications.old_masters == 1


def test_dropped_client(books):
    good_exchange(books)
    ask(books, 1)
    books.dropped(1, "close code 1011")
    books.dropped(1, "end of file")  # it has only one end
    verdict = books.verdict()
    assert verdict.dropped == {"close code 1011": 1}
    assert verdict.requests.unanswered == 1
    assert books.is_complete()  # nothing more can come
    assert verdict.notifications.missing == 0  # what a dropped client did not hear is not counted twice


def test_last_group_may_be_smaller():
    books = Accounting(clients=3, group=2)
    request = books.sent(2, 1.0)
    books.notified(2, 2, request, RUN, 1, 1.5)
    answer(books, 2, request)
    assert books.verdict().notifications == Notifications(published=1, delivered=1)


@given(st.lists(st.sampled_from(["answer", "fail", "leave", "twice", "fail and answer"])))
def test_every_request_is_in_one_column(fates):
    books = Accounting(clients=1, group=1)
    for fate in fates:
        request = books.sent(0, 1.0)
        if "fail" in fate:
            books.failed(0, request, "no_node", retryable=True, at=2.0)
        if "answer" in fate or fate == "twice":
            answer(books, 0, request)
        if fate == "twice":
            answer(books, 0, request)
    requests = books.verdict().requests
    only_errors = fates.count("fail")
    assert requests.sent == len(fates)
    assert requests.answered_once == fates.count("answer")
    assert requests.answered_twice == fates.count("twice") + fates.count("fail and answer")
    assert requests.unanswered == fates.count("leave")
    assert sum(requests.errors.values()) == only_errors + fates.count("fail and answer")


def test_verdict_survives_the_pipe(books):
    good_exchange(books)
    verdict = books.verdict([Fault("kill", "node-1", 1.0)])
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=type(verdict)) == verdict


# --- several proxies ------------------------------------------------------------------------------------------------


@pytest.fixture
def cluster():
    return Accounting(clients=4, group=2, is_cluster=True)


def times(books):
    """(delivered, missing, duplicated, unfounded, not_due)"""
    told = books.verdict().notifications
    return told.delivered, told.missing, told.duplicated, told.unfounded, told.not_due


def test_what_a_dead_proxys_client_had_asked_is_gone(cluster):
    answered, gone = good_exchange(cluster), ask(cluster, 0, 9.9)
    cluster.moves(0, 10.0)
    requests = cluster.verdict().requests
    assert (requests.sent, requests.answered_once, requests.gone, requests.unanswered) == (2, 1, 1, 0)
    assert cluster.is_complete()
    assert cluster.lost == 0
    notify(cluster, 0, gone, number=2, to=(1,))  # it was done, and heard by who is elsewhere
    assert times(cluster) == (2, 0, 0, 0, 1)
    notify(cluster, 0, gone, number=3, to=(1,))
    assert times(cluster) == (2, 0, 1, 0, 1)
    assert answered == 0


def test_it_goes_on_elsewhere(cluster):
    cluster.moves(0, 10.0)
    cluster.moves(0, 10.1)  # the next one died, too, before it had joined
    cluster.moved(0, 10.5)
    request = ask(cluster, 0, 20.0)
    notify(cluster, 0, request)
    answer(cluster, 0, request, at=20.1)
    assert times(cluster) == (2, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("sent", "answered", "is_due"),
    [
        (3.0, 8.9, True),  # its proxy had it for a good while
        (3.0, 9.1, False),  # the proxy may have died with it
        (9.5, 9.6, False),
        (10.2, 10.3, False),  # it was nowhere
        (10.9, 11.1, False),
        (11.1, 11.2, True),  # it had just joined
    ],
)
def test_what_is_missed_on_the_move(cluster, sent, answered, is_due):
    """Client 0 was on the move from 10 to 11, and client 1 asks."""
    request = ask(cluster, 1, sent)
    cluster.moves(0, 10.0)
    cluster.moved(0, 11.0)
    notify(cluster, 1, request, to=(1,))
    answer(cluster, 1, request, at=answered)
    assert times(cluster) == (1, int(is_due), 0, 0, 0)
    assert cluster.is_complete() is not is_due
    assert cluster.notifications().excused == 1 - is_due
    notify(cluster, 1, request, to=(0,), at=12.0)
    assert times(cluster) == (1 + is_due, 0, 0, 0, 1 - is_due)
    notify(cluster, 1, request, number=2, to=(0,), at=12.1)
    assert times(cluster)[2] == 1  # twice is never right over one connection


def test_heard_again_over_another_connection(cluster):
    """Who comes to another proxy may hear again what it had heard; over one connection nothing comes twice."""
    request = ask(cluster, 1, 9.0)
    notify(cluster, 1, request, number=5, at=9.1)
    answer(cluster, 1, request, at=9.1)
    cluster.moves(0, 10.0)
    cluster.moved(0, 11.0)
    notify(cluster, 1, request, number=5, to=(0,), at=11.2)
    notifications = cluster.notifications()
    assert (notifications.duplicated, notifications.again, notifications.out_of_order) == (0, 1, 0)
    notify(cluster, 1, request, number=5, to=(0,), at=11.3)
    verdict = cluster.verdict()
    assert (verdict.notifications.duplicated, verdict.notifications.again) == (1, 1)
    same, other = Twice(0, 1, 0, RUN, 5, 9.0, 11.2, 11.0, 11.3), Twice(0, 1, 0, RUN, 5, 9.0, 9.1, 11.0, 11.2)
    assert verdict.twice == [same, other]


@pytest.mark.parametrize(("again", "too_old"), [(60.0, 0), (9.1 + OLDEST + 0.01, 1)])
def test_what_comes_again_is_no_older_than_nodes_keep_it(cluster, again, too_old):
    """However often it came meanwhile."""
    request = ask(cluster, 1, 9.0)
    answer(cluster, 1, request, at=9.1)
    notify(cluster, 1, request, number=5, at=9.2)
    for moved, at in ((11.0, 30.0), (40.0, again)):
        cluster.moves(0, moved - 1.0)
        cluster.moved(0, moved)
        notify(cluster, 1, request, number=5, to=(0,), at=at)
    verdict = cluster.verdict()
    told = verdict.notifications
    assert (told.again, told.again_after, told.too_old) == (2, round(again - 9.1, 3), too_old)
    assert cluster.lost == too_old
    assert verdict.twice[0].again == (again if too_old else 30.0)  # what breaks a promise first


def test_order_is_per_connection(cluster):
    first, second = ask(cluster, 1, 9.0), ask(cluster, 1, 9.1)
    notify(cluster, 1, second, number=2, to=(0,), at=9.2)
    cluster.moves(0, 10.0)
    cluster.moved(0, 11.0)
    notify(cluster, 1, first, number=1, to=(0,), at=11.1)
    assert cluster.notifications().out_of_order == 0
    notify(cluster, 1, second, number=1, to=(0,), at=11.2)
    verdict = cluster.verdict()
    assert verdict.notifications.out_of_order == 1
    assert verdict.disordered == [Disordered(0, 1, 1, RUN, 1, 1, 9.1, 11.2)]


@pytest.mark.parametrize(
    ("over_one", "attempt", "missing"),
    [(True, 1, 1), (False, 1, 0), (True, 2, 0)],  # of a second attempt another run may have told it
)
def test_what_is_between_two_that_came_has_no_excuse(cluster, over_one, attempt, missing):
    """Client 0 hears the first and the third of one run while everything is excused."""
    asked = [ask(cluster, 1, at) for at in (9.5, 9.6, 9.7)]
    for number, request in enumerate(asked, 1):
        to = (1,) if number == 2 else (0, 1)
        if number == 3 and not over_one:
            cluster.moves(0, 9.65)
            cluster.moved(0, 9.69)
        notify(cluster, 1, request, number=number, to=to, at=9.5 + number / 10)
        answer(cluster, 1, request, at=9.8, attempt=attempt if number == 2 else 1)
    cluster.moves(0, 10.0)
    verdict = cluster.verdict()
    assert verdict.notifications.missing == missing
    assert verdict.missed == [Missed(0, 1, 1, 9.6, 9.8, True)] * missing
    assert cluster.is_complete() is not bool(missing)


def test_who_was_late_to_notice_may_have_moved_before():
    """The clients' process had no CPU for 3 s."""
    for late, missing in ((0.0, 1), (3.0, 0)):
        books = Accounting(clients=4, group=2, is_cluster=True)
        request = ask(books, 1, 1.0)
        answer(books, 1, request, at=7.5)
        notify(books, 1, request, to=(1,))
        books.moves(0, 10.0, late)
        assert times(books) == (1, missing, 0, 0, 0)


@pytest.mark.parametrize("is_cluster", [True, False])
def test_what_a_proxy_did_not_deliver_before_it_died_is_missing(is_cluster):
    """100 requests a second; client 0 hears nothing from 4.1 on, and its proxy is killed at 10."""
    books = Accounting(clients=2, group=2, is_cluster=is_cluster)
    for number in range(1, 1000):
        at = number / 100
        request = ask(books, 1, at)
        notify(books, 1, request, number, to=(0, 1) if at < 4.1 else (1,), at=at)
        answer(books, 1, request, at=at)
    books.moves(0, 10.0)
    books.moved(0, 10.5)
    told = books.notifications()
    assert (told.missing, told.excused) == (490, 100)


def test_who_was_cut_off_before_it_noticed(cluster):
    """Its proxy was frozen at 5, and let it go when it went on."""
    request = ask(cluster, 1, 2.5)
    answer(cluster, 1, request, at=3.5)
    notify(cluster, 1, request, to=(1,))
    cluster.moves(0, 10.0)
    cluster.moved(0, 11.0)
    assert times(cluster)[1] == 1
    cluster.excused(0, since=3.5, until=10.0)
    assert times(cluster) == (1, 0, 0, 0, 0)


def test_one_that_never_moved_misses_nothing(cluster):
    """Its neighbour's proxy died after the answer had come: then all others have the notification."""
    request = ask(cluster, 0, 9.9)
    answer(cluster, 0, request, at=9.95)
    cluster.moves(0, 10.0)
    assert times(cluster) == (0, 1, 0, 0, 0)


def test_a_slow_request_before_the_move_hides_no_other(cluster):
    """Sent at 1, answered at 30, while others came and went: those answered in time are due."""
    slow, quick = ask(cluster, 1, 1.0), ask(cluster, 1, 2.0)
    answer(cluster, 1, quick, at=2.1)
    cluster.moves(0, 10.0)
    cluster.moved(0, 10.5)
    assert times(cluster)[1] == 2  # quick, at both
    answer(cluster, 1, slow, at=30.0)
    assert times(cluster)[1] <= 3  # slow, at client 1


def test_effects_of_a_failed_request_may_have_been_done(cluster):
    request = ask(cluster, 0)
    cluster.failed(0, request, "deadline_exceeded", retryable=True, at=2.0)
    notify(cluster, 0, request, to=(1,))
    assert times(cluster) == (0, 0, 0, 0, 1)
    notify(cluster, 0, request, number=2, to=(1,))
    assert times(cluster) == (0, 0, 1, 0, 1)


def test_a_request_that_nobody_answered_has_no_excuse(cluster):
    notify(cluster, 0, ask(cluster, 0), to=(1,))
    assert times(cluster) == (0, 0, 0, 1, 0)


def test_a_client_that_finds_no_other_proxy_is_dropped(cluster):
    ask(cluster, 0)
    cluster.moves(0, 10.0)
    cluster.dropped(0, "found no other proxy")
    verdict = cluster.verdict()
    assert verdict.dropped == {"found no other proxy": 1}
    assert (verdict.requests.gone, verdict.requests.unanswered) == (1, 0)
