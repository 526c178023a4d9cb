"""Mutants that change nothing which anybody could see, each with why."""

SAVES = "what is kept is what would be worked out again: it saves the work"
SET_BEFORE = "it is set anew before anything reads it"
A_SECOND = "a step is 1.0 s: so many times that, or divided by it"
ANOTHER = "it need only be another"
LOOKED_AT_AGAIN = "it is looked at with each tick then, and found the same: it saves the work"
UNIQUE = "ids are unique"
REFRESHED = "a node that was looked at again is where it belongs: not to look saves the work"
HEARS_ANEW = "if self._hears[0] is not record or self._hears[1] is not heard:"

# By file: the line as it is, the change, why.
_BY_FILE: dict[str, list[tuple[str, str, str]]] = {
    "balancer/cluster/changes.py": [
        (
            "if missing and _outweighs(membership, hears):",
            "missing and _outweighs(membership, hears): without part 1",
            SAVES,
        ),
        (
            "if not record.halved or not membership.is_quorate(now)"
            " or not membership.is_quiet(now - membership.turn() * STEP):",
            "membership.turn() * STEP: FloorDiv",
            A_SECOND,
        ),
        (
            "patience = times.heartbeat_timeout + against.index(me) * STEP",
            "against.index(me) * STEP: FloorDiv",
            A_SECOND,
        ),
        (
            "if 2 * len(against) == size > 2:",
            "2: 3",
            "what is twice a number is not 3, and three times 2 is not 4 or 6",
        ),
    ],
    "balancer/cluster/debts.py": [
        (
            "if due.requests and self._requests > MAX_KEPT - MAX_PENDING:",
            "due.requests and self._requests > MAX_KEPT - MAX_PENDING: without part 1",
            "without requests all of it is what nobody does again",
        ),
        (
            "self._missed[run] = missed._replace(until=now + self._patience)",
            "now + self._patience: Sub",
            LOOKED_AT_AGAIN,
        ),
        (
            "self._missed[run] = missed._replace(until=missed.sure)",
            "without: self._missed[run] = missed._replace(until=missed.sure)",
            LOOKED_AT_AGAIN,
        ),
        (
            "self._missed[run] = missed._replace(until=now + ASK_INTERVAL)",
            "without: self._missed[run] = missed._replace(until=now + ASK_INTERVAL)",
            LOOKED_AT_AGAIN,
        ),
    ],
    "balancer/cluster/hearing.py": [
        ("if now != self._asked_at:", "if now != self._asked_at: always", SAVES),
        ("self._asked_at = now", "without: self._asked_at = now", SAVES),
    ],
    "balancer/cluster/mastership.py": [
        (
            "if now - self._due_since < membership.turn() * changes.STEP:",
            "membership.turn() * changes.STEP: FloorDiv",
            A_SECOND,
        ),
    ],
    "balancer/cluster/membership.py": [
        (HEARS_ANEW, "if self._hears[0] is not record or self._hears[1] is not heard: always", SAVES),
        (
            "if was_member and not self.is_member:",
            "was_member and (not self.is_member): without part 2",
            "only who is no member asks since when",
        ),
        (HEARS_ANEW, "0: 1", SAVES),
        (HEARS_ANEW, "1: 2", SAVES),
        (
            "if self.is_leaving or self.is_quorate(now):",
            "self.is_leaving or self.is_quorate(now): without part 2",
            "who is quorate has lost no quorum yet: it saves the work",
        ),
    ],
    "balancer/cluster/peers.py": [
        (
            "return SequenceCounters(*map(sum, zip(*map(astuple, counters), strict=True)))",
            "True: False",
            "all have equally many",
        ),
    ],
    "balancer/cluster/replication.py": [
        ("self._quorum = 1", "without: self._quorum = 1", SET_BEFORE),
        ("self._quorum = 1", "1: 2", SET_BEFORE),
        ("self._stamp = NOTHING", "without: self._stamp = NOTHING", SET_BEFORE),
        (
            "self._held_from = NOTHING  # where we were when this set began",
            "without: self._held_from = NOTHING",
            SET_BEFORE,
        ),
        ('self._source = ""  # whose steps and pages we take', "without: self._source = ''", SET_BEFORE),
    ],
    "balancer/cluster/sequence.py": [
        ("self.last = 0  # number of the last message that was seen since the proof", "0: 1", SET_BEFORE),
        (
            "self.last = 0  # number of the last message that was seen since the proof",
            "without: self.last = 0",
            SET_BEFORE,
        ),
        ("self._resume = 0  # where what is kept begins", "0: 1", SET_BEFORE),
        ("self._resume = 0  # where what is kept begins", "without: self._resume = 0", SET_BEFORE),
        ("self._covered = 0  # the facts are as of this number", "0: 1", SET_BEFORE),
        ("self._covered = 0  # the facts are as of this number", "without: self._covered = 0", SET_BEFORE),
        ("self._covered = 0", "0: 1", "numbers begin with 1: what comes after a gap is 3 at least"),
        ("self.nonce += 1  # an old proof that is replayed proves nothing", "1: 2", ANOTHER),
    ],
    "balancer/cluster/sharing.py": [
        ("if self._debts:", "if self._debts: always", "where nothing is owed nobody is asked"),
    ],
    "balancer/cluster/writing.py": [
        ("self._must_rewrite = False  # the store has forgotten our record", "False: True", SET_BEFORE),
        (
            "self._must_rewrite = False  # the store has forgotten our record",
            "without: self._must_rewrite = False",
            SET_BEFORE,
        ),
    ],
    "balancer/ledger.py": [
        ("self.since = 0.0", "without: self.since = 0.0", SET_BEFORE),
        ("return self.id < other.id  # the order of opening: what parking keeps", "self.id < other.id: LtE", UNIQUE),
        ("if in_flight >= node.capacity:", "if in_flight >= node.capacity: always", REFRESHED),
        ("if node.in_flight >= node.capacity:", "if node.in_flight >= node.capacity: always", REFRESHED),
        ("if in_flight == node.capacity:", "if in_flight == node.capacity: always", REFRESHED),
        ("if node.in_flight + 1 == node.capacity:", "if node.in_flight + 1 == node.capacity: always", REFRESHED),
    ],
    "balancer/remembered.py": [
        ("home = sys.intern(home)  # one string for all blocks", "without: home = sys.intern(home)", SAVES),
        ("key = (home, 0, request // BLOCK) if part <= 1 else (home, 1, request)", "1: 2", ANOTHER),
        ("bit = 1 << request % BLOCK", "1: 2", ANOTHER),
    ],
    "balancer/state.py": [
        ("self._first = 0  # lowest index of what is ordered", "0: 1", "the first index is 1 in any case"),
    ],
    "holdfast/node/streams.py": [
        (
            "if stream.muted and stream.muted.issuperset(channels):",
            "stream.muted and stream.muted.issuperset(channels): without part 1",
            SAVES,
        ),
        (
            "if len(concerned) == len(self._streams):",
            "if len(concerned) == len(self._streams): never",
            SAVES,
        ),
        ("break", "without: break", SAVES),
        (
            "return self._streams.keys() if proxy is None or proxy not in self._streams else {proxy}",
            "proxy is None or proxy not in self._streams: without part 1",
            "there is no stream of None",
        ),
        ("return concerned", "return concerned: None", SAVES),
        ("concerned, muted = to or self.concerned(effects)", "to or self.concerned(effects): without part 1", SAVES),
    ],
    "holdfast/node/stream.py": [
        ("self._places += 1", "1: 2", "places are compared, so they need only grow"),
    ],
}
EQUIVALENT = {(file, line, what): why for file, changes in _BY_FILE.items() for line, what, why in changes}
