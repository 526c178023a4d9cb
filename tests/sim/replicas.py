"""A small world for balancer.cluster.replication alone: members, a record that they change by its rules, nodes.

Messages are late, lost, doubled and overtake each other; members crash, are cut off, evicted, let in again, and leave.
`World.run` ends with healing, and `Violation` says what was not so.
"""

import random
from heapq import heappop, heappush
from itertools import cycle

from holdfast.balancer.cluster.keeping import Phase
from holdfast.balancer.cluster.replication import Replication
from holdfast.balancer.settings import StateSettings
from holdfast.balancer.state import Refusal, StateCopy
from holdfast.protocols.nodes.frames import Entry, Propose
from holdfast.protocols.peers.frames import Member, Record

KEYS = ("a", "b", "c")
COUNTER = "counter"
TICK = 0.15
BEAT = 0.5


class Violation(AssertionError):
    """A promise is broken."""


class Process:
    """One run of a proxy: the record that it follows, and its part of the state."""

    def __init__(self, world, name):
        self.world = world
        self.name = name
        self.record = Record()
        self.told = {}  # peer: version that it follows
        self.firm = 0  # ballot that is known to be firm
        self.part = world.Replication(name, StateCopy(StateSettings(max_keys=next(world.limits))))
        self.part.keeping = self
        self.commit = 0  # as keeper: index of the last entry that is committed
        self.mark = (0, (0, 0))

    def lead(self, now):
        if self.part.position[0] < self.part.term:
            self.world.strikes(self)
            if self.world.waits and self.world.random.random() < self.world.waits:
                self.world.at(self.world.random.uniform(0.0, 1.0), self.begin, self.part.term)
            else:
                self.part.begin(int(now * 1e3))

    def begin(self, term):
        part = self.part
        if self.name not in self.world.members or part.term != term or part.phase is not Phase.RECOVERING:
            return
        if part.waits_for:
            self.world.at(TICK, self.begin, term)
        else:
            part.begin(int(self.world.now * 1e3))
            self.flush()

    def begun(self):
        self.commit = self.part.position[1]
        self.world.begun(self)

    def committed(self, entry):
        self.commit = entry.index
        self.world.committed(self, entry)

    def gave_up(self, position, for_position, changes):
        pass

    def forsake(self):
        pass

    @property
    def is_ready(self):
        return self.part.phase is Phase.KEEPING

    def follows(self, record):
        if record.version > self.record.version:
            self.record = record
            self.part.follow(record, self.world.now)
            self.flush()

    def start(self):
        if self.name in self.world.members:
            self.world.at(TICK, self.start)
            if self.world.random.random() < 0.2 and self.name not in self.world.deaf:
                self.follows(self.world.record)  # it reads the store
            self.part.tick(self.world.now)
            self.flush()

    def beat(self):
        if self.name in self.world.members:
            self.world.at(BEAT * self.world.random.uniform(0.8, 1.2), self.beat)
            self.note()
            content = (self.record, self.firm, self.part.term, self.part.position)
            for other in list(self.world.members):
                if other != self.name:
                    self.world.send(self.name, other, "hears", content)

    def hears(self, peer, record, firm, term, position):
        self.told[peer] = max(self.told.get(peer, 0), record.version)
        self.follows(record)
        self.firm = max(self.firm, firm)
        self.part.beat(peer, term, position, self.world.now)
        self.note()
        self.flush()

    def note(self):
        """As keeper: whether this set is firm."""
        ids, ballot = self.record.ids, self.record.ballot
        is_confirmed = all(p == self.name or self.told.get(p, 0) >= ballot for p in ids)
        if self.name in ids and is_confirmed and (self.part.is_held or self.world.firm_unheld):
            self.firm = max(self.firm, ballot)

    def takes(self, peer, frame):
        answer = self.part.received(peer, frame, self.world.now)
        if answer is not None:
            self.world.send(self.name, peer, "takes", (answer,))
        self.flush()

    def flush(self):
        self.world.check(self)
        published, question = self.part.take(self.world.now)
        for frame in published:
            for other in list(self.world.members):
                if other != self.name:
                    self.world.send(self.name, other, "takes", (frame,))
        if question is not None:
            self.world.send(self.name, question[0], "takes", (question[1],))


class Node:
    """It changes the state through whoever is ready to order, and asks again until it knows what came of it."""

    def __init__(self, world, name):
        self.world = world
        self.name = name
        self.number = 0
        self.open = {}  # number: Propose
        self.term = 0  # a keeper of an older one has nothing to say any more
        self.increments = 0

    def start(self):
        world = self.world
        if not world.is_over:
            world.at(world.random.uniform(0.02, 0.3), self.start)
            if len(self.open) < 4 and not world.is_healing:
                self.change()
            self.propose()

    def change(self):
        keeper = self.keeper()
        if keeper is None:
            return
        self.number += 1
        random = self.world.random
        item = keeper.part.copy.items.get(COUNTER)
        if random.random() < 0.4 and (item is None or item.version <= keeper.commit):  # nodes know no others
            value = int(item.value) if item else 0
            frame = Propose(self.number, COUNTER, b"%d" % (value + 1), 0, item.version if item else 0)
        else:
            value = None if random.random() < 0.2 else b"%s %d" % (self.name.encode(), self.number)
            frame = Propose(self.number, random.choice(KEYS), value)
        self.open[self.number] = frame

    def keeper(self):
        ready = [m for m in self.world.members.values() if m.is_ready and m.part.term >= self.term]
        if not ready:
            return None
        keeper = self.world.random.choice(ready)
        self.term = keeper.part.term
        return keeper

    def propose(self):
        keeper = self.keeper()
        for frame in list(self.open.values()) if keeper else ():
            if self.world.random.random() < 0.8:
                self.world.at(self.world.random.uniform(0.001, 0.05), self.arrive, keeper, frame)

    def arrive(self, keeper, frame):
        part = keeper.part
        if keeper.name not in self.world.members or not keeper.is_ready or part.term < self.term:
            return
        ordered = part.order(self.name, frame)
        if isinstance(ordered, Entry):
            keeper.flush()
        elif isinstance(ordered, Refusal):
            self.open.pop(frame.proposal, None)
        elif keeper.commit == part.position[1]:
            self.done(frame.proposal)

    def done(self, number):
        frame = self.open.pop(number, None)
        if frame is not None and frame.key == COUNTER:
            self.increments += 1


class World:
    """firm_unheld: a set counts as firm when all follow it, whoever holds the state (a rule is taken away). waits: the
    share of keepers that wait for nodes before they begin. limits: of one run of a
    proxy after the other, in keys."""

    def __init__(self, seed, replication=Replication, *, firm_unheld=False, waits=0.0, limits=(1000,)):
        self.random = random.Random(seed)
        self.limits = cycle(limits)
        self.Replication = replication
        self.firm_unheld = firm_unheld
        self.waits = waits
        self.now = 0.0
        self.members = {}  # processes that live, members of the record or not
        self.record = Record()
        self.is_healing = self.is_over = False
        self.acknowledged = {}  # index: entry that was committed
        self.answered = set()  # node, proposal: what nodes know to be done, from entries and from snapshots
        self.states = {}  # position: content
        self.cut = set()  # who is cut off from all others
        self.deaf = set()  # who learns of no record, and is not heard by heartbeats; what orders and holds still passes
        self.loss = self.random.choice((0.0, 0.02, 0.2))
        self.slow = self.random.choice((0.0, 0.05, 0.3))  # share of messages that are late by up to a second
        self.laggards = set()  # what comes to these is mostly lost: they are heard, and fall behind
        self._events = []
        self._count = 0
        self._names = 0
        self.nodes = [Node(self, f"n{number}") for number in range(self.random.choice((1, 3)))]

    # --- time and messages ----------------------------------------------------------------------------------------

    def at(self, delay, what, *args):
        self._count += 1
        heappush(self._events, (self.now + delay, self._count, what, args))

    def send(self, sender, receiver, what, args):
        random = self.random
        is_lost = what == "takes" and random.random() < (0.9 if receiver in self.laggards else self.loss)
        if self.is_healing or not is_lost:
            delay = random.uniform(0.001, 0.02)
            if random.random() < self.slow and not self.is_healing:
                delay = random.uniform(0.1, 1.0)
            for _ in range(2 if random.random() < 0.03 else 1):
                self.at(delay, self.deliver, sender, receiver, what, args)

    def deliver(self, sender, receiver, what, args):
        member = self.members.get(receiver)
        off = self.cut | self.deaf if what == "hears" else self.cut
        if member is not None and not off.intersection((sender, receiver)):
            getattr(member, what)(sender, *args)

    def run(self, faults_for=6.0, heals_for=8.0):
        random = self.random
        for _ in range(random.choice((1, 2, 3, 3, 4, 5))):
            self.at(random.uniform(0.0, 0.5), self.add)
        for node in self.nodes:
            self.at(0.3, node.start)
        self.at(0.1, self.govern)
        self.at(0.5, self.harm)
        self.until(faults_for)
        self.is_healing = True
        self.cut.clear()
        self.deaf.clear()
        self.laggards.clear()
        self.until(faults_for + heals_for)
        self.is_over = True
        self.finish()

    def until(self, end):
        while self._events and self._events[0][0] <= end:
            self.now, _, what, args = heappop(self._events)
            what(*args)
        self.now = end

    # --- faults -----------------------------------------------------------------------------------------------------

    def add(self):
        self._names += 1
        member = self.members[f"p{self._names}"] = Process(self, f"p{self._names}")
        member.start()
        member.beat()

    def harm(self):
        if self.is_healing:
            return
        random = self.random
        self.at(random.expovariate(2.0), self.harm)
        names = list(self.members)
        kind = random.choice(("crash", "cut", "heal", "lag", "lag", "add", "leave", "keeper", "still"))
        victim = random.choice(names) if names else ""
        if kind == "keeper":
            kind, victim = random.choice(("crash", "cut", "deaf", "deaf")), self.record.keeper
        if kind == "heal":
            self.cut.clear()
            self.deaf.clear()
        elif kind == "still":
            self.laggards.clear()
        elif kind == "add" and len(names) < 6:
            self.add()
        elif victim not in self.members:
            return
        elif kind == "lag":
            self.laggards.add(victim)
        elif kind in ("cut", "deaf") and len(self.cut | self.deaf) < len(names) / 2:
            (self.cut if kind == "cut" else self.deaf).add(victim)
        elif kind == "crash" and self.survives({victim}):
            del self.members[victim]
        elif kind == "leave" and len(self.record.ids) > 2:
            self.leave(victim)

    def strike(self, name):
        """While it takes over."""
        if not self.is_healing and name in self.members:
            if self.random.random() < 0.5 and self.survives({name}):
                del self.members[name]
            elif len(self.cut | self.deaf) < len(self.members) / 2:
                self.cut.add(name)

    def survives(self, dead):
        """Whether those who live could go on without these: what kills more is another promise's business."""
        alive = {name for name in self.record.ids if name in self.members and name not in dead}
        former = alive.intersection(self.record.former)  # who was evicted has no vote
        return 2 * len(alive) > len(self.record.ids) and 2 * len(former) > len(self.record.former)

    # --- the record -------------------------------------------------------------------------------------------------

    def govern(self):
        """Somebody evicts whom they do not hear, or lets somebody in."""
        self.at(self.random.uniform(0.05, 0.4), self.govern)
        if not self.record.members:
            for name, member in self.members.items():
                self.write(member, [name], founding=True)
                return
            return
        together = [name for name in self.members if name not in self.cut | self.deaf]
        here = [name for name in together if self.members[name].record.version == self.record.version]
        inside = [name for name in self.record.ids if name in here]
        if not inside:
            return
        member = self.members[self.random.choice(inside)]
        missing = [name for name in self.record.ids if name not in together]
        if missing and self.outweigh(member, inside):
            # Some of those that do not hear them, or all of them: as votes come in.
            gone = self.random.sample(missing, self.random.randint(1, len(missing)))
            self.write(member, [name for name in self.record.ids if name not in gone])
        newcomers = [name for name in together if name not in self.record.ids]
        is_welcome = not missing and len(self.record.ids) < 5 and 2 * len(inside) > len(self.record.ids)
        if newcomers and is_welcome and any(self.members[name].firm >= self.record.ballot for name in inside):
            newcomer = self.members[self.random.choice(newcomers)]
            newcomer.firm = max(newcomer.firm, self.record.ballot)
            self.write(newcomer, [*self.record.ids, newcomer.name])

    def outweigh(self, member, group):
        record = self.record
        if member.firm >= record.ballot:
            return 2 * len(group) >= len(record.ids)
        both = set(record.former).intersection(group)
        return 2 * len(group) > len(record.ids) and 2 * len(both) > len(record.former)

    def leave(self, name):
        member = self.members[name]
        if not all(other in self.members for other in self.record.ids):
            return  # a pair, one of which is dead and which nobody has confirmed, is mended by time only
        if name in self.record.ids and member.record == self.record and member.firm >= self.record.ballot:
            self.write(member, [other for other in self.record.ids if other != name], dead=name)
            del self.members[name]

    def write(self, member, names, *, founding=False, dead=""):
        former = self.record
        version = former.version + 1
        keeper, term = former.keeper, former.term
        if keeper not in names:
            hears = [name for name in names if name in self.members and name not in self.cut | self.deaf]
            keeper, term = self.random.choice(hears or names), version
        is_firm = founding or member.firm >= former.ballot
        before = former.ids if is_firm else former.former
        self.record = Record(
            version,
            keeper=keeper,
            term=term,
            ballot=version,
            members=tuple(Member(name, name, name) for name in names),
            former=tuple(names) if founding else tuple(name for name in before if name != dead),
        )
        self.at(self.random.uniform(0.0, 0.1), member.follows, self.record)

    # --- what must be so --------------------------------------------------------------------------------------------

    def check(self, member):
        """Equal positions are equal states, and who follows a term does not go back in it."""
        part = member.part
        position = part.position
        mark = (part.term, position)
        if mark == member.mark:
            return
        if part.phase is not Phase.OUTSIDE and mark < member.mark and position[0] == part.term == member.mark[0]:
            raise Violation(f"{member.name} went back to {mark}, from {member.mark}")
        member.mark = mark
        items = part.copy.items.values()
        content = tuple(sorted((item.key, item.value, item.version) for item in items))
        known = self.states.setdefault(position, content)
        if known != content:
            raise Violation(f"{member.name} at {position} has {content}, another had {known}")

    def committed(self, member, entry):
        known = self.acknowledged.get(entry.index)
        if known is not None and known != entry:
            raise Violation(f"{member.name} acknowledged {entry}, and before it {known}")
        self.acknowledged[entry.index] = entry
        self.answered.add((entry.node, entry.proposal))
        for node in self.nodes:
            if node.name == entry.node:
                self.at(self.random.uniform(0.001, 0.02), node.done, entry.proposal)

    def strikes(self, member):
        if self.random.random() < 0.2:
            self.at(self.random.uniform(0.0, 0.05), self.strike, member.name)

    def begun(self, member):
        """Who may order has all that was acknowledged, and nodes take its state for acknowledged."""
        part = member.part
        copy = part.copy
        last = max(self.acknowledged, default=0)
        if copy.position[1] < last:
            raise Violation(f"{member.name} orders from {copy.position}, and entry {last} was acknowledged")
        lost = [answer for answer in self.answered if answer not in copy.applied]
        if lost:
            raise Violation(f"{member.name} orders from {copy.position} without {lost}")
        for node in self.nodes:
            for number in list(node.open):
                if (node.name, number) in copy.applied:
                    self.answered.add((node.name, number))
                    node.done(number)

    def finish(self):
        members = [self.members[name] for name in self.record.ids if name in self.members]
        keeper = self.members.get(self.record.keeper)
        if keeper is None or not keeper.is_ready or len(members) != len(self.record.ids):
            raise Violation(f"no keeper is ready: {self.record}, {[(m.name, m.part.phase) for m in members]}")
        for member in members:
            if member.part.position != keeper.part.position:
                raise Violation(f"{member.name} is at {member.part.position}, not at {keeper.part.position}")
        stuck = {node.name: list(node.open) for node in self.nodes if node.open}
        if stuck:
            raise Violation(f"never answered: {stuck}")
        item = keeper.part.copy.items.get(COUNTER)
        counted = int(item.value) if item else 0
        if counted != sum(node.increments for node in self.nodes):
            raise Violation(f"{sum(node.increments for node in self.nodes)} increments made {counted}")
