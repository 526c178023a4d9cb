import pytest

from bench.markdown import BEGIN, END, put, section
from bench.process import BenchError
from bench.works.base import Metric
from tests.bench.results import ALONE, CONDITIONS, RESULTS, ROUND_TRIP


def rows(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]


def test_the_goals():
    name, absent = ROUND_TRIP.name, "a peer that did not take part"
    cpu = ("8.00 us [8.00-30.00]", "nginx 20.00 us [10.00-30.00]", "0.80 [0.40-1.00]", "<= 0.9 x nginx", "met")
    rate = ("600 [600-800]", "nginx 1,000 [1,000-1,000]", "0.60 [0.60-0.80]", ">= 0.7 x nginx", "**missed**")
    assert rows(section(RESULTS))[2:6] == [
        [name, "CPU per message", *cpu],
        [name, "per second", *rate],
        ["Failover of one node", "p99", "12.0 ms [10.0-15.0]", "", "", "<= 20 ms", "met"],
        ["Something by itself", "pauses", "3 [3-3]", absent, "", f"<= 1 x {absent}", "**not measured**"],
    ]


def test_every_system_has_a_row_and_what_it_lacks_is_empty():
    text = section(RESULTS)
    assert "### round-trip\n" in text
    assert ["", "Pushpin", "80.00 us [80.00-80.00]", ""] in rows(text)


def test_a_table_holds_the_metrics_of_all_its_works():
    other = ALONE._replace(group=ROUND_TRIP.group)
    text = section([ROUND_TRIP, other])
    assert ["Work", "System", "CPU per message", "per second", "p99"] in rows(text)
    assert ["Failover of one node", "Holdfast", "", "", "12.0 ms [10.0-15.0]"] in rows(text)


def test_metrics_of_one_name_have_a_column_each():
    two = (Metric("first_ms", "longest", "ms", 1), Metric("second_ms", "longest", "ms", 1))
    samples = {"Holdfast": [{"first_ms": 1.0, "second_ms": 2.0}]}
    text = section([ALONE._replace(metrics=two, goals=(), samples=samples)])
    assert ["Failover of one node", "Holdfast", "1.0 ms [1.0-1.0]", "2.0 ms [2.0-2.0]"] in rows(text)


def test_conditions_are_said_once_when_they_are_the_same():
    later = ALONE._replace(conditions=CONDITIONS._replace(date="2026-02-03 04:05 UTC"))
    told = section([ROUND_TRIP, later]).strip().splitlines()[0]
    assert told == (
        "2026-01-02 03:04 UTC to 2026-02-03 04:05 UTC, 3 runs of `python -m bench --quick` on 2 CPUs of a kind. "
        "Holdfast 1.2.3, nginx 1.22."
    )


def test_conditions_that_differ_are_said_with_whose_they_are():
    other = ALONE._replace(conditions=CONDITIONS._replace(scale="full"))
    text = section([ROUND_TRIP, other])
    assert "**Round trip, 10 < 20 & more**: 2026-01-02 03:04 UTC, 3 runs of `python -m bench --quick` on" in text
    assert "**Failover of one node**: 2026-01-02 03:04 UTC, 3 runs of `python -m bench` on" in text


def test_only_the_figures_of_a_page_are_written_anew(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nthe rest\n")
    for _ in range(2):
        put(page, RESULTS)
        text = page.read_text()
        assert text == f"# Title\n\n{BEGIN}\n{section(RESULTS)}{END}\n\nthe rest\n"


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}\n{BEGIN}\n"])
def test_a_page_without_room_is_left_alone(text, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(BenchError, match="expected a line"):
        put(page, RESULTS)
    assert page.read_text() == text


def test_a_page_that_is_not_there(tmp_path):
    with pytest.raises(BenchError, match="No such file"):
        put(tmp_path / "none.md", RESULTS)
