"""Which process a node is: what Hello says of it, so that a proxy on the same host can watch it.

A pid alone is not enough. `host` says where it is a pid, and `started` which of the processes that had it, one after
another, is meant. Reading /proc is for those who call this.
"""

BOOT_ID = "/proc/sys/kernel/random/boot_id"
PID_NAMESPACE = "/proc/self/ns/pid"


def host_of(boot_id: str, namespace: int) -> str:
    """Hello.host: this kernel since its boot, and the namespace in which pids are counted, by its inode."""
    return f"{boot_id.strip()}:{namespace}"


def started_of(stat: str) -> int:
    """Hello.started: when the process began, in ticks since the boot: the 22nd field of /proc/PID/stat.

    The second is the command in parentheses, and may have any character in it.
    """
    return int(stat.rpartition(")")[2].split()[19])
