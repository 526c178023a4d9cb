"""What holds for every test."""

import os
from itertools import islice

import pytest
import structlog
from hypothesis import HealthCheck, settings

# Its limits of time are for a machine that does nothing else. In a fresh clone it also makes its tables of Unicode
# first, which alone takes longer under coverage than a health check allows.
settings.register_profile("holdfast", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("holdfast")

# Where rich is installed structlog shows the local variables of a traceback by default: that takes seconds here.
structlog.configure(processors=[structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Each worker has its share of the slow tests, and begins with it.

    `--dist worksteal` gives each one run of the list, and who is done has the end of another's: of the fast ones. A
    file's tests stay together, for what they share.
    """
    items[:] = items[:: int(os.environ.get("ONE_OF", "1"))]
    workers = getattr(config, "workerinput", {"workercount": 1})["workercount"]
    slow, fast = {}, []
    for item in items:
        if item.get_closest_marker("slow"):
            slow.setdefault(item.path, []).append(item)
        else:
            fast.append(item)
    if not fast or workers == 1:
        return
    shares = [[] for _ in range(workers)]
    for number, tests in enumerate(reversed(slow.values())):  # the last one takes longest: it is what is compiled
        shares[number % workers] += tests
    length, rest = len(items) // workers, iter(fast)
    items[:] = [item for share in shares for item in (*share, *islice(rest, max(0, length - len(share))))]
    items += rest
