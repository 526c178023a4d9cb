"""What a test says whose run has lost something."""

import msgspec
import pytest

from tests.chaos.reports import LAST_LINES, check_kept
from tests.chaos.test_display import report


def test_a_report_of_a_run_that_kept_all():
    check_kept(report())
    check_kept(msgspec.to_builtins(report()), "kill: node-1")


@pytest.mark.parametrize("shown", [lambda report: report, msgspec.to_builtins])
def test_a_failure_shows_who_was_lost_and_by_what(shown):
    lost = report(ok=False, broken=["25 clients dropped"])
    lost.clients.dropped["close code 1012"] = 25
    progress = "\n".join(f"line {number}" for number in range(LAST_LINES + 1))
    with pytest.raises(AssertionError) as info:
        check_kept(shown(lost), progress)
    said = str(info.value)
    for told in ("25 clients dropped", '"close code 1012": 25', '"kill": 29', "losses: ", "missed: ", "line 60"):
        assert told in said
    assert "line 0\n" not in said
