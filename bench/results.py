"""What was measured, kept: each work's runs with the conditions that they were made under, as JSON in a file.

Owns the form of that file, and how a later run of some works takes its place in it. Everything that is drawn is drawn
from results, just measured or read again; nothing here measures. What follows from the runs (medians, ratios, whether
a goal is met) is not kept: bench.figures says it.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.process import BenchError
from bench.works.base import Goal, Metric, Sample


class Conditions(NamedTuple):
    """Where and when: a figure without it says nothing. scale: full or quick. versions: by name, ours among them."""

    date: str
    scale: str
    machine: str
    versions: dict[str, str]


class Result(NamedTuple):
    """All runs of one work, with its metrics and goals as they were then.

    samples: by system, one for each run, in the order of runs.
    """

    group: str
    name: str
    metrics: tuple[Metric, ...]
    goals: tuple[Goal, ...]
    samples: dict[str, list[Sample]]
    conditions: Conditions


def merge(former: Iterable[Result], results: Iterable[Result], names: Sequence[str]) -> list[Result]:
    """One result for each of `names` that has one, in that order; where both have it, the later."""
    found = {result.name: result for result in (*former, *results)}
    return [found[name] for name in names if name in found]


def encode(results: Iterable[Result]) -> str:
    works = []
    for result in results:
        fields = result._asdict()
        fields["metrics"] = [metric._asdict() for metric in result.metrics]
        fields["goals"] = [goal._asdict() for goal in result.goals]
        fields["conditions"] = result.conditions._asdict()
        works.append(fields)
    return json.dumps({"works": works}, indent=1) + "\n"


def decode(text: str) -> list[Result]:
    """Raises ValueError, KeyError or TypeError if this is not what `encode` gives."""
    results = []
    for work in json.loads(text)["works"]:
        fields: dict[str, Any] = dict(work)
        fields["metrics"] = tuple(Metric(**metric) for metric in work["metrics"])
        fields["goals"] = tuple(Goal(**goal) for goal in work["goals"])
        fields["conditions"] = Conditions(**work["conditions"])
        results.append(Result(**fields))
    return results


def load(file: Path) -> list[Result]:
    """Raises BenchError if there are no results in it."""
    try:
        return decode(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BenchError(f"{file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{file} holds no results of this benchmark: {error!r}") from error


def save(file: Path, results: Iterable[Result]) -> None:
    write(file, encode(results))


def write(file: Path, text: str) -> None:
    """Whatever is written here: whole, or not at all. Raises BenchError."""
    new = file.with_name(f".{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(text, encoding="utf-8")
        new.replace(file)
    except OSError as error:
        raise BenchError(f"{file}: {error.strerror}") from error
