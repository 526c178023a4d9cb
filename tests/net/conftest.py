"""Whether this machine can do it at all; and where the measurements go."""

from contextlib import ExitStack

import pytest

from tests.net.hosts import Network, lacking
from tests.net.rows import table, write

ROWS = pytest.StashKey()


@pytest.fixture(scope="session")
def namespaces():
    """Skips, and says why, where there can be no hosts."""
    missing = lacking()
    if missing:
        pytest.skip(missing)


@pytest.fixture
def network(namespaces, tmp_path):
    """A function: hosts of these names, joined by a switch."""
    with ExitStack() as stack:
        yield lambda *names: stack.enter_context(Network(names, tmp_path))


@pytest.fixture
def rows(pytestconfig):
    """Rows for the table of what was measured."""
    return pytestconfig.stash.setdefault(ROWS, [])


def pytest_terminal_summary(terminalreporter, config):
    measured = config.stash.get(ROWS, [])
    if measured:
        terminalreporter.section("networks")
        terminalreporter.write_line(table(measured))
        write(measured)
