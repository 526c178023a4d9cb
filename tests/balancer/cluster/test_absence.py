"""Death proven by time."""

from holdfast.balancer.cluster.absence import Absence


def absence(timeout=10.0):
    return Absence(timeout, 3.0, 0.0)


def read(it, start, end, present=(), members=("x", "y")):
    for second in range(start, end + 1):
        it.read(members, present, float(second), float(second))


def test_who_is_not_there_for_long_is_absent():
    it = absence()
    read(it, 0, 10, present=("y",))
    assert not it.is_absent("x", 10.0)
    read(it, 11, 11, present=("y",))
    assert it.is_absent("x", 11.0)
    assert not it.is_absent("y", 11.0)


def test_a_single_word_begins_it_anew():
    it = absence()
    read(it, 0, 8)
    read(it, 9, 9, present=("x",))
    read(it, 10, 15)
    assert not it.is_absent("x", 15.0)
    assert it.is_absent("y", 15.0)


def test_time_without_reading_proves_nothing():
    it = absence()
    read(it, 0, 5)
    read(it, 9, 15)
    assert not it.is_absent("x", 15.0)
    read(it, 16, 20)
    assert it.is_absent("x", 20.0)
    assert not it.is_absent("x", 24.0), "and the last read must be a fresh one"


def test_two_reads_that_are_no_further_apart_are_one_observation():
    it = absence()
    for second in range(0, 13, 3):
        it.read(("x",), (), float(second), float(second))
    assert it.is_absent("x", 15.0)


def test_a_second_may_be_long():
    it = absence(timeout=1.0)
    read(it, 0, 2)
    assert it.is_absent("x", 2.0)
    assert it.is_proof_against_us(2.6)


def test_zero_is_never():
    it = absence(timeout=0.0)
    read(it, 0, 100)
    assert not it.is_absent("x", 100.0)
    assert not it.is_proof_against_us(1e6)


def test_whoever_is_not_asked_about_is_not_absent():
    it = absence()
    read(it, 0, 20, members=("x",))
    assert not it.is_absent("y", 20.0)


def test_others_may_give_us_up_when_we_have_not_read_for_long():
    it = absence()
    it.read((), (), asked=3.0, now=9.0)
    assert not it.is_proof_against_us(8.0)
    assert it.is_proof_against_us(8.1), "counted from the question: the answer may have waited in a frozen process"
