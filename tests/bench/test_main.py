"""The command, but for the systems that it measures."""

from contextlib import contextmanager
from functools import partial
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import pytest
from rich.console import Console

from bench.__main__ import main, measure
from bench.figures import Figures
from bench.markdown import BEGIN, END, section
from bench.plot import plot
from bench.process import BenchError
from bench.report import table
from bench.results import load, save
from bench.works import WORKS
from bench.works.base import QUICK, Goal, Metric, Work
from tests.bench.results import ALONE, CONDITIONS, RESULTS, ROUND_TRIP, UNCOMPARED

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def kept(tmp_path):
    file = tmp_path / "benchmark.json"
    save(file, RESULTS)
    return file


def test_all_is_drawn_from_what_is_kept(kept, tmp_path, capsys):
    picture, page = tmp_path / "images" / "benchmark.svg", tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    assert main(["--report", str(kept), "--plot", str(picture), "--markdown", str(page)]) == 0
    out = capsys.readouterr().out
    assert all(result.name in out for result in RESULTS)
    assert picture.read_text() == plot(RESULTS)
    assert section(RESULTS) in page.read_text()


def test_the_docs_show_what_is_kept():
    results = load(DOCS / "data" / "benchmark.json")
    assert section(results) in (DOCS / "topics" / "performance.md").read_text(encoding="utf-8")
    assert (DOCS / "images" / "benchmark.svg").read_text(encoding="utf-8") == plot(results)


def test_a_failure_is_one_line_and_status_1(tmp_path, capsys):
    assert main(["--report", str(tmp_path / "none.json")]) == 1
    assert capsys.readouterr().err == f"failed: {tmp_path}/none.json: No such file or directory\n"


@pytest.mark.parametrize("others", [["--quick"], ["--only", "fan-out"], ["--json"], ["--json", "x.json"]])
def test_a_report_measures_nothing(others, kept, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--report", str(kept), *others])
    assert "--report" in capsys.readouterr().err


@contextmanager
def system(name, started):
    started.append(name)
    yield Words(name)


def work(name, measure, started):
    systems = {each: partial(system, f"{name} {each}", started) for each in ("nginx", "Holdfast")}
    return Work("group", name, systems, (Metric("ms", "time", "ms"),), (Goal("ms", 1.0, "nginx"),), measure)


class Words(NamedTuple):
    """What is started has nothing to say when it fails."""

    name: str

    def last_words(self):
        return ""


def test_systems_take_turns_and_a_wrong_result_stops_only_its_work():
    started = []

    def good(running, scale):
        return {"ms": float(len(started))}

    def bad(running, scale):
        raise BenchError("a reply was wrong\n[the end]")

    progress = Console(file=StringIO(), width=150)
    works = [work("bad", bad, started), work("good", good, started)]
    [result] = measure(works, QUICK._replace(runs=2), CONDITIONS, progress)
    assert started == ["bad nginx", "good nginx", "good Holdfast", "good nginx", "good Holdfast"]
    assert result.samples == {"nginx": [{"ms": 2.0}, {"ms": 4.0}], "Holdfast": [{"ms": 3.0}, {"ms": 5.0}]}
    assert (result.name, result.conditions) == ("good", CONDITIONS)
    said = progress.file.getvalue()
    assert "failed: run 1/2  bad  nginx: a reply was wrong\n[the end]" in said
    assert "run 2/2  good  Holdfast: 5.00 ms" in said


def shown(result):
    console = Console(width=150)
    with console.capture() as capture:
        console.print(table(Figures(result)))
    return capture.get()


def test_a_table_says_what_became_of_the_goals():
    text = shown(ROUND_TRIP)
    assert "CPU per message: 0.80 [0.40-1.00], goal <= 0.9 x nginx: met" in text
    assert "per second: 0.60 [0.60-0.80], goal >= 0.7 x nginx: missed" in text
    assert "99% / 50% / 20%" in text
    assert "p99: 12.0 ms [10.0-15.0], goal <= 20 ms: met" in shown(ALONE)
    assert "CPU / rest / foreign" not in shown(ALONE)
    assert "pauses: -, goal <= 1 x a peer that did not take part: not measured" in shown(UNCOMPARED)


def test_works_can_be_told_apart_and_goals_are_of_their_metrics():
    assert len({work.name for work in WORKS}) == len(WORKS)
    for work in WORKS:
        assert "Holdfast" in work.systems, work.name
        assert {goal.metric for goal in work.goals} <= {metric.key for metric in work.metrics}, work.name
        assert {goal.peer for goal in work.goals} <= {None, *work.systems}, work.name
