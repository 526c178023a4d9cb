"""This process, as a proxy on the same host may see it."""

import os
from functools import lru_cache
from pathlib import Path

from holdfast.protocols.nodes.process import BOOT_ID, PID_NAMESPACE, host_of, started_of


def whereabouts() -> tuple[str, int]:
    """Hello.host and Hello.started; "" and 0 where there is no /proc that says it."""
    return _whereabouts(os.getpid())


@lru_cache(maxsize=1)
def _whereabouts(pid: int) -> tuple[str, int]:
    """pid: ours, which is another one after a fork."""
    try:
        boot_id = Path(BOOT_ID).read_text(encoding="ascii")
        host = host_of(boot_id, os.stat(PID_NAMESPACE).st_ino)
        return host, started_of(Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, IndexError):
        return "", 0
