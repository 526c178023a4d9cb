"""The rules of election one by one; then a world of slow clocks, late messages, frozen and killed processes."""

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from balancer.coordination.base import MasterRecord
from balancer.election import MAX_DRIFT, Election, Nomination
from balancer.settings import ElectionSettings
from protocols.nodes.frames import Master
from protocols.peers.frames import Record

LEASE = 2.0
WAIT = LEASE * (1 + MAX_DRIFT)


def election(now=0.0):
    return Election(ElectionSettings(lease=LEASE), now)


def elected(node="a", *, now=10.0):
    """An election, started at 0, in which `node` became master of epoch 1 at `now`."""
    it = election()
    nomination = it.decide(now, [node])
    assert it.settled(nomination.record) == Master(node, 1)
    return it


class TestDecide:
    def test_nobody_is_nominated_before_a_former_runs_lease_has_ended(self):
        it = election(now=100.0)
        assert it.decide(100.0 + WAIT - 0.01, ["a"]) is None
        assert it.decide(100.0 + WAIT, []) is None
        assert it.decide(100.0 + WAIT, ["a", "b"]) == Nomination(MasterRecord(1, "a"), 0)

    def test_one_nomination_at_a_time(self):
        it = election()
        assert it.decide(10.0, ["a"]) is not None
        assert it.decide(10.1, ["a"]) is None
        it.failed()
        assert it.decide(10.2, ["a"]) == Nomination(MasterRecord(2, "a"), 0)

    def test_the_master_stays_while_its_session_stands(self):
        it = elected("b")
        assert it.decide(99.0, ["a", "b"]) is None
        assert it.decide(99.0, []) is None
        assert (it.master, it.epoch) == ("b", 1)

    def test_the_epoch_is_higher_than_any_node_has_seen(self):
        it = election()
        it.saw(7)
        it.saw(3)
        assert it.decide(10.0, ["a"]).record == MasterRecord(8, "a")

    def test_a_master_gets_a_new_epoch_when_a_node_has_seen_a_higher_one(self):
        it = elected("a")
        it.saw(5)
        assert it.decide(10.1, ["b", "a"]) == Nomination(MasterRecord(6, "a"), 1)
        assert it.renew("a", 10.2) == (1, LEASE)
        assert it.settled(MasterRecord(6, "a")) == Master("a", 6)
        assert it.renew("a", 10.3) == (6, LEASE)
        assert it.decide(10.4, ["b", "a"]) is None


class TestStore:
    def test_another_record_teaches_its_epoch(self):
        it = election()
        it.decide(10.0, ["a"])
        assert it.settled(MasterRecord(4, "x")) is None
        assert (it.master, it.epoch) == ("", 0)
        assert it.decide(10.1, ["a"]) == Nomination(MasterRecord(5, "a"), 4)

    @pytest.mark.parametrize("end", ["lost", "released", "revoke"])
    def test_a_nominee_that_goes_meanwhile_does_not_become_master(self, end):
        it = election()
        nomination = it.decide(10.0, ["a", "b"])
        assert getattr(it, end)("a") is None
        assert it.settled(nomination.record) is None
        assert it.master == ""
        assert it.decide(10.1, ["b"]) == Nomination(MasterRecord(2, "b"), 1)

    def test_a_master_that_goes_while_it_gets_a_new_epoch_does_not_stay(self):
        it = elected("a")
        it.saw(5)
        nomination = it.decide(10.1, [])
        assert it.lost("a") == Master("", 1)
        assert it.settled(nomination.record) is None
        assert (it.master, it.renew("a", 10.2)) == ("", (1, 0.0))


class TestLease:
    def test_only_the_master_gets_one(self):
        it = elected("a")
        assert it.renew("b", 10.0) == (1, 0.0)
        assert it.renew("a", 10.0) == (1, LEASE)
        assert (it.epoch_of("a"), it.epoch_of("b"), it.epoch_of("")) == (1, 0, 0)

    def test_an_empty_id_is_nobody(self):
        it = election()
        assert (it.lost(""), it.released(""), it.revoke("")) == (None, None, None)
        assert it.decide(1.0, ["a"]) is None

    def test_nobody_is_master_before_the_first(self):
        it = election()
        assert it.renew("", 1.0) == (0, 0.0)
        assert it.renew("a", 1.0) == (0, 0.0)
        assert it.epoch_of("") == 0

    @pytest.mark.parametrize("end", ["lost", "revoke"])
    def test_the_successor_waits_for_its_end(self, end):
        it = elected("a")
        it.renew("a", 20.0)
        assert getattr(it, end)("a") == Master("", 1)
        assert it.renew("a", 20.1) == (1, 0.0)
        assert it.decide(20.0 + WAIT - 0.01, ["b"]) is None
        assert it.decide(20.0 + WAIT, ["b"]).record == MasterRecord(2, "b")

    def test_a_master_that_says_so_is_followed_at_once(self):
        it = elected("a")
        it.renew("a", 20.0)
        assert it.released("a") == Master("", 1)
        assert it.decide(20.0, ["b"]).record == MasterRecord(2, "b")

    def test_a_master_that_the_operator_drains_may_still_say_so(self):
        it = elected("a")
        it.renew("a", 20.0)
        it.revoke("a")
        assert it.released("b") is None
        assert it.decide(20.1, ["b"]) is None
        assert it.released("a") is None
        assert it.decide(20.1, ["b"]) is not None

    def test_what_a_later_session_says_does_not_end_it(self):
        it = elected("a")
        it.renew("a", 20.0)
        it.lost("a")
        it.released("a")  # another process, of the same name
        assert it.decide(20.1, ["b"]) is None

    def test_losing_others_changes_nothing(self):
        it = elected("a")
        assert (it.lost("b"), it.released("b"), it.revoke("b")) == (None, None, None)
        assert it.epoch_of("a") == 1


class TestCluster:
    """What one proxy of several does: it follows the record, and grants for itself."""

    def follower(self, now=0.0):
        it = election(now)
        it.joined()
        assert it.follow(Record(7, 7, "a", 1)) == Master("a", 7)
        return it

    def test_it_follows_the_record(self):
        it = self.follower()
        assert (it.master, it.epoch, it.epoch_of("a")) == ("a", 7, 7)
        assert it.follow(Record(8, 7, "a", 1)) is None, "the set of members has changed, the master has not"
        assert it.follow(Record(9, 9, "a", 1)) == Master("a", 9)
        assert it.follow(Record(10, 10, "b", 1)) == Master("b", 10)

    def test_who_has_joined_has_granted_nothing(self):
        assert self.follower().renew("a", 0.0, 1) == (7, LEASE)
        alone = election(now=0.0)
        alone.follow(Record(7, 7, "a", 1))
        assert alone.renew("a", 0.0, 1) == (7, 0.0), "a former run may have granted"

    def test_to_join_again_does_not_end_a_grant(self):
        it = self.follower()
        it.renew("a", 10.0, 1)
        it.joined()
        it.follow(Record(8, 8, "b", 1))
        assert it.renew("b", 10.0, 1) == (8, 0.0)

    def test_another_is_granted_nothing_while_a_grant_stands(self):
        it = self.follower()
        it.renew("a", 10.0, 1)
        it.follow(Record(8, 8, "b", 1))
        assert it.renew("b", 10.0 + WAIT - 0.01, 1) == (8, 0.0)
        assert it.renew("b", 10.0 + WAIT, 1) == (8, LEASE)

    def test_a_new_process_of_the_same_id_is_another(self):
        it = self.follower()
        it.renew("a", 10.0, 1)
        it.follow(Record(8, 8, "a", 2))
        assert it.renew("a", 10.1, 2) == (8, 0.0)

    def test_a_grant_that_is_given_back_stands_no_more(self):
        it = self.follower()
        it.renew("a", 10.0, 1)
        assert it.released("a") == Master("", 7)
        it.follow(Record(8, 8, "b", 1))
        assert it.renew("b", 10.0, 1) == (8, LEASE)

    def test_a_lost_session_ends_no_mastership_but_can_give_nothing_back(self):
        it = self.follower()
        it.renew("a", 10.0, 1)
        it.session_lost("a")
        assert it.master == "a"
        assert it.renew("a", 10.1, 1) == (7, LEASE), "the same process is back"
        it.session_lost("a")
        it.released("a")
        it.follow(Record(8, 8, "b", 1))
        assert it.renew("b", 10.2, 1) == (8, 0.0)

    def test_epochs_are_above_the_records_version(self):
        it = self.follower()
        it.follow(Record(12, 7, "a", 1))
        it.lost("a")
        assert it.decide(20.0, ["b"]) == Nomination(MasterRecord(13, "b"), 12)

    def test_the_keepers_own_nomination_is_settled_not_followed(self):
        it = self.follower()
        it.lost("a")
        nomination = it.decide(20.0, ["b"])
        record = Record(nomination.record.epoch, nomination.record.epoch, "b", 1)
        assert it.follow(record) is None
        it.lost("b")
        assert it.settled(nomination.record) is None
        assert it.master == "", "it went while the store was writing"

    def test_another_record_in_place_of_the_nomination_is_followed(self):
        it = self.follower()
        it.lost("a")
        it.decide(20.0, ["b"])
        assert it.follow(Record(8, 8, "c", 1)) == Master("c", 8)
        assert it.settled(MasterRecord(8, "c")) is None
        assert it.master == "c"


# --- the simulated world ----------------------------------------------------------------------------------------------

HEARTBEAT = 0.2
TICK = 0.05


class Clock:
    """Runs up to 8.3 % fast or slow, from an arbitrary start: what MAX_DRIFT allows for."""

    def __init__(self, random: Random) -> None:
        self._rate = random.choice([1 - 0.083, 1 + 0.083, random.uniform(1 - 0.083, 1 + 0.083)])
        self._offset = random.uniform(0, 1000)

    def at(self, time: float) -> float:
        return self._offset + self._rate * time


class Session:
    """What both ends have of a session. Each end learns by itself that it is over."""

    def __init__(self, process: "Process") -> None:
        self.process = process
        self.is_leaving = False  # the node has said so
        self.is_draining = False  # the proxy has heard it, or the operator wants it
        self.arrivals = {"up": 0.0, "down": 0.0}  # of the last message in a direction: they keep order


class Process:
    """A node's process, by the rules of docs/node-protocol.md: it acts until its own clock shows stamp + lease."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.clock = Clock(world.random)
        self.session: Session | None = None
        self.epoch_seen = 0
        self.acting_epoch = 0
        self.acts_until = float("-inf")
        self.is_alive = True
        self.is_replaced = False
        self.thaws_at = 0.0

    @property
    def is_acting(self) -> bool:
        """A frozen process counts: it might go on in the middle of anything before it looks at the clock."""
        return self.is_alive and self.clock.at(self.world.time) < self.acts_until

    def stop_acting(self):
        self.acts_until = float("-inf")

    def connect(self):
        if self.session is None and self.is_alive and not self.is_replaced:
            self.session = Session(self)
            self.world.send(self.session, "up", "hello", self.name, self.epoch_seen)
            self.heartbeat(self.session)

    def heartbeat(self, session):
        if session is self.session and self.is_alive:
            self.world.send(session, "up", "heartbeat", self.clock.at(self.world.time))
            self.world.later(HEARTBEAT, self.world.when_awake, self, self.heartbeat, session)

    def receive(self, session, kind, *content):
        if session is not self.session:
            return
        if kind == "master":
            node, epoch = content
            if epoch >= self.epoch_seen:
                self.epoch_seen = epoch
                if node != self.name:
                    self.stop_acting()
        else:
            stamp, epoch, lease = content
            if lease and epoch >= self.epoch_seen and not session.is_leaving:
                self.acting_epoch, self.acts_until = epoch, stamp + lease
            else:
                self.stop_acting()

    def leave(self, farewell):
        """on_master has ended; then the proxy is told."""
        if self.session is not None:
            self.stop_acting()
            self.session.is_leaving = True
            self.world.send(self.session, "up", farewell)
            if farewell == "bye":
                self.session = None
                self.world.later(self.world.delay(), self.world.when_awake, self, self.connect)


class World:
    """One proxy at a time, some processes, and a network between them."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.time = 0.0
        self._queue: list[tuple[float, int, Callable[..., None], tuple]] = []
        self._numbers = count()
        self.keeps_record = random.random() < 0.5  # a store that outlives the proxy
        self.record = MasterRecord()
        self.is_faulty = True
        self.elections = 0
        self.processes = [Process(self, name) for name in "abc"]
        self.start_proxy()
        for process in self.processes:
            process.connect()

    # --- time and network ---------------------------------------------------------------------------------------------

    def later(self, delay, do, *arguments):
        heappush(self._queue, (self.time + delay, next(self._numbers), do, arguments))

    def run(self, duration):
        end = self.time + duration
        while self._queue[0][0] <= end:
            self.time, _, do, arguments = heappop(self._queue)
            do(*arguments)
            self.check()
        self.time = end

    def delay(self):
        if not self.is_faulty:
            return 0.01
        return self.random.uniform(0, 3) if self.random.random() < 0.03 else self.random.uniform(0, 0.05)

    def send(self, session, direction, *message):
        arrival = session.arrivals[direction] = max(self.time + self.delay(), session.arrivals[direction])
        if direction == "up":
            self.later(arrival - self.time, self.proxy_receives, self.election, session, *message)
        else:
            process = session.process
            self.later(arrival - self.time, self.when_awake, process, process.receive, session, *message)

    def when_awake(self, process, do, *arguments):
        if self.time < process.thaws_at:
            self.later(process.thaws_at - self.time, self.when_awake, process, do, *arguments)
        elif process.is_alive:
            do(*arguments)

    # --- the proxy ----------------------------------------------------------------------------------------------------

    def start_proxy(self):
        self.clock = Clock(self.random)
        self.sessions: dict[str, Session] = {}
        self.epochs = [0]
        if not self.keeps_record:
            self.record = MasterRecord()
        self.election = election(self.clock.at(self.time))
        self.tick(self.election)

    def restart_proxy(self):
        for process in self.processes:
            if process.session is not None:
                self.later(self.delay(), self.when_awake, process, self.node_reconnects, process.session)
        self.start_proxy()

    def tell(self, master):
        if master is not None:
            for session in self.sessions.values():
                self.send(session, "down", "master", master.node, master.epoch)

    def proxy_receives(self, proxy, session, kind, *content):
        name = session.process.name
        if proxy is not self.election or (kind != "hello" and self.sessions.get(name) is not session):
            return  # it went to a former run, or is of a session that is over
        if kind == "hello":
            if name in self.sessions:
                self.end_session(self.sessions[name])
            self.sessions[name] = session
            self.election.saw(content[1])
            self.send(session, "down", "master", self.election.master, self.election.epoch)
        elif kind == "heartbeat":
            answer = self.election.renew(name, self.clock.at(self.time))
            self.send(session, "down", "answer", *content, *answer)
        elif kind == "drain":
            session.is_draining = True
            self.tell(self.election.released(name))
        else:
            self.tell(self.election.released(name))
            self.end_session(session)

    def end_session(self, session):
        """The proxy gives a session up. The node may hear of it much later."""
        del self.sessions[session.process.name]
        self.tell(self.election.lost(session.process.name))
        notices = self.random.uniform(0, 4) if self.is_faulty else 0.1
        self.later(notices, self.when_awake, session.process, self.node_reconnects, session)

    def node_reconnects(self, session):
        process = session.process
        if process.session is session:
            process.session = None
        process.connect()

    def tick(self, proxy):
        if proxy is not self.election:
            return
        self.later(TICK, self.tick, proxy)
        candidates = [name for name, session in self.sessions.items() if not session.is_draining]
        nomination = proxy.decide(self.clock.at(self.time), candidates)
        if nomination is not None:
            self.later(self.delay(), self.store, proxy, nomination)

    def store(self, proxy, nomination):
        if proxy is not self.election:
            return
        fault = self.random.random() if self.is_faulty else 1.0
        if fault > 0.1 and self.record.epoch == nomination.expected:
            self.record = nomination.record
        self.later(self.delay(), self.stored, proxy, None if fault < 0.2 else self.record)

    def stored(self, proxy, record):
        if proxy is not self.election:
            return
        if record is None:
            proxy.failed()
            return
        master = proxy.settled(record)
        if master is not None:
            assert master.epoch > self.epochs[-1], "epochs grow"
            self.epochs.append(master.epoch)
            self.elections += 1
            self.tell(master)

    # --- faults -------------------------------------------------------------------------------------------------------

    def fault(self):
        random = self.random
        living = [each for each in self.processes if not each.is_replaced]
        process = random.choice([each for each in living if each.is_acting] or living)
        match random.choice(["cut", "cut", "freeze", "kill", "twin", "drain", "bye", "revoke", "restart", "none"]):
            case "cut":
                if process.session is not None and self.sessions.get(process.name) is process.session:
                    self.end_session(process.session)
            case "freeze":
                process.thaws_at = self.time + random.uniform(0, 6)
            case "kill":
                process.is_alive = False
                self.replace(process)
            case "twin":  # a frozen process is given up and started anew under its name; then it wakes up
                process.thaws_at = self.time + random.uniform(0, 6)
                self.replace(process)
            case "drain" | "bye" as farewell if self.time >= process.thaws_at:
                process.leave(farewell)
            case "revoke":
                if process.name in self.sessions:
                    self.sessions[process.name].is_draining = True
                    self.tell(self.election.revoke(process.name))
            case "restart":
                self.restart_proxy()

    def replace(self, process):
        session = self.sessions.get(process.name)
        if session is not None and session.process is process:
            self.end_session(session)
        process.is_replaced = True
        new = Process(self, process.name)
        self.processes.append(new)
        self.later(self.delay(), new.connect)

    # --- what must hold -----------------------------------------------------------------------------------------------

    def check(self):
        acting = [process for process in self.processes if process.is_acting]
        assert len(acting) <= 1, "at most one acts"
        self.processes = [process for process in self.processes if process.is_alive]

    def finish(self):
        """Without faults there is soon a master, and every node believes it."""
        self.is_faulty = False
        self.run(10)
        for session in list(self.sessions.values()):
            if session.is_draining:
                self.end_session(session)
        self.run(10)
        (acting,) = [process for process in self.processes if process.is_acting]
        assert (acting.name, acting.acting_epoch) == (self.election.master, self.election.epoch)
        assert {process.epoch_seen for process in self.processes if not process.is_replaced} == {self.election.epoch}


@given(seed=st.integers(0, 2**64))
@settings(max_examples=60, deadline=None)
def test_at_most_one_acts_and_in_the_end_one_does(seed):
    """A long random run each; Hypothesis only finds the seed."""
    world = World(Random(seed))
    for _ in range(2):
        for _ in range(20):
            world.run(world.random.expovariate(0.5))
            world.fault()
        world.finish()
        world.is_faulty = True
    assert world.elections
