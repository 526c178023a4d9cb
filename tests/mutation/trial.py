"""One mutant and the tests that ought to notice it, in a process of its own.

Owns how a changed module gets in the place of the real one: before anything imports it. A mutant is killed by a test
that fails, by one that does not come to its end, and by tests that can't even be collected.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

SURVIVED = 0
OURS = ("holdfast", "tests")
MEMORY = 3 << 30  # bytes: a loop that grows must not take the machine with it
ROOT = Path(__file__).parents[2]


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives one module another source."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self._name = name
        self._path = path
        self._source = source

    def find_spec(self, name: str, path: object = None, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(name, self._path, loader=self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._source, str(self._path), "exec"), module.__dict__)


def module_name(path: Path) -> str:
    """As everybody imports it: all that is installed is in `holdfast`, wherever the file lies in the repository."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "holdfast" else ("holdfast", *parts))


def run(path: Path, source: str, steps: Sequence[Sequence[str]], timeout: float) -> tuple[int, float]:
    """Fork, and run pytest with each step's arguments until one fails. Returns the number of the step that has killed
    it, from 1, or SURVIVED; and seconds. timeout: of all steps together."""
    began = time.monotonic()
    child = os.fork()
    if not child:
        code = len(steps)
        try:
            code = _run(path, source, steps)
        finally:  # whatever it raises has been noticed
            os._exit(code)
    while time.monotonic() - began < timeout:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return (code if code >= 0 else len(steps)), time.monotonic() - began
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return len(steps), time.monotonic() - began


def _run(path: Path, source: str, steps: Sequence[Sequence[str]]) -> int:
    import pytest

    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]  # whoever has forked may have imported it
    sys.meta_path.insert(0, Changed(module_name(path), path, source))
    options = ["-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:pytest_cov", "-W", "ignore"]
    for number, step in enumerate(steps, 1):
        if pytest.main([*options, "-m", "not slow and not net", *step]) != 0:
            return number
    return SURVIVED
