"""What is made of the Autobahn test suite's verdicts. The suite itself: `make autobahn`."""

import pytest

from tests.autobahn import failures, tally


def case(behavior, close):
    return {"behavior": behavior, "behaviorClose": close}


@pytest.mark.parametrize(
    ("behavior", "close", "failed"),
    [
        ("OK", "OK", []),
        ("NON-STRICT", "OK", []),
        ("INFORMATIONAL", "INFORMATIONAL", []),
        ("FAILED", "OK", ["1.1.1: FAILED, closing OK"]),
        ("OK", "UNCLEAN", ["1.1.1: OK, closing UNCLEAN"]),
        ("OK", "WRONG CODE", ["1.1.1: OK, closing WRONG CODE"]),
        ("UNIMPLEMENTED", "OK", ["1.1.1: UNIMPLEMENTED, closing OK"]),  # compression that was not agreed on
    ],
)
def test_a_case_fails_unless_both_verdicts_are_good(behavior, close, failed):
    assert list(failures({"1.1.1": case(behavior, close)})) == failed


def test_verdicts_are_counted_the_most_frequent_first():
    cases = {"1.1.1": case("NON-STRICT", "OK"), "1.1.2": case("OK", "OK"), "1.1.3": case("OK", "OK")}
    assert tally(cases, "behavior") == "OK 2  NON-STRICT 1"
