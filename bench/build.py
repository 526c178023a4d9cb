"""What must be there before anything is measured: Debian's packages, and the programs of c/, compiled when changed."""

import os
import shutil
import subprocess
from pathlib import Path

from bench.process import BenchError

SOURCES = Path(__file__).parent / "c"
PROGRAMS = Path(__file__).parent.parent / "build" / "bench"
LIBRARIES = {"node": ["-lzmq"]}
# What must be there, by the package of Debian that has it: a command, or a file.
PACKAGES = {
    "gcc": "gcc",
    "libzmq3-dev": "/usr/include/zmq.h",
    "nginx": "nginx",
    "libnginx-mod-nchan": "/usr/lib/nginx/modules/ngx_nchan_module.so",
    "haproxy": "haproxy",
    "pushpin": "pushpin",
}
SYSTEM_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin"))  # where nginx and haproxy are


def prepare() -> None:
    """Have the packages and all our programs. Raises BenchError if that can't be."""
    missing = [package for package, what in PACKAGES.items() if not Path(what).exists() and find(what) is None]
    if missing:
        _install(missing)
    PROGRAMS.mkdir(parents=True, exist_ok=True)
    newest = max(source.stat().st_mtime for source in SOURCES.iterdir())  # they include each other
    for source in SOURCES.glob("*.c"):
        program = PROGRAMS / source.stem
        if not program.exists() or program.stat().st_mtime < newest:
            options = ["-std=gnu11", "-O2", "-Wall", "-Wextra"]
            libraries = LIBRARIES.get(source.stem, [])
            run(["gcc", *options, "-o", str(program), str(source), *libraries])


def find(command: str) -> str | None:
    return shutil.which(command, path=SYSTEM_PATH)


def _install(packages: list[str]) -> None:
    install = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise BenchError(f"{', '.join(packages)} must be installed first, as root: {' '.join(install)}")
    run(["apt-get", "update"])
    run(install, DEBIAN_FRONTEND="noninteractive")


def run(command: list[str], **environment: str) -> None:
    """To its end; environment: on top of ours. Raises BenchError with what it said if it failed."""
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed:\n{(done.stderr or done.stdout)[-2000:]}")
