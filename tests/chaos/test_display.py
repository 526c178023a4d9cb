import io

import msgspec
import trio

from holdfast.chaos.accounting import Accounting
from holdfast.chaos.deliveries import Disordered, Missed, Twice
from holdfast.chaos.display import Display
from holdfast.chaos.due import Notifications
from holdfast.chaos.failover import Failover, Percentiles
from holdfast.chaos.fleet import MasterStatus, NodeStatus, Status
from holdfast.chaos.load import Progress
from holdfast.chaos.losses import Loss, Losses, Quarantined
from holdfast.chaos.masters import Acting
from holdfast.chaos.openings import Openings
from holdfast.chaos.report import DEFINITIONS, Clients, MasterFigures, Memory, Report
from holdfast.chaos.trial import Snapshot
from holdfast.chaos.writes import StateFigures
from tests.chaos.test_flood import figures


class Terminal(io.StringIO):
    def isatty(self):
        return True


def snapshot(**changes):
    progress = Progress(
        clients=100, moves=0, sent=1001, done=1000, notified=0, errors={"no_node": 3}, redelivered=7, unanswered=1,
        lost=0, latency=Percentiles(50, 1.5, 9.0, 10.0), lag=0.0,
    )  # fmt: skip
    status = Status(
        last_failover=0.0042,
        master=MasterStatus("b", 5),
        nodes=(NodeStatus("a", "node-1", "ready", 2, 11, {}), NodeStatus("b", "node-2\x1b[2J", "draining", 0, 12, {})),
    )
    usual = {"address": "ws://127.0.0.1:7512/", "elapsed": 3.2, "progress": progress, "status": status, "faults": 4}
    return Snapshot(**{**usual, **changes})


def report(**changes):
    books = Accounting(1, 1)
    for _ in range(1234):
        request = books.sent(0, 1.0)
        books.notified(0, 0, request, 1, request + 1, 1.0)
        books.replied(0, request, 0, 1, 1.005)
    verdict = books.verdict()
    usual = {
        "ok": True, "broken": [], "seconds": 60.0, "seed": 42, "proxies": 1, "openings": None,
        "state": StateFigures(
            100, 90, 1, 2, 3, lost=5, returned=6, counted_wrong=7, reordered=8, left_over=1, unfounded=1, nodes=3,
            differing=1, pause=2.5, latency=Percentiles(90, 5.0, 9.0, 12.0),
        ),
        "faults": {"kill": 29, "all": 1}, "turns_skipped": 2, "requests": verdict.requests,
        "clients": Clients(1000, 10.0, 2, {}, 300, Percentiles(300, 50.0, 90.0, 99.0), 12.5),
        "notifications": verdict.notifications, "twice": [], "disordered": [], "missed": [], "latency": verdict.latency,
        "masters": MasterFigures([Acting(3, "a", 0.0, 1.0), Acting(4, "b", 2.0, 3.0)], 0, 1),
        "flood": figures(closed={"end of file": 1}), "memory": {"proxy": Memory(30.0, 40.0, 41.0, 50.0)},
        "losses": None,
        "failover": {"kill": Failover(29, Percentiles(100, 3.0, 9.0, 12.0), Percentiles())},
        "cpu": {"proxy": 0.41}, "definitions": DEFINITIONS,
    }  # fmt: skip
    return Report(**{**usual, **changes})


def shown(report):
    stream = io.StringIO()
    Display("Holdfast test", stream).report(report)
    return stream.getvalue()


def lines(text):
    return [" ".join(line.split()) for line in text.splitlines()]


async def run_for(display, seconds, shots):
    shots = iter(shots)
    with trio.move_on_after(seconds):
        await display.run(lambda: next(shots))


async def test_a_line_per_second_where_there_is_no_terminal(autojump_clock):
    stream = io.StringIO()
    display = Display("Holdfast test", stream)
    display.event("kill node-1")
    starting = snapshot(address="", elapsed=None, progress=None, status=Status())
    connecting = snapshot(elapsed=None, progress=None)
    await run_for(display, 3.5, [starting, connecting, snapshot(), snapshot()])
    told = lines(stream.getvalue())
    assert told[0].endswith("s kill node-1")
    assert told[1] == "clients connect to ws://127.0.0.1:7512/"
    assert len(told) == 4
    for figure in ("clients 100", "answered 997", "redelivered 7", "errors 3", "lost 0", "epoch 5", "failover 4.2 ms"):
        assert figure in told[2]
    assert "\x1b" not in stream.getvalue()  # not even from a node's name


async def test_a_live_table_on_a_terminal(autojump_clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    display = Display("Holdfast test", stream)
    display.event("kill node-1")
    await run_for(display, 0.4, [snapshot(), snapshot()])
    text = stream.getvalue()
    for what in ("Connect to ws://127.0.0.1:7512/", "node-1", "draining", "master", "redelivered", "kill node-1"):
        assert what in text
    assert "\x1b[2J" not in text


def test_report():
    told = lines(shown(report()))
    for line in (
        "faults all 1, kill 29 (2 skipped)",
        "seed 42",
        "requests sent 1,234 in 60 s",
        "answered once 1,234",
        "answered with an error 0",
        "notifications 1,234, each to 2 clients",
        "masters 2",
        "latency p50 5 ms, p99 5 ms, max 5 ms, of 1,234",
        "failover after kill (1) p50 3 ms, p99 9 ms, max 12 ms, of 100",
        "sent just after kill (2) no request",
        "cores in use proxy 0.41; requests left up to 12.5 ms late",
        "state writes 100",
        "acknowledged 90",
        "refused, failed, gone 1, 2, 3",
        "lost, undone 5, 6",
        "counters off by 7",
        "wrong keys left 2",
        "nodes that differ 1 of 3",
        "took p50 5 ms, p99 9 ms, max 12 ms, of 90; 2.5 s without one at most",
        "flood, to listeners 9, and 2 that do not read",
        "ordered 3 x the 1,000 deliveries/s that can be made",
        "published 100, 33% of what was ordered, in 1 s",
        "missing, doubled 0, 0",
        "closed end of file 1",
        "closed that do not read 2 of 2",
        "memory of proxy 30 MiB at first, 40 median, 41 at last, 50 most",
        "Nothing was lost.",
    ):
        assert line in told
    assert any(line.startswith("(1) of requests whose reply came from a second node") for line in told)


def test_report_of_a_cluster():
    only_of_a_cluster = (
        "nodes were told 4,000 openings, 3,000 closings, in 4 runs",
        "twice 3",
        "closings untrue 7",
        "wrong in the end 11",
    )
    openings = Openings(
        runs=4, opened=4000, closed=3000, opened_twice=1, closed_twice=2, closed_early=3, closed_unopened=4, unknown=5,
        left_over=6,
    )  # fmt: skip
    told = lines(shown(report(proxies=3, openings=openings)))
    for line in (
        *only_of_a_cluster,
        "gone with a connection 0",
        "not due, and came once 0, or not: 0",
        "lost with their proxy 300",
        "served again after p50 50 ms, p99 90 ms, max 99 ms, of 300",
    ):
        assert line in told
    assert not set(only_of_a_cluster) & set(lines(shown(report())))


def test_report_of_a_broken_promise():
    told = lines(shown(report(ok=False, broken=["3 requests never answered"])))
    assert "Broken: 3 requests never answered" in told
    assert "Nothing was lost." not in told


def test_report_says_what_came_twice_and_what_did_not_come():
    twice, missed = Twice(7, 5, 12, 99, 3, 1.0, 1.5, 2.25, 2.5, (0, 2)), Missed(7, 5, 13, 3.0, 3.5, is_between=True)
    disordered = Disordered(7, 5, 12, 99, 3, 4, 1.0, 2.5, 0)
    missed_both = [missed, msgspec.structs.replace(missed, is_between=False)]
    told = lines(shown(report(twice=[twice], disordered=[disordered], missed=missed_both)))
    heard = "client 7 heard it at 1.500 s from proxy 1 and at 2.500 s from proxy 3, to which it had come at 2.250 s"
    assert f"came twice request 12 of client 5, sent at 1.000 s: {heard}" in told
    heard = "client 7 heard it at 2.500 s from proxy 1, as number 3 of that node after number 4"
    assert f"out of order request 12 of client 5, sent at 1.000 s: {heard}" in told
    lacking = "missed request 13 of client 5, sent at 3.000 s and answered at 3.500 s: client 7 did not hear it"
    assert lacking in told
    assert f"{lacking}, though it heard earlier and later ones of that node's over one connection" in told


def test_report_without_testimony():
    told = lines(shown(report(masters=MasterFigures([], 0, 0), failover={})))
    assert "masters the nodes are not ours: nobody testified" in told
    assert not any(line.startswith("(1)") for line in told)


def test_report_says_how_old_was_what_came_again():
    told = lines(shown(report(notifications=Notifications(again=42, again_after=3.125))))
    assert "again, at another proxy 42, at most 3.125 s after it was published" in told
    assert "again, at another proxy 0" in lines(shown(report()))


def test_report_says_who_was_given_up_and_what_was_lost_with_it():
    one = Quarantined("proxy, worker 0", 60, 7, 2, 12.0, [Loss(8.0, "node-1-a", "silent for 2.1 s", 256)])
    figures = Losses({"silent": 2, "disconnected": 1}, {"nothing came": 3}, 89, 60, [one])
    text = lines(shown(report(losses=figures)))
    assert "nodes lost by proxies disconnected 1, silent 2" in text
    assert "proxies lost by nodes nothing came 3" in text
    assert "quarantined 89, of them within a time of silence 60" in text
    told = "quarantined 60 of proxy, worker 0 from 12.000 s on, after 2 attempts, the first is request 7; it had lost: "
    assert told + "node-1-a at 8.000 s (silent for 2.1 s), with 256" in text
    assert not any("quarantined" in line for line in lines(shown(report(losses=Losses()))))
