"""Where and when a run is made: the machine, and the versions of all that is measured."""

import os
import platform
import shutil
import subprocess
import time
from importlib.metadata import version
from pathlib import Path

import zmq

from bench.build import PACKAGES
from bench.compiled import is_used
from bench.results import Conditions

# Of the libraries on a message's way.
LIBRARIES = ("trio", "pyzmq", "msgspec", "websockets")
ROOT = Path(__file__).parent.parent


def conditions(scale: str) -> Conditions:
    return Conditions(
        date=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        scale=scale,
        machine=_machine(),
        versions={
            "Holdfast": version("holdfast-proxy") + _commit() + (", compiled" if is_used() else ""),
            "Python": platform.python_version(),
            **{library: version(library) for library in LIBRARIES},
            "libzmq": zmq.zmq_version(),
            **_packages(),
        },
    )


def _machine() -> str:
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    kernel = ".".join(platform.release().split(".")[:2])
    return f"{os.cpu_count()} CPUs of {model}, {memory:.0f} GiB, Linux {kernel}"


def _commit() -> str:
    """What is measured, exactly; nothing where it is not a clone."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return ""
    described = _output("git", "-C", str(ROOT), "describe", "--always", "--dirty=, changed", "--exclude=*")
    return f" ({described})" if described else ""


def _packages() -> dict[str, str]:
    """Debian's versions of the peers and of what the C programs are made with."""
    if shutil.which("dpkg-query") is None:
        return {}
    known = _output("dpkg-query", "-W", "-f", "${Package} ${db:Status-Abbrev} ${Version}\n", *PACKAGES)
    rows = (line.split() for line in known.splitlines())
    return {row[0]: row[2] for row in rows if len(row) == 3 and row[1].startswith("ii")}


def _output(*command: str) -> str:
    """Empty if it has nothing to say. dpkg-query fails when one of several packages is not known."""
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
