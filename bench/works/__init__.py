"""The measurements, one file for each kind. Each takes a freshly started system and gives one sample.

The load generators check every result.
"""

from bench.works import fan_out, memory, round_trip
from bench.works.base import Work

WORKS: tuple[Work, ...] = (*round_trip.WORKS, *fan_out.WORKS, *memory.WORKS)
GROUPS = tuple(dict.fromkeys(work.group for work in WORKS))
