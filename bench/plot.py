"""All works in one picture: Holdfast's ratio to each peer, with its range, and the goals. As SVG, for the docs.

The scale is logarithmic: half as much is as far from 1 as twice as much. Bars begin at 1, "the same". What has a goal
of its own and no peer is shown as a part of that goal.

Rectangles, lines and words are all there is, so the standard library's ElementTree writes them: a drawing library
would be a dependency of some ten megabytes (matplotlib) for what fits here. Paper and ink follow the viewer's light or
dark scheme together, so the words can be read on any page; no colour says what words don't.
"""

from collections.abc import Sequence
from math import log10
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from bench.figures import OURS, Comparison, Figures, Spread
from bench.report import amount, ratio, verdict
from bench.results import Result

WIDTH = 1040
MARGIN = 16
LEFT, RIGHT = 280, 700  # of the scale; labels on its left, words on its right
TOP = 92  # title, what it is, and the numbers of the scale
ROW, BAR = 18, 10
GAP = 14  # before each work
STYLE = """
.paper { fill: #ffffff } .grid { stroke: #d1d9e0 } .same { stroke: #59636e } text { fill: #1f2328 }
.met { fill: #0969da } .missed { fill: #d1570a } .open { fill: #818b98 } .range, .goal { stroke: #1f2328 }
.small { fill: #59636e }
text { font: 12px system-ui, sans-serif } .title { font-size: 16px; font-weight: 600 } .work { font-weight: 600 }
.range { stroke-width: 1.5 } .goal { stroke-width: 3 }
@media (prefers-color-scheme: dark) {
.paper { fill: #0d1117 } .grid { stroke: #3d444d } .same { stroke: #9198a1 } text { fill: #f0f6fc }
.met { fill: #4493f8 } .missed { fill: #f0883e } .open { fill: #656c76 } .range, .goal { stroke: #f0f6fc }
.small { fill: #9198a1 }
}
"""


class Row(NamedTuple):
    """One bar. value: a ratio. goal: where it is marked, None if there is none."""

    label: str
    value: Spread
    goal: float | None
    is_met: bool | None
    words: str


def plot(results: Sequence[Result]) -> str:
    """The picture. A work of which nothing can be compared is named too."""
    works = [(result.name, _rows(Figures(result))) for result in results]
    axis = _Axis([value for _, rows in works for row in rows for value in (*row.value, row.goal or 1.0)])
    bottom = TOP + sum(GAP + ROW * (1 + max(1, len(rows))) for _, rows in works) + MARGIN
    svg = Element(
        "svg",
        {"xmlns": "http://www.w3.org/2000/svg", "viewBox": f"0 0 {WIDTH} {bottom}", "width": str(WIDTH)}
        | {"height": str(bottom), "role": "img", "aria-labelledby": "title about"},
    )
    SubElement(svg, "title", id="title").text = f"{OURS} beside its peers"
    SubElement(svg, "desc", id="about").text = _description(works)
    SubElement(svg, "style").text = STYLE
    SubElement(svg, "rect", {"class": "paper", "width": str(WIDTH), "height": str(bottom)})
    _text(svg, MARGIN, 28, f"{OURS} beside its peers, by work", "title")
    _text(
        svg, MARGIN, 48, "ratio to the peer in the same run: median, and the range of the runs as a thin line", "small"
    )
    _text(svg, MARGIN, 64, "the thick mark is the goal; blue: met, orange: missed, grey: no goal", "small")
    axis.draw(svg, bottom)
    y = TOP
    for name, rows in works:
        y += GAP + ROW
        _text(svg, MARGIN, y - 5, name, "work")
        for row in rows:
            _draw(svg, row, axis, y)
            y += ROW
        if not rows:
            _text(svg, MARGIN + 12, y + 13, "nothing to compare with", "small")
            y += ROW
    ElementTree.indent(svg, "")
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def _rows(figures: Figures) -> list[Row]:
    rows = []
    for each in figures.comparisons():
        metric, goal, value = each.metric, each.goal, each.value
        if value is None:
            continue
        if each.peer is not None:
            mark = None if goal is None else goal.limit
            rows.append(Row(f"{metric.name} / {each.peer}", value, mark, each.is_met, ratio(value) + _told(each)))
        elif goal is not None and goal.limit:
            share = value.divided_by(goal.limit)
            rows.append(Row(f"{metric.name} / goal", share, 1.0, each.is_met, amount(value, metric) + _told(each)))
    return rows


def _told(each: Comparison) -> str:
    goal = each.goal
    if goal is None:
        return ""
    unit = f" {each.metric.unit}".rstrip() if each.peer is None else ""
    return f", goal at {'least' if goal.at_least else 'most'} {goal.limit:g}{unit}: {verdict(each)}"


def _description(works: Sequence[tuple[str, Sequence[Row]]]) -> str:
    """The picture in words, for whoever does not see it."""
    return ". ".join(f"{name}: {'; '.join(f'{row.label} {row.words}' for row in rows)}" for name, rows in works)


class _Axis:
    """From one 1-2-5 step below the least to one above the most: at least 0.5 to 2, at most 0.1 to 10."""

    def __init__(self, values: Sequence[float]) -> None:
        lowest = max(0.1, min([0.5, *values]))
        highest = min(10.0, max([2.0, *values]))
        steps = [round(step * power, 2) for power in (0.1, 1.0, 10.0) for step in (1, 2, 5)]
        least = max(step for step in steps if step <= lowest)
        most = min(step for step in steps if step >= highest)
        self.ticks = [step for step in steps if least <= step <= most]

    def at(self, value: float) -> float:
        """Where a ratio is. What is off the scale is at its end: the words say how much it is."""
        least, most = self.ticks[0], self.ticks[-1]
        inside = min(max(value, least), most)
        return round(LEFT + (RIGHT - LEFT) * log10(inside / least) / log10(most / least), 1)

    def draw(self, svg: Element, bottom: float) -> None:
        for tick in self.ticks:
            _line(svg, self.at(tick), TOP, self.at(tick), bottom - MARGIN, "same" if tick == 1 else "grid")
            _text(svg, self.at(tick), TOP - 6, f"{tick:g}", "small", anchor="middle")


def _draw(svg: Element, row: Row, axis: _Axis, y: float) -> None:
    middle = y + ROW / 2
    _text(svg, MARGIN + 12, y + 13, row.label)
    ends = sorted((axis.at(1.0), axis.at(row.value.median)))
    colour = {True: "met", False: "missed", None: "open"}[row.is_met]
    place = {"x": f"{ends[0]:g}", "y": f"{middle - BAR / 2:g}", "width": f"{max(1.0, ends[1] - ends[0]):g}"}
    SubElement(svg, "rect", {"class": colour, **place, "height": str(BAR)})
    _line(svg, axis.at(row.value.least), middle, axis.at(row.value.most), middle, "range")
    if row.goal is not None:
        _line(svg, axis.at(row.goal), y + 1, axis.at(row.goal), y + ROW - 1, "goal")
    _text(svg, RIGHT + 16, y + 13, row.words)


def _line(svg: Element, x1: float, y1: float, x2: float, y2: float, name: str) -> None:
    SubElement(svg, "line", {"class": name, "x1": f"{x1:g}", "y1": f"{y1:g}", "x2": f"{x2:g}", "y2": f"{y2:g}"})


def _text(svg: Element, x: float, y: float, words: str, name: str = "", anchor: str = "start") -> None:
    attributes = {"x": f"{x:g}", "y": f"{y:g}"}
    if name:
        attributes["class"] = name
    if anchor != "start":
        attributes["text-anchor"] = anchor
    SubElement(svg, "text", attributes).text = words
