from xml.etree import ElementTree

import pytest

from bench.plot import LEFT, RIGHT, plot
from tests.bench.results import ALONE, RESULTS, ROUND_TRIP

SVG = "{http://www.w3.org/2000/svg}"


def drawn(results):
    return ElementTree.fromstring(plot(results))


def texts(svg):
    return [text.text for text in svg.iter(f"{SVG}text")]


def bars(svg):
    """Each bar's class, beginning and end."""
    for bar in svg.findall(f"{SVG}rect")[1:]:  # the first is the paper
        begin = float(bar.get("x"))
        yield bar.get("class"), begin, begin + float(bar.get("width"))


def lines(svg, name):
    return [
        (float(line.get("x1")), float(line.get("x2"))) for line in svg.iter(f"{SVG}line") if line.get("class") == name
    ]


def test_every_work_is_named():
    assert {result.name for result in RESULTS} <= set(texts(drawn(RESULTS)))


def test_who_does_not_see_it_is_told():
    svg = drawn(RESULTS)
    assert svg.get("role") == "img"
    said = {part.get("id"): part.text for part in svg if part.get("id")}
    assert set(svg.get("aria-labelledby").split()) == set(said)
    assert "CPU per message / nginx 0.80 [0.40-1.00], goal at most 0.9: met" in said["about"]


def test_bars_goals_and_ranges():
    svg = drawn([ROUND_TRIP])
    [same] = {x for x, _ in lines(svg, "same")}
    cheaper, fewer, no_goal = bars(svg)
    assert [name for name, *_ in (cheaper, fewer, no_goal)] == ["met", "missed", "open"]
    assert all(end == pytest.approx(same) for *_, end in (cheaper, fewer, no_goal))
    at = lambda ratio: pytest.approx(LEFT + (RIGHT - LEFT) * axis(ratio), abs=0.2)  # noqa: E731
    axis = logarithmic(0.1, 2.0)
    assert [begin for _, begin, _ in (cheaper, fewer, no_goal)] == [at(0.8), at(0.6), at(0.1)]
    assert lines(svg, "goal") == [(at(0.9), at(0.9)), (at(0.7), at(0.7))]
    assert lines(svg, "range") == [(at(0.4), at(1.0)), (at(0.6), at(0.8)), (at(0.1), at(0.375))]


def logarithmic(least, most):
    from math import log

    return lambda value: log(value / least) / log(most / least)


def test_a_goal_of_its_own_is_shown_as_a_part_of_it():
    svg = drawn([ALONE])
    [(name, begin, end)] = bars(svg)
    assert (name, begin < end) == ("met", True)
    assert lines(svg, "goal") == lines(svg, "same")
    assert "12.0 ms [10.0-15.0], goal at most 20 ms: met" in texts(svg)


@pytest.mark.parametrize("ours", [0.0, -3.0, 1e-9, 1e9])
def test_what_is_off_the_scale_is_at_its_end(ours):
    samples = {"nginx": [{"cpu_us": 1.0}], "Holdfast": [{"cpu_us": ours}]}
    svg = drawn([ROUND_TRIP._replace(samples=samples)])
    for _, begin, end in bars(svg):
        assert LEFT <= begin < end <= RIGHT
    assert any(text.startswith(f"{ours:.2f} [") for text in texts(svg))


def test_nothing_at_all():
    assert drawn([]).get("viewBox")
