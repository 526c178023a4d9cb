"""The mutants themselves: each is another program, and what nobody promises stays as it is."""

import importlib
from pathlib import Path

from tests.mutation import trial
from tests.mutation.__main__ import TARGETS
from tests.mutation.equivalent import EQUIVALENT
from tests.mutation.mutants import changes, mutants

SOURCE = '''
def may(now: float, limit: int = 3) -> bool:
    """At most 5."""
    log.info("asked", at=1)
    if now < limit and not self.is_over:
        self.count += 1
        return True
    raise ValueError(f"expected at most {limit}, got {now} {1 + 1}")
'''


def test_each_is_another_program_and_parses():
    found = mutants(SOURCE)
    sources = [mutant.source for mutant in found]
    assert len(set(sources)) == len(sources)
    for source in sources:
        compile(source, "mutant", "exec")


def test_comparisons_conditions_constants_statements_are_changed_and_log_lines_texts_and_defaults_are_not():
    changes = {mutant.what for mutant in mutants(SOURCE)}
    assert "now < limit: LtE" in changes
    assert "now < limit and (not self.is_over): the other of and, or" in changes
    assert "now < limit and (not self.is_over): without part 2" in changes
    assert "not self.is_over: without not" in changes
    assert "without: self.count += 1" in changes
    assert "True: False" in changes
    assert any(change.startswith("without: raise ValueError") for change in changes)
    assert not any("asked" in change or change.startswith(("1 + 1", "3: ")) for change in changes)


def test_a_mutant_is_killed_by_a_test_that_fails_and_survives_one_that_passes(tmp_path):
    path = trial.ROOT / "balancer" / "cluster" / "absence.py"
    source = path.read_text(encoding="utf-8")
    notices = tmp_path / "test_notices.py"
    notices.write_text(
        "from holdfast.balancer.cluster.absence import Absence\n"
        "def test_it():\n"
        "    absence = Absence(1.0, 10.0, 0.0)\n"
        "    absence.read(['a'], (), 0.0, 0.0)\n"
        "    assert absence.is_absent('a', 2.0)\n"
        "    assert not absence.is_absent('a', 0.5)\n",
        encoding="utf-8",
    )
    steps = [[str(notices), "--rootdir", str(tmp_path), "-c", "/dev/null"]]
    assert trial.run(path, source, steps, 60)[0] == trial.SURVIVED
    broken = source.replace("self._timeout < self.lasts", "self._timeout > self.lasts")
    assert broken != source
    assert trial.run(path, broken, steps, 60)[0] == 1


def test_what_is_changed_is_what_everybody_imports():
    """Under another name it would be a second copy, which no test looks at: each mutant would survive."""
    for pattern in TARGETS:
        found = [path for path in trial.ROOT.glob(pattern) if path.name != "__init__.py"]
        assert found, pattern
        for path in found:
            module = importlib.import_module(trial.module_name(path))
            assert Path(module.__file__).resolve() == path.resolve()
    for steps in TARGETS.values():
        assert all((trial.ROOT / path).exists() for step in steps for path in step)


def test_what_is_listed_as_equivalent_is_still_there():
    there = {path: changes((trial.ROOT / path).read_text(encoding="utf-8")) for path, _, _ in EQUIVALENT}
    assert [each for each in EQUIVALENT if each[1:] not in there[each[0]]] == []
