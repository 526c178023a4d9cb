"""The deployment under test, as faults and displays see it: its nodes, by what the proxy's admin server says.

Owns the processes of the nodes that we have started ourselves; of others it knows the pid, and signals only those
that are labelled as nodes of ours (proxy.chaos.node.LABEL) and run on this machine.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import msgspec
import trio
from msgspec import Struct

from protocols.errors import HoldfastError
from proxy.chaos.node import LABEL, NAME, TESTIMONY_FD, TOKEN
from proxy.chaos.processes import Process, Processes
from proxy.cli.admin_client import AdminClient

POLL_INTERVAL = 0.1
STOP_PATIENCE = 20.0  # for a node to drain and exit


class NodeStatus(Struct):
    """As /api/status says; `labels` tells whether it may be harmed."""

    id: str
    name: str
    state: str
    in_flight: int
    pid: int
    labels: dict[str, str]


class Master(Struct):
    node: str | None = None
    epoch: int = 0


class Status(Struct):
    ready: bool = False
    clients: int = 0
    in_flight: int = 0
    parked: int = 0
    redelivered: int = 0
    last_failover: float | None = None
    master: Master = Master()
    nodes: list[NodeStatus] = []
