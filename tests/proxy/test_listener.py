"""What the listener asks of the kernel. Accepting itself is in test_limits and test_http_way."""

import subprocess
import sys

SCRIPT = """
from pathlib import Path
from proxy.listener import RESERVED_DESCRIPTORS, raise_descriptor_limit

def table_size():
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if "FDSize" in line)

before = table_size()
opened = set(Path("/proc/self/fd").iterdir())
fit = raise_descriptor_limit(before)
print(before, table_size(), fit, RESERVED_DESCRIPTORS, set(Path("/proc/self/fd").iterdir()) == opened)
"""


def test_the_table_of_descriptors_is_as_large_at_once_as_it_may_become():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    before, after, fit, reserved, leaves_none_open = done.stdout.split()
    assert int(fit) >= int(before)
    assert int(after) >= int(before) + int(reserved)
    assert leaves_none_open == "True"
