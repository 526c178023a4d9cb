"""The build in C (docs/howto/compile.md) passes the tests of what it compiles."""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest

from hatch_build import MODULES
from tests.commands import run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PYTHON = (sys.executable, "-m")
COMPILER = sysconfig.get_config_var("CC").split()[0]
HEADERS = Path(sysconfig.get_path("include"), "Python.h")
TESTS = ("tests/balancer", "tests/contracts", "tests/protocols/clients", "tests/proxy")
# Nothing of these is compiled, and what is compiled is tested by the others.
BESIDE = (
    *("balancer/cluster", "balancer/coordination", "balancer/test_registry.py", "balancer/test_state.py"),
    *("balancer/links/test_door.py", "balancer/links/test_peers.py", "balancer/links/test_tunnels.py"),
    *("contracts/test_coordinator.py", "proxy/admin", "proxy/cluster", "proxy/config", "proxy/process"),
    *("proxy/nodes/test_deaths.py", "proxy/nodes/test_keeper.py", "proxy/nodes/test_keeper_runs.py"),
    *("proxy/nodes/test_mastership.py", "proxy/nodes/test_restart.py", "proxy/test_reference.py"),
    *("proxy/nodes/test_orphans.py", "proxy/nodes/test_quarantine.py", "proxy/nodes/test_router.py"),
    *("balancer/test_routes.py", "protocols/clients/test_client_hello.py", "protocols/clients/test_encodings.py"),
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree like this one, whose packages are those of the compiled wheel."""
    if shutil.which(COMPILER) is None:
        pytest.skip(f"no C compiler: {COMPILER} is not there")
    if not HEADERS.exists():
        pytest.skip(f"no headers of Python: {HEADERS} is not there")
    tree = tmp_path_factory.mktemp("compiled")
    install = ("install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", tree)
    # Nobody asks for it: a compiler is there.
    run(*PYTHON, "pip", *install, ".", cwd=ROOT, HOLDFAST_COMPILE="", HOLDFAST_COMPILE_LEVEL="0")
    shutil.copytree(ROOT / "tests", tree / "tests", ignore=shutil.ignore_patterns("*.pyc.*", "node_modules"))
    shutil.copytree(ROOT / "examples", tree / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    return tree


def test_all_that_should_be_compiled_is(tree):
    names = [module.removesuffix(".py").replace("/", ".") for module in MODULES]
    ask = f"import importlib; print(*(importlib.import_module(name).__file__ for name in {names}), sep='\\n')"
    script = tree / "ask.py"
    script.write_text(ask, encoding="utf-8")
    found = run(*PYTHON, "ask", cwd=tree).split()
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    assert found == [str(tree / module.removesuffix(".py")) + suffix for module in MODULES]
    assert run(*PYTHON, "holdfast", "--version", cwd=tree).endswith(" (compiled)\n")


def test_the_tests_of_what_is_compiled_pass(tree):
    """A third of them, and all of them with `make compiled`: what they find without C the others have found."""
    beside = [f"--ignore=tests/{name}" for name in BESIDE]
    every = os.environ.get("COMPILED_EVERY", "3")
    said = run(
        *PYTHON, "pytest", "-q", "-n", "auto", "--dist", "worksteal", "-m", "not slow", *TESTS, *beside, cwd=tree,
        ONE_OF=every,
    )  # fmt: skip
    assert "passed" in said
