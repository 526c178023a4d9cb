"""What a running proxy does for a message, counted: exact figures, which no busy machine changes.

A Trio instrument switches the count on for the steps of all tasks but one, the test's own, which is client and node.
Python tells of each call (sys.setprofile) and of each instruction of its bytecode (sys.settrace); both at once, or
beside a coverage tool, would count each other.
"""

import select
import sys
import time
from contextlib import contextmanager

import trio


class Others(trio.abc.Instrument):
    """begin and end: called around each step of a task that is not the one that made this."""

    def __init__(self, begin, end):
        self._own = trio.lowlevel.current_task()
        self._begin = begin
        self._end = end

    def before_task_step(self, task):
        if task is not self._own:
            self._begin()

    def after_task_step(self, task):
        if task is not self._own:
            self._end()


@contextmanager
def others(begin, end):
    instrument = Others(begin, end)
    trio.lowlevel.add_instrument(instrument)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(instrument)


@contextmanager
def calls():
    """Yields a function that says how many there have been, and how many of them were calls of the system."""
    called = system = 0

    def profile(frame, event, what):
        nonlocal called, system
        if event == "call":
            called += 1
        elif event == "c_call":
            called += 1
            if what.__module__ == "posix" or isinstance(what.__self__, select.epoll):
                system += 1

    with others(lambda: sys.setprofile(profile), lambda: sys.setprofile(None)):
        yield lambda: {"calls": called, "system calls": system}


@contextmanager
def instructions():
    """Yields a function that says how many there have been, of bytecode."""
    count = 0

    def enter(frame, event, _):
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return step

    def step(frame, event, _):
        nonlocal count
        if event == "opcode":
            count += 1
        return step

    with others(lambda: sys.settrace(enter), lambda: sys.settrace(None)):
        yield lambda: {"instructions": count}


@contextmanager
def cpu_seconds():
    """Yields a function that says how much CPU this thread has spent in those steps."""
    total = begun = 0.0

    def begin():
        nonlocal begun
        begun = time.thread_time()

    def end():
        nonlocal total
        total += time.thread_time() - begun

    with others(begin, end):
        yield lambda: total
