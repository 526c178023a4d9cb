"""Who is told of what a lost node has owed, and whose clients are told that they have missed it."""

from math import inf

import pytest
from msgspec.structs import replace

from holdfast.balancer.cluster import debts
from holdfast.balancer.cluster.debts import ASK_INTERVAL, BEYOND, LATELY, MAX_OWED, MAX_SLEEP, Debts, Due, Run
from holdfast.balancer.cluster.times import MAX_DRIFT
from holdfast.protocols.nodes.effects import ALL, Pending
from holdfast.protocols.peers.ranges import MAX_RUNS
from holdfast.protocols.peers.replication import LostRun, Noted, Owed

N, M = Run("n", 7), Run("m", 3)
PATIENCE = debts.PATIENCE * 2.0
EVERYBODY = ("a", "b", "c")
NUMBER = 5  # of the last effects that are owed
LONGEST = 10.0  # that a request may take


def owing(proxies):
    return [(proxy, NUMBER) if isinstance(proxy, str) else proxy for proxy in proxies]


class Proxy(Debts):
    """here: runs with a session, and what has come of each. missed: nodes whose effects clients have missed; before:
    for each, when these had come."""

    def __init__(self, name="b"):
        self.here, self.missed, self.before, self.done = {}, [], [], set()
        come, done = (lambda *run: self.here.get(run, -1)), (lambda *identity: identity in self.done)
        super().__init__(name, 2.0, come, self._note, done, LONGEST)

    def _note(self, node, before):
        self.missed.append(node)
        self.before.append(before)

    def lost(self, run, owes, now, had=0, pending=()):
        super().lost(run, owing(owes), pending, had, now)

    def left(self, run, owes):
        super().left(run, owing(owes))

    def hears(self, frame, now, by="a"):
        return self.told(by, frame, now)

    def asks(self, now=0.0, heard=EVERYBODY, known=EVERYBODY):
        """Whichever word it is."""
        self.know(known)
        questions = self.questions(heard, now)
        return {
            proxy: Owed(proxy, [replace(run, word=1, seconds=0.0) for run in asked.runs], 1)
            for proxy, asked in questions
        }


def lost_run(run, number=NUMBER, word=1, seconds=0.0, final=None, requests=()):
    """seconds: of our clock; that of who says it is as fast as any may be."""
    return LostRun(*run, number, word, seconds * (1 + MAX_DRIFT), number if final is None else final, list(requests))


def owed(*runs, proxy="b", number=NUMBER, losses=()):
    """losses: of each run, by which word, and for how many seconds."""
    losses = [*losses, *[(1, 0.0)] * len(runs)]
    return Owed(proxy, [lost_run(run, number, *loss) for run, loss in zip(runs, losses, strict=False)], 1)


def noted(*runs, word=1):
    return Noted(list(runs), word)


# --- where it is lost -------------------------------------------------------------------------------------------------


def test_who_is_owed_is_told_until_it_knows():
    a = Proxy("a")
    a.lost(N, ["b", "c"], 0.0)
    a.lost(M, ["b"], 0.0)
    assert a.asks(heard=()) == {}
    assert a.asks() == {"b": owed(N, M), "c": owed(N, proxy="c")}
    assert a.asks(ASK_INTERVAL / 2) == {}
    a.answered("c", noted(M))  # which it was not told of
    a.answered("b", noted(N, word=99))
    a.answered("x", noted(N, word=99))
    assert a.asks(ASK_INTERVAL) == {"b": owed(M), "c": owed(N, proxy="c")}
    a.answered("b", noted(M, word=99))
    a.answered("c", noted(N, word=99))
    assert len(a) == 0


@pytest.mark.parametrize("later", [NUMBER + 4, NUMBER, ALL])
@pytest.mark.parametrize("number", [NUMBER, ALL])
def test_an_answer_that_comes_late_is_of_what_was_said_before(number, later):
    """On a slow way: meanwhile the run has come back, done more, and died. Which is more the numbers don't say."""
    a, b = Proxy("a"), Proxy("b")
    Debts.lost(a, N, [("b", number)], [], 0, 0.0)
    [(_, question)] = a.questions(EVERYBODY, 0.0)
    late = b.hears(question, 0.0)
    Debts.lost(a, N, [("b", later)], [], 0, 1.6)
    a.answered("b", late)
    assert len(a) == 1
    [(_, question)] = a.questions(EVERYBODY, 3.0)
    assert [run.number for run in question.runs] == [max(number, later)]
    a.answered("b", b.hears(question, 3.0))
    assert len(a) == 0


def test_an_answer_of_before_is_none_to_a_debt_that_has_begun_since():
    a, b = Proxy("a"), Proxy("b")
    a.lost(N, ["b"], 0.0)
    [(_, first)] = a.questions(EVERYBODY, 0.0)
    [(_, second)] = a.questions(EVERYBODY, ASK_INTERVAL)
    a.answered("b", b.hears(first, 1.0))
    assert len(a) == 0
    a.lost(N, ["b"], 2.0)
    a.answered("b", b.hears(second, 2.0))
    assert a.asks(3.0) == {"b": owed(N)}


def test_of_a_proxy_that_says_no_word_whatever_it_is_counts():
    a = Proxy("a")
    a.lost(N, ["b"], 0.0)
    a.lost(M, ["b"], 0.0)
    a.answered("b", noted(N, M, word=99))
    assert len(a) == 0


def test_who_takes_nothing_is_not_asked_again_at_once():
    a = Proxy("a")
    a.lost(N, ["b"], 0.0)
    assert a.asks(0.0)
    a.answered("b", noted(M, word=99))
    assert a.asks(ASK_INTERVAL / 2) == {}
    assert a.asks(ASK_INTERVAL)


def test_a_fresh_debt_lasts_as_long_as_any():
    """To a proxy that is owed something old, and of which nobody knows whether it has clients."""
    a = Proxy("a")
    a.lost(N, ["b"], 0.0)
    a.lost(M, ["b"], LATELY - 1.0)
    assert a.asks(LATELY + 1.0, known=()) == {"b": owed(N, M)}


def test_runs_beyond_the_limit_are_said_again_when_there_are_more_of_them(monkeypatch):
    monkeypatch.setattr(debts, "MAX_OWED", 2)
    a, b = Proxy("a"), Proxy("b")
    for number in range(4):
        a.lost(Run("n", number), ["b"], 0.0)
    [(_, question)] = a.questions(EVERYBODY, 0.0)
    a.lost(Run("n", 9), ["b"], 0.0)
    a.answered("b", b.hears(question, 0.0))
    assert a.asks(ASK_INTERVAL) == {"b": owed(BEYOND)}


def test_what_is_owed_to_who_is_known_has_its_place_whatever_a_node_says(monkeypatch):
    monkeypatch.setattr(debts, "MAX_MEMBERS", 3)
    a = Proxy("a")
    a.know(["b", "v"])
    a.lost(N, ["b", "x"], 0.0)
    a.lost(M, ["y", "z"], 1.0)
    a.lost(M, ["w"], 1.0)
    assert set(a.asks(1.0, heard="bvwxyz", known=["b", "v"])) == {"b", "x", "y"}, "who is not known has what is left"
    a.lost(M, ["v"], 2.0)
    assert set(a.asks(3.0, heard="bvwxyz", known=["b", "v"])) == {"b", "v", "y"}


def test_a_question_and_its_answer_are_told_apart():
    a, b = Proxy("a"), Proxy("b")
    a.lost(N, ["b"], 0.0)
    answer = b.received("a", a.asks()["b"], 0.0)
    assert answer == noted(N)
    assert a.received("b", answer, 0.0) is None
    assert (len(a), len(b)) == (0, 1)
    assert a.asks(ASK_INTERVAL) == {}, "nothing is left to be asked"


def test_the_latest_word_of_a_run_counts():
    a = Proxy("a")
    for number in (7, 5):
        Debts.lost(a, N, [("b", number)], [], 0, 0.0)
    assert a.asks() == {"b": owed(N, number=7)}


def test_who_owes_us_too_is_nobody_elses_debt():
    b = Proxy("b")
    b.lost(N, ["b", "c"], 0.0)
    assert len(b) == 2
    assert b.asks() == {"c": owed(N, proxy="c")}


def test_who_owed_nobody_leaves_nothing():
    a = Proxy("a")
    a.lost(N, [], 0.0)
    assert len(a) == 0


def test_who_can_have_no_clients_need_not_be_told():
    a = Proxy("a")
    a.lost(N, ["b", "c"], 10.0)
    assert a.asks(10.0 + LATELY, heard=(), known=["b"]) == {}
    assert len(a) == 2
    assert a.asks(10.1 + LATELY, known=["b"]) == {"b": owed(N)}
    assert len(a) == 1


def test_it_is_bounded(monkeypatch):
    monkeypatch.setattr(debts, "MAX_MEMBERS", 2)
    a = Proxy("a")
    for number in range(MAX_OWED + 5):
        a.lost(Run("n", number), ["b"], 0.0)
    assert len(a) == MAX_OWED + 1
    a.know(["d"])
    a.lost(N, ["c"], 0.0)
    a.lost(N, ["d"], 0.0)
    assert set(a.asks(1.0, heard="bcd")) == {"c", "d"}


# --- where it is owed -------------------------------------------------------------------------------------------------


def test_clients_are_told_when_it_does_not_come_back():
    b = Proxy()
    assert b.hears(owed(N), 1.0) == noted(N)
    b.tick(1.0 + PATIENCE - 0.1)
    assert b.missed == []
    b.tick(1.0 + PATIENCE)
    assert b.missed == ["n"]
    b.tick(100.0)
    assert (b.missed, len(b)) == (["n"], 0)


def test_who_came_after_it_was_known_to_be_lost_has_missed_nothing():
    b = Proxy()
    b.hears(owed(N), 1.0)
    b.hears(owed(N), 1.5, by="c")  # until then it may have lived
    b.tick(1.0 + PATIENCE)
    b.slept(MAX_SLEEP + 1, is_alone=False)
    assert b.before == [1.5, inf]


def test_once_whoever_tells_it():
    b = Proxy()
    b.hears(owed(N), 1.0)
    b.tick(1.0 + PATIENCE)
    assert b.hears(owed(N, losses=[(1, 9.0)]), 10.0, by="c") == noted(N)
    b.tick(100.0)
    assert b.missed == ["n"]


def test_what_is_lost_after_it_was_settled_is_another_matter():
    """It has come back to somebody since, and published: to those who have come to us since."""
    b = Proxy()
    b.hears(owed(N, number=ALL), 1.0)
    b.tick(1.0 + PATIENCE)
    b.hears(owed(N, number=ALL, losses=[(2, 2.0)]), 10.0)
    b.tick(10.0 + PATIENCE)
    assert (b.missed, b.before) == (["n", "n"], [1.0, pytest.approx(8.0)])


def test_the_clock_of_who_says_it_may_be_fast():
    """As far as any may be: who came just before it was lost is closed all the same, and it is another matter."""
    b = Proxy()
    b.hears(owed(N, number=ALL, losses=[(1, 0.0)]), 1.0)
    b.tick(1.0 + PATIENCE)
    b.hears(owed(N, number=ALL, losses=[(2, 8.0)]), 9.1)  # it was lost 8 s ago, by our clock
    b.tick(100.0)
    [_, before] = b.before
    assert before == pytest.approx(1.1)


def test_who_has_come_since_it_was_lost_has_missed_nothing():
    """However late that is said, as by a proxy that was frozen."""
    b = Proxy()
    b.hears(owed(N, losses=[(1, 60.0)]), 100.0)
    b.hears(owed(N, losses=[(1, 61.0)]), 100.0, by="c")
    b.tick(100.0 + PATIENCE)
    [before] = b.before
    assert before == pytest.approx(40.0)


@pytest.mark.parametrize("word", [1, 2])
def test_of_one_loss_the_earliest_that_is_told_counts(word):
    """All that a proxy says stands still, and comes at once: most of it says that the run has just been lost. A later
    word is of a later loss."""
    b = Proxy()
    b.hears(owed(N), 1.0, by="c")
    b.tick(1.0 + PATIENCE)
    for seconds in (0.0, 4.0, 9.9, 2.0):
        b.hears(owed(N, losses=[(1, seconds)]), 10.0)
    assert len(b) == 0
    b.hears(owed(N, losses=[(word, 0.0)]), 10.0)  # on another way
    b.tick(100.0)
    assert b.before == ([1.0] if word == 1 else [1.0, 10.0])


def test_what_was_said_before_of_a_run_that_is_lost_again_says_nothing_of_when():
    b = Proxy()
    b.hears(owed(N, losses=[(2, 1.0)]), 10.0)
    b.hears(owed(N, losses=[(1, 9.0)]), 10.0)
    b.tick(100.0)
    [before] = b.before
    assert before == pytest.approx(9.0)


def test_of_runs_that_are_kept_as_one_the_latest_loss_counts(monkeypatch):
    monkeypatch.setattr(debts, "MAX_OWED", 1)
    b = Proxy()
    b.hears(owed(N, M, Run("o", 1), losses=[(3, 0.0), (1, 1.0), (1, 5.0)]), 10.0)
    b.tick(100.0)
    assert (b.missed, b.before[1]) == (["n", ""], pytest.approx(9.0))


def test_a_number_that_was_told_is_waited_for_though_all_was_told_too():
    """By a late word. Its session here looks as if it lived."""
    b = Proxy()
    b.here[N] = NUMBER
    b.hears(owed(N, number=ALL), 1.0)
    b.hears(owed(N, number=NUMBER + 1), 2.0)
    b.tick(1.0 + PATIENCE)
    assert len(b) == 1
    del b.here[N]
    b.lost(N, (), 5.5, had=NUMBER)
    b.tick(100.0)
    assert b.missed == ["n"]


def test_the_highest_number_is_waited_for_whoever_tells_it_last():
    b = Proxy()
    b.here[N] = NUMBER + 2
    b.hears(owed(N, number=NUMBER + 3), 1.0)
    b.hears(owed(N, number=NUMBER + 1), 1.0, by="c")
    b.tick(1.0 + PATIENCE)
    assert len(b) == 1


def test_the_highest_number_that_anybody_tells():
    b = Proxy()
    b.hears(owed(N), 1.0)
    b.hears(owed(N, number=NUMBER + 2), 1.1)
    b.lost(N, [], 2.0, had=NUMBER + 1)
    b.tick(1.0 + PATIENCE)
    assert b.missed == ["n"]


def test_the_first_effect_can_be_missed():
    b = Proxy()
    b.hears(owed(N, number=1), 1.0)
    assert len(b) == 1


def test_another_run_of_a_proxy_is_not_owed():
    b = Proxy()
    assert b.hears(owed(N, proxy="a former one"), 1.0) is None
    b.tick(100.0)
    assert b.missed == []


def test_a_node_that_has_a_session_in_the_end_lives():
    b = Proxy()
    b.hears(owed(N, M), 1.0)
    b.here[N] = 0
    b.tick(1.0 + PATIENCE)
    assert b.missed == ["m"]


@pytest.mark.parametrize(("had", "missed"), [(NUMBER - 1, ["n"]), (NUMBER, [])])
def test_what_a_session_brings_slowly_is_waited_for(had, missed):
    """Nobody knows whether it lives, or that is the last that it could send, and not all."""
    b = Proxy()
    b.here[N] = 1
    b.hears(owed(N), 1.0)
    for turn in range(1, 5):
        b.tick(1.0 + turn * PATIENCE)
        assert (b.missed, len(b)) == ([], 1)
    del b.here[N]
    b.lost(N, [], 2.0 + 4 * PATIENCE, had=had)
    b.tick(1.0 + 5 * PATIENCE)
    assert (b.missed, len(b)) == (missed, 0)
    assert b.before == [2.0 + 4 * PATIENCE] * len(missed), "so long it may have lived"


@pytest.mark.parametrize(("number", "come"), [(NUMBER, NUMBER), (NUMBER, NUMBER + 1), (ALL, 0)])
def test_a_session_that_has_brought_it_owes_nothing(number, come):
    """Also one that was made since: of what was kept without one no number is known."""
    b = Proxy()
    b.hears(owed(N, number=number), 1.0)
    b.here[N] = come
    b.tick(1.0 + PATIENCE)
    assert len(b) == 0
    del b.here[N]
    b.tick(100.0)
    assert b.missed == []


def test_a_node_is_waited_for_as_long_as_it_takes_to_dial_however_soon_it_is_given_up():
    missed = []
    b = Debts("b", 0.4, on_missed=lambda node, before: missed.append(node))
    b.told("a", owed(N), 1.0)
    b.tick(1.0 + 2 * 1.0 + 0.4)  # two dials, and the time after which it notices
    assert missed == []
    b.tick(1.0 + PATIENCE)
    assert missed == ["n"]


def test_a_node_is_waited_for_twice_as_long_as_its_silence_may_last():
    """A session that stands then has not only looked so: one that is silent for the timeout is lost."""
    missed, here = [], {N: NUMBER}
    b = Debts("b", 5.0, lambda *run: here.get(run, -1), lambda node, before: missed.append(node))
    b.told("a", owed(N, number=ALL), 0.0)
    b.tick(9.9)
    assert len(b) == 1
    del here[N]
    b.lost(N, [], [], NUMBER, 9.9)
    b.tick(10.0)
    assert missed == ["n"]


def test_a_session_that_only_looks_so_does_not_count():
    """We were frozen, and have not noticed yet that it has ended."""
    b = Proxy()
    b.here[N] = 0
    b.hears(owed(N), 1.0)
    del b.here[N]
    b.lost(N, [], 1.5)
    b.tick(1.0 + PATIENCE)
    assert b.missed == ["n"]


def test_what_it_says_when_it_comes_back_counts_from_then_on():
    b = Proxy()
    b.hears(owed(N), 1.0)
    b.came(N)
    b.lost(N, [], 2.0, had=NUMBER)  # it has brought all
    b.tick(100.0)
    assert b.missed == []
    b.came(N)
    b.lost(N, [("b", NUMBER + 1)], 101.0, had=NUMBER)
    b.tick(101.0 + PATIENCE)
    assert b.missed == ["n"]


def test_a_hello_of_before_it_owed_us_does_not_count():
    b = Proxy()
    b.hears(owed(N), 1.0)
    b.came(N)
    b.lost(N, [], 2.0)
    b.tick(1.0 + PATIENCE)
    assert b.missed == ["n"]


def test_who_was_lost_for_good_may_come_back_and_be_lost_again():
    b = Proxy()
    b.hears(owed(N), 1.0)
    b.tick(1.0 + PATIENCE)
    b.came(N)
    b.lost(N, ["b"], 20.0)
    b.tick(20.0 + PATIENCE)
    assert b.missed == ["n", "n"]


@pytest.mark.parametrize(("owes", "missed"), [([], []), (["c"], []), (["b"], ["n"])])
def test_who_says_goodbye_here_says_whether_we_have_all(owes, missed):
    b = Proxy()
    b.hears(owed(N), 1.0)
    b.left(N, owes)
    b.lost(N, owes, 2.0)
    b.hears(owed(N), 3.0)  # the others have it from before we acknowledged all
    b.tick(100.0)
    assert b.missed == missed


def test_what_has_come_is_not_missed():
    """Its session with us is over, and it had come as far."""
    b = Proxy()
    b.lost(N, [], 0.5, had=NUMBER)
    assert b.hears(owed(N), 1.0) == noted(N)
    assert len(b) == 0
    b.hears(owed(N, number=NUMBER + 1), 2.0)  # another one has a later word
    b.tick(2.0 + PATIENCE)
    assert b.missed == ["n"]


@pytest.mark.parametrize(("had", "missed"), [(NUMBER - 1, ["n"]), (NUMBER, [])])
def test_what_it_said_before_it_died_is_read_first(had, missed):
    b = Proxy()
    b.here[N] = 0
    b.hears(owed(N), 1.0)
    b.hears(owed(N, number=NUMBER - 1), 1.1)  # an older word
    del b.here[N]
    b.lost(N, [], 2.0, had=had)
    b.tick(2.0 + PATIENCE)
    assert (b.missed, len(b)) == (missed, 0)


def test_our_own_absence_is_not_the_nodes():
    b = Proxy()
    b.hears(owed(N), 1.0)
    b.awoke(48.0)
    b.tick(50.0)
    assert b.missed == []
    b.tick(49.0 + PATIENCE)
    assert b.missed == ["n"]


@pytest.mark.parametrize("away", [0.0, 1.0, 3.0, 10.0, 40.0])
def test_what_only_looks_like_a_session_has_its_time_though_we_were_away(away):
    b = Proxy()
    b.here[N] = NUMBER
    b.hears(owed(N), 0.0)
    b.hears(owed(N, number=ALL, losses=[(2, 0.0)]), PATIENCE - 0.7)
    b.awoke(away)
    b.tick(away + PATIENCE + 0.8)
    assert len(b) == 1
    del b.here[N]
    b.lost(N, [], away + PATIENCE + 0.9, had=NUMBER)
    b.tick(away + 2 * PATIENCE)
    assert b.missed == ["n"]


def test_who_was_away_for_as_long_as_others_remember_misses_something():
    b = Proxy()
    b.slept(MAX_SLEEP, is_alone=False)
    b.slept(MAX_SLEEP + 1, is_alone=True)
    assert b.missed == []
    b.slept(MAX_SLEEP + 1, is_alone=False)
    assert b.missed == [""]
    assert MAX_SLEEP * (1 + MAX_DRIFT) < LATELY


def test_of_those_that_were_lost_the_latest_are_remembered(monkeypatch):
    monkeypatch.setattr(debts, "MAX_SETTLED", 2)
    b = Proxy()
    for run in (N, M, N, Run("x", 1)):
        b.lost(run, [], 0.0, had=NUMBER)
    b.hears(owed(N), 1.0)
    assert len(b) == 0
    b.hears(owed(M), 1.0)
    assert len(b) == 1, "that was too long ago"


def test_a_run_that_is_known_has_its_place(monkeypatch):
    monkeypatch.setattr(debts, "MAX_OWED", 1)
    b = Proxy()
    b.hears(owed(N), 1.0)
    b.hears(owed(N, number=NUMBER + 2), 1.0)
    b.tick(1.0 + PATIENCE)
    assert b.missed == ["n"]


def test_what_is_missed_and_settled_is_bounded(monkeypatch):
    monkeypatch.setattr(debts, "MAX_SETTLED", 2)
    b = Proxy()
    for number in range(MAX_OWED + 5):
        b.hears(owed(Run("n", number)), 1.0)
    assert len(b) == MAX_OWED + 1
    b.tick(100.0)
    assert b.missed == ["n"] * MAX_OWED + [""]
    assert len(b._settled) == 2


@pytest.mark.parametrize("living", [MAX_RUNS - 1, MAX_RUNS, 3 * MAX_RUNS])
def test_however_many_come_back_one_that_does_not_is_missed(living):
    """They are told frame by frame, each as soon as the one before is noted."""
    a, b = Proxy("a"), Proxy()
    runs = [Run("n", number) for number in range(living)]
    for run in [*runs, Run("dead", 1)]:
        a.lost(run, ["b"], 0.0)
    frames = 0
    while a.asks():
        frames += 1
        for _, question in a.questions(EVERYBODY, ASK_INTERVAL * frames):
            a.answered("b", b.hears(question, 0.0))
    b.here |= dict.fromkeys(runs, NUMBER)
    b.tick(PATIENCE)
    assert b.missed == ["dead"]


def test_what_is_beyond_all_that_can_be_kept_is_missed():
    a, b = Proxy("a"), Proxy()
    runs = [Run("n", number) for number in range(MAX_OWED)]
    for run in [*runs, Run("dead", 1)]:
        a.lost(run, ["b"], 0.0)
    a.lost(runs[0], ["b"], 0.0)  # which is known
    while questions := list(a.questions(EVERYBODY, 0.0)):
        for _, question in questions:
            a.answered("b", b.hears(question, 0.0))
    b.here |= dict.fromkeys(runs, NUMBER)
    b.tick(PATIENCE)
    assert b.missed == [""]
    b.hears(owed(BEYOND), PATIENCE)
    b.tick(2 * PATIENCE)
    assert b.missed == ["", ""], "that may be others"


def test_a_later_number_of_a_run_that_is_known_counts():
    a = Proxy("a")
    for number in range(MAX_RUNS):
        a.lost(Run("n", number), ["b"], 0.0)
    Debts.lost(a, Run("n", 0), [("b", NUMBER + 1)], [], 0, 0.0)
    assert max(run.number for run in a.asks()["b"].runs) == NUMBER + 1


def test_what_is_told_twice_is_missed_by_its_last_number_and_its_first_time():
    b = Proxy()
    b.hears(owed(N, number=7), 1.0)
    b.hears(owed(N, number=5), 2.0)
    b.lost(N, [], 2.0, had=6)
    b.tick(1.0 + PATIENCE)
    assert b.missed == ["n"]


# --- what requests were doing -----------------------------------------------------------------------------------------

ONE, TWO = ("home", 7, 1), ("home", 8, 1)


def pending(*requests, proxy="b", final=0):
    return [Pending(proxy, final, list(requests))]


def told(*requests, final=0, number=NUMBER):
    """What another proxy has b note."""
    a = Proxy("a")
    Debts.lost(a, N, [("b", number)], pending(*requests, final=final), 0, 0.0)
    return a.asks()["b"]


def test_what_of_it_is_of_requests_is_told_as_the_node_has_said():
    a = Proxy("a")
    a.lost(N, ["b", "c"], 0.0, pending=pending(TWO, ONE, final=3))
    assert a.asks() == {
        "b": Owed("b", [lost_run(N, final=3, requests=[ONE, TWO])], 1),
        "c": owed(N, proxy="c"),
    }


def test_nothing_is_missed_if_others_have_done_it_in_time():
    b = Proxy()
    b.hears(told(ONE, TWO), 0.0)
    b.tick(PATIENCE)
    b.done.add(ONE)
    b.tick(LONGEST - ASK_INTERVAL)
    assert (len(b), b.missed) == (1, [])
    b.done.add(TWO)
    b.tick(LONGEST)
    assert (len(b), b.missed) == (0, [])


def test_it_is_missed_if_one_is_left_when_no_request_can_be():
    b = Proxy()
    b.hears(told(ONE, TWO), 0.0)
    b.done.add(ONE)
    for now in range(int(LONGEST) + 1):
        assert not b.missed, now
        b.tick(float(now))
    assert (len(b), b.missed, b.before) == (0, ["n"], [0.0])


def test_nobody_waits_for_requests_where_something_else_is_missed():
    b = Proxy()
    b.hears(told(ONE, final=3), 0.0)
    b.lost(N, [], 0.0, had=2)
    b.done.add(ONE)
    b.tick(PATIENCE)
    assert b.missed == ["n"]
    c = Proxy()
    c.hears(told(ONE, final=3), 0.0)
    c.lost(N, [], 0.0, had=3)
    c.tick(PATIENCE)
    assert c.missed == []
    c.done.add(ONE)
    c.tick(LONGEST)
    assert (len(c), c.missed) == (0, [])


def test_who_owes_nothing_of_requests_is_not_done_by_others():
    b = Proxy()
    b.hears(owed(N), 0.0)
    b.tick(PATIENCE)
    assert b.missed == ["n"]


def test_a_run_that_lives_brings_it():
    b = Proxy()
    b.hears(told(ONE), 0.0)
    b.here[N] = 2
    for times in range(1, 9):
        b.tick(times * PATIENCE)
    assert (len(b), b.missed) == (1, [])
    b.here[N] = NUMBER
    b.tick(9 * PATIENCE)
    assert (len(b), b.missed) == (0, [])


def test_what_several_have_heard_counts_together():
    b = Proxy()
    b.hears(told(ONE, number=4), 0.0)
    b.hears(told(TWO, number=6, final=2), 0.0)
    assert b._missed[N].due == Due(6, 2, frozenset([ONE, TWO]))
    b.hears(owed(N, number=5), 0.0)
    assert b._missed[N].due == Due(6, 5, frozenset([ONE, TWO])), "who says nothing of requests knows nothing of them"


def test_of_more_requests_than_are_kept_nothing_is_done_again(monkeypatch):
    monkeypatch.setattr(debts, "MAX_MERGED", 2)
    b = Proxy()
    b.hears(told(ONE, TWO), 0.0)
    b.hears(told(("home", 9, 1)), 0.0)
    assert b._missed[N].due == Due(NUMBER, NUMBER)


def test_who_tells_of_many_does_not_fill_the_memory(monkeypatch):
    """Of what is beyond the limit nothing is done again; when others are told of the first there is room again."""
    monkeypatch.setattr(debts, "MAX_KEPT", 3)
    a = Proxy("a")
    for number in range(3):
        owes = [(proxy, NUMBER) for proxy in ("b", "c", "d")]
        pendings = [Pending(proxy, 0, [ONE]) for proxy in ("b", "c", "d")]
        Debts.lost(a, Run("n", number), owes, pendings, 0, 0.0)
    told = a.asks(heard="bcd")
    assert [sum(bool(run.requests) for run in each.runs) for each in told.values()] == [1, 1, 1]
    a.answered("b", noted(("n", 0), word=99))
    a.lost(N, ["b"], 1.0, pending=pending(TWO))
    assert [len(run.requests) for run in a.asks(1.0)["b"].runs][-1] == 1
    monkeypatch.setattr(debts, "MAX_PENDING", 1)
    b = Proxy()
    for number in range(5):
        b.hears(Owed("b", [lost_run(("n", number), final=0, requests=[ONE])], 1), 0.0)
    assert sum(len(each.due.requests) for each in b._missed.values()) == 3
    assert len(b._missed) == 5


def test_each_word_has_its_own_time():
    b = Proxy()
    b.hears(told(ONE), 0.0)
    b.hears(told(TWO), 3.0)
    b.done.add(ONE)
    b.tick(LONGEST)
    assert b.missed == []
    b.done.add(TWO)
    b.tick(LONGEST + 1.0)
    assert (len(b), b.missed) == (0, [])


def test_of_more_requests_than_a_frame_says_of_a_run_none_are_said(monkeypatch):
    """Who is told would not take it, and never know."""
    monkeypatch.setattr(debts, "MAX_PENDING", 2)
    a = Proxy("a")
    a.lost(N, ["b"], 0.0, pending=pending(ONE, TWO))
    assert [len(run.requests) > 0 for run in a.asks()["b"].runs].count(True) == 1
    a.lost(N, ["b"], 1.0, pending=pending(("home", 9, 1)))  # it came back, and was lost again
    frame = a.asks(1.0)["b"]
    assert frame.runs == [lost_run(N)], "and so all of it counts"


def test_a_frame_has_no_more_than_goes_into_one(monkeypatch):
    monkeypatch.setattr(debts, "MAX_PENDING", 2)
    a = Proxy("a")
    for number in range(4):
        a.lost(Run("n", number), ["b"], 0.0, pending=pending(ONE, TWO))
    for count in (2, 2):
        frame = a.asks()["b"]
        assert [run.requests for run in frame.runs] == [[ONE, TWO]] * count
        a.answered("b", Noted([(run.node, run.incarnation) for run in frame.runs], 99))
    assert len(a) == 0


def test_while_we_were_away_no_request_was_done():
    b = Proxy()
    b.hears(told(ONE), 0.0)
    b.awoke(5.0)
    b.tick(LONGEST + 4.0)
    assert b.missed == []
    b.tick(LONGEST + 5.0)
    assert b.missed == ["n"]


def test_a_request_that_may_take_less_than_our_patience_is_waited_for_that_long(monkeypatch):
    monkeypatch.setattr("tests.balancer.cluster.test_debts.LONGEST", 1.0)
    b = Proxy()
    b.hears(told(ONE), 0.0)
    b.tick(PATIENCE - 0.1)
    assert b.missed == []
    b.tick(PATIENCE)
    assert b.missed == ["n"]


def test_what_requests_did_takes_no_room_any_more_when_it_is_settled(monkeypatch):
    """Else it would count as something that nobody does again."""
    monkeypatch.setattr(debts, "MAX_KEPT", debts.MAX_PENDING + 1)
    b = Proxy()
    b.done |= {ONE, TWO}
    for turn in range(5):
        now = 100.0 * turn
        frame = told(ONE, TWO)
        b.hears(Owed("b", [replace(frame.runs[0], word=turn + 1)], 1), now)
        b.tick(now + PATIENCE)
        assert (b.missed, len(b)) == ([], 0)


def test_what_requests_did_takes_its_room_once_however_often_it_is_told(monkeypatch):
    monkeypatch.setattr(debts, "MAX_KEPT", debts.MAX_PENDING + 4)
    b = Proxy()
    b.done |= {ONE, TWO}
    for word in range(1, 6):
        b.hears(Owed("b", [replace(told(ONE, TWO).runs[0], word=word)], 1), 0.0)
    b.hears(Owed("b", [lost_run(M, final=0, requests=[ONE, TWO])], 1), 0.0)
    b.tick(PATIENCE)
    assert (b.missed, len(b)) == ([], 0)


# --- lost again -------------------------------------------------------------------------------------------------------


def test_a_session_that_looks_so_may_be_dead_as_well_when_all_is_told_later():
    """The way to us broke after the first loss, which was of a number that has come. We may not know yet."""
    b = Proxy()
    b.here[N] = NUMBER
    b.hears(owed(N), 0.0)
    b.hears(owed(N, number=ALL, losses=[(2, 0.0)]), PATIENCE - 0.5)
    b.tick(PATIENCE)
    assert len(b) == 1
    del b.here[N]
    b.lost(N, [], PATIENCE + 0.5, had=NUMBER)
    b.tick(2 * PATIENCE)
    assert (b.missed, b.before) == (["n"], [PATIENCE + 0.5])


@pytest.mark.parametrize("later", [4.5, 5.0, 11.0])
def test_who_has_all_up_to_a_number_may_miss_what_is_beyond_it(later):
    """Another proxy, which was not heard until then, tells of more, and of a loss that was before."""
    b = Proxy()
    b.here[N] = NUMBER
    b.hears(owed(N), 0.1)
    del b.here[N]
    b.lost(N, [], 1.9, had=NUMBER)
    b.tick(0.1 + PATIENCE)
    assert (b.missed, len(b)) == ([], 0)
    b.hears(owed(N, number=NUMBER + 1, losses=[(1, later)]), later, by="c")
    b.tick(later + PATIENCE)
    assert (b.missed, b.before, len(b)) == (["n"], [1.9], 0)
    b.hears(owed(N, number=NUMBER + 2, losses=[(1, 20.0)]), 20.0, by="d")
    assert len(b) == 0, "whoever may miss that is closed"


def test_what_has_come_is_not_missed_though_others_tell_of_it_later():
    b = Proxy()
    b.here[N] = NUMBER
    b.hears(owed(N), 0.1)
    b.tick(0.1 + PATIENCE)
    b.hears(owed(N, losses=[(1, 5.0)]), 5.0, by="c")
    assert (b.missed, len(b)) == ([], 0)


def test_what_others_have_done_of_it_says_nothing_of_what_is_beyond_it():
    b = Proxy()
    b.lost(N, [], 0.5, had=NUMBER - 1)
    b.done.add(ONE)
    b.hears(told(ONE, final=0), 1.5)
    b.tick(1.5 + PATIENCE)
    assert (b.missed, len(b)) == ([], 0)
    b.hears(owed(N, number=NUMBER + 1, losses=[(1, 6.0)]), 6.0, by="c")
    b.hears(told(ONE, final=0), 6.5)  # late, and less than is known
    b.tick(6.0 + PATIENCE)
    assert b.missed == ["n"]


def test_of_all_words_the_last_that_nobody_does_again_counts():
    b = Proxy()
    b.done.add(ONE)
    b.lost(N, [], 0.0, had=1)
    b.hears(told(ONE, final=3), 0.0)
    b.hears(told(ONE, final=0), 0.0, by="c")
    b.tick(PATIENCE)
    assert b.missed == ["n"]


def test_other_runs_beyond_what_is_kept_are_another_matter(monkeypatch):
    monkeypatch.setattr(debts, "MAX_OWED", 1)
    b = Proxy()
    b.hears(owed(M, N), 0.0)
    b.tick(PATIENCE)
    assert b.missed == ["m", ""]
    b.hears(owed(M, Run("o", 1), losses=[(1, 20.0), (1, 20.0)], number=NUMBER), 20.0)
    b.hears(owed(Run("p", 1), Run("q", 1), losses=[(1, 20.0), (1, 20.0)]), 20.0)
    b.tick(20.0 + PATIENCE)
    assert b.missed[2:] == ["o", ""]


def test_what_is_kept_as_one_has_no_words(monkeypatch):
    """Though who tells it keeps it as one, too, and says by which word it has known of that last."""
    monkeypatch.setattr(debts, "MAX_OWED", 1)
    b = Proxy()
    b.hears(owed(M, BEYOND, losses=[(1, 0.0), (9, 0.0)]), 0.0)
    b.hears(owed(N, losses=[(10, 0.0)]), 3.0)
    b.hears(owed(BEYOND, losses=[(11, 2.0)]), 3.0)
    b.tick(100.0)
    assert (b.missed, b.before) == (["m", ""], [0.0, 3.0])


@pytest.mark.parametrize("later", [NUMBER + 1, ALL])
def test_a_hello_is_of_when_it_was_said(later):
    """What others have heard may be of later, though it was lost before we read the hello: in a full socket, or by a
    turn of ours that took long."""
    b = Proxy()
    b.here[N] = NUMBER
    b.lost(N, ["b"], 1.0, had=NUMBER)
    b.came(N)
    b.hears(owed(N, number=later, losses=[(1, 0.9)]), 1.1)
    del b.here[N]
    b.lost(N, ["b"], 1.2, had=NUMBER)
    b.tick(100.0)
    assert b.missed == ["n"]


@pytest.mark.parametrize("first", [NUMBER, ALL])
@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("later", [NUMBER + 1, ALL])
def test_a_session_that_stands_says_nothing_of_what_is_told_later(first, again, later):
    """It may only look so: the node has died since it was lost first, and who tells of more has seen that at once, and
    is heard last."""
    b = Proxy()
    b.here[N] = NUMBER
    b.hears(owed(N, number=first), 0.0)
    if again:
        b.hears(owed(N, losses=[(2, 0.1)]), PATIENCE - 0.1)  # by silence
    b.tick(PATIENCE)
    assert len(b) == 0
    b.hears(owed(N, number=later, losses=[(1, 2.0)]), PATIENCE + 0.1, by="c")
    del b.here[N]
    b.lost(N, [], PATIENCE + 0.2, had=NUMBER)
    b.tick(100.0)
    assert b.missed == ["n"]


def test_what_a_session_has_brought_is_not_missed_because_it_is_asked_again():
    b = Proxy()
    b.here[N] = NUMBER
    b.hears(owed(N, number=ALL), 0.0)
    b.tick(PATIENCE)
    assert len(b) == 0
    del b.here[N]
    b.lost(N, [], 4.5, had=NUMBER)
    b.hears(owed(N, number=ALL, losses=[(1, 0.0)]), 9.0)
    b.tick(100.0)
    assert (b.missed, len(b)) == ([], 0)


def test_a_run_that_has_said_goodbye_may_come_back():
    b = Proxy()
    b.left(N, [])
    b.hears(owed(N), 1.0)
    assert len(b) == 0
    b.came(N)
    b.hears(owed(N, losses=[(2, 0.0)]), 3.0)
    assert len(b) == 1


def test_what_is_lost_in_the_moment_in_which_clients_were_closed_is_another_matter():
    b = Proxy()
    b.hears(owed(N), 0.0)
    b.hears(owed(N, losses=[(2, 0.0)]), PATIENCE)
    b.tick(PATIENCE)
    assert (b.missed, b.before) == (["n"], [PATIENCE])
    b.came(N)
    b.lost(N, ["b"], PATIENCE)
    b.tick(100.0)
    assert b.missed == ["n", "n"]
    assert b.before[1] > PATIENCE
