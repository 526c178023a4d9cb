"""How far a proxy is."""

from enum import Enum


class Phase(Enum):
    STARTING = "starting"
    JOINING = "joining"
    SERVING = "serving"
    DRAINING = "draining"
