"""Hosts: network namespaces with an address each, joined by the switch, and the processes in them.

A namespace is held by a descriptor of ours and by the processes in it, and by no name: when all these are gone it is
gone, so there is nothing to sweep up after a run that was killed. Only the calling thread is ever in another namespace,
and only within `Host.inside`, where nothing is awaited.
"""

import ctypes
import fcntl
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from holdfast.chaos import program
from holdfast.chaos.processes import Process
from tests.net.switch import CUT, Answer, Command, Rule

CLONE_NEWNET = 0x40000000
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
SIOCSIFADDR, SIOCSIFNETMASK, SIOCSIFFLAGS = 0x8916, 0x891C, 0x8914
IFF_UP = 0x1
DEVICE = "eth0"
ROOT = Path(__file__).parents[2]
SWITCH_PATIENCE = 10.0
SEED = "1"  # of the switch: which packets are lost depends on when they come, but shares are alike

_libc = ctypes.CDLL(None, use_errno=True)


def lacking() -> str:
    """What this machine lacks for hosts; "" if nothing."""
    if shutil.which("redis-server") is None:
        return "redis-server is not installed"
    try:
        with ExitStack() as stack:
            Host("probe", "10.77.0.1", stack)
    except PermissionError as error:
        return f"network namespaces and TUN devices take root: {error}"
    except OSError as error:
        return f"no network namespaces with TUN devices: {error}"
    return ""


class Host:
    """A namespace with one device, `eth0`. tun: the other end of that. Held until `stack` ends.

    Raises OSError where the kernel has no such thing, or we have not the right.
    """

    def __init__(self, name: str, ip: str, stack: ExitStack) -> None:
        self.name = name
        self.ip = ip
        home = _held("/proc/thread-self/ns/net", stack)
        _call("unshare", CLONE_NEWNET)
        try:
            self._namespace = _held("/proc/thread-self/ns/net", stack)
            self.tun = _tun(DEVICE, stack)
            _configure("lo", None)
            _configure(DEVICE, ip)
        finally:
            _call("setns", home, CLONE_NEWNET)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Sockets and processes that are made within are this host's, for good."""
        with ExitStack() as stack:
            home = _held("/proc/thread-self/ns/net", stack)
            _call("setns", self._namespace, CLONE_NEWNET)
            try:
                yield
            finally:
                _call("setns", home, CLONE_NEWNET)


class Network:
    """A context manager: hosts of these names, and a switch between them. directory: for logs.

    All processes that were started in hosts end with it.
    """

    def __init__(self, names: Sequence[str], directory: Path) -> None:
        self.hosts: dict[str, Host] = {}
        self.directory = directory
        self._names = names
        self._stack = ExitStack()
        self._processes: list[Process] = []
        self._switch: Process | None = None

    def __enter__(self) -> "Network":
        with self._stack:
            for number, name in enumerate(self._names, 1):
                self.hosts[name] = Host(name, f"10.77.0.{number}", self._stack)
            hosts = self.hosts.values()
            ports = [f"{host.name}={host.ip}={host.tun}" for host in hosts]
            command = [sys.executable, "-m", "tests.net.switch", SEED, *ports]
            self._switch = self._start("switch", command, pipes=True, pass_fds=[host.tun for host in hosts])
            self._stack.callback(self._end)
            self.ask()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def __getitem__(self, name: str) -> Host:
        return self.hosts[name]

    def _end(self) -> None:
        for process in self._processes:
            process.popen.kill()  # all at once, then wait for each
        for process in self._processes:
            process.close()

    # --- processes

    def start(
        self,
        host: str,
        command: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        pipes: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> Process:
        """Run a command in a host. Its log is the host's. pipes: to its stdin and from its stdout."""
        with self.hosts[host].inside():
            return self._start(host, command, environ=environ, pipes=pipes, pass_fds=pass_fds)

    def _start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environ: Mapping[str, str] | None = None,
        pipes: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> Process:
        log = self.directory / f"{name}.log"
        kind = subprocess.PIPE if pipes else subprocess.DEVNULL
        with log.open("ab") as stderr:
            popen = subprocess.Popen(
                program.command(command),
                stdin=kind,
                stdout=kind if pipes else stderr,
                stderr=stderr,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environ or {})},
                cwd=ROOT,
                pass_fds=pass_fds,
                process_group=0,
            )
        process = Process(name, popen, log)
        self._processes.append(process)
        return process

    # --- rules

    def rule(self, pairs: Iterable[tuple[str, str]], rule: Rule | None) -> float:
        """Set a rule for ordered pairs, None: no rule. When it was in force, by the monotonic clock."""
        return self._tell(Command(list(pairs), rule)).at

    def cut(self, one: Iterable[str], other: Iterable[str]) -> float:
        """Nothing passes between these two groups, either way."""
        return self.rule(both_ways(one, other), CUT)

    def heal(self) -> float:
        """No rules any more."""
        return self.rule(((one, other) for one in self.hosts for other in self.hosts), None)

    def ask(self) -> Answer:
        return self._tell(Command())

    def _tell(self, command: Command) -> Answer:
        assert self._switch is not None
        popen = self._switch.popen
        assert popen.stdin is not None
        assert popen.stdout is not None
        popen.stdin.write(msgspec.json.encode(command) + b"\n")
        popen.stdin.flush()
        waiting = select.poll()  # select knows no descriptors above 1,023
        waiting.register(popen.stdout, select.POLLIN)
        if not waiting.poll(1000 * SWITCH_PATIENCE):
            raise TimeoutError(f"the switch says nothing\n{self._switch.log_tail()}")
        return msgspec.json.decode(popen.stdout.readline(), type=Answer)


def both_ways(one: Iterable[str], other: Iterable[str]) -> list[tuple[str, str]]:
    others = list(other)
    return [pair for a in one for b in others for pair in ((a, b), (b, a))]


def _call(function: str, *arguments: int) -> None:
    """A system call of libc that Python 3.11 has not."""
    if getattr(_libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")


def _held(path: str, stack: ExitStack, flags: int = os.O_RDONLY) -> int:
    fd = os.open(path, flags)
    stack.callback(os.close, fd)
    return fd


def _tun(device: str, stack: ExitStack) -> int:
    fd = _held("/dev/net/tun", stack, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
    return fd


def _configure(device: str, ip: str | None) -> None:
    """Give it an address in a network of 256, and set it up; in the namespace where the thread is."""
    name = device.encode()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for request, address in ((SIOCSIFADDR, ip), (SIOCSIFNETMASK, ip and "255.255.255.0")):
            if address is not None:
                packed = struct.pack("16sHH4s16x", name, socket.AF_INET, 0, socket.inet_aton(address))
                fcntl.ioctl(control, request, packed)
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", name, IFF_UP))
