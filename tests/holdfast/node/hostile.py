"""Errors of an author's that can't be looked at in one way or another, each by a function that raises it."""

import trio

from holdfast import RequestError


class Unspeakable(RuntimeError):
    def __str__(self):
        return self.never_set

    __repr__ = __str__
    args = property(__str__)


class Incomparable:
    def __eq__(self, other):
        raise ValueError("is not compared")

    __hash__ = None


class Text(str):
    """What is no plain text, and nobody encodes."""

    __slots__ = ()

    def __str__(self):
        return self


class Indivisible(ExceptionGroup):
    def derive(self, errors):
        return Indivisible(self.message, errors, self.never_set)


class Unlisted(ExceptionGroup):
    exceptions = property(lambda self: 1 / 0)


class BaseIndivisible(BaseExceptionGroup):
    def derive(self, errors):
        raise SystemExit("not to be split")


class Unnoted(RuntimeError):
    __notes__ = property(lambda self: 1 / 0)


class Uncaused(ValueError):
    __cause__ = property(lambda self: 1 / 0)


class Untraced(ValueError):
    __traceback__ = property(lambda self: 1 / 0)

    def with_traceback(self, frames):
        raise ValueError("no frames")


class Classless(ValueError):
    __class__ = property(lambda self: 1 / 0)


class Unnamed(type):
    __name__ = property(lambda cls: 1 / 0)


class OfUnnamed(ValueError, metaclass=Unnamed):
    pass


class Placeless(SyntaxError):
    lineno = property(lambda self: 1 / 0)


class Exits(ValueError):
    def __str__(self):
        raise SystemExit(3)


class Statusless(RequestError):
    status = property(lambda self: 1 / 0, lambda self, status: None)


class Talkative(RequestError):
    def __str__(self):
        raise KeyboardInterrupt


def deep():
    deep()


def notes_of_no_kind():
    error = RuntimeError("no running event loop")
    error.__notes__ = 5
    raise error


def doubled():
    error = ExceptionGroup("one", [ValueError(1)])
    for _ in range(40):
        error = ExceptionGroup("two", [error, error])
    raise error


def raises(error):
    raise error


def stale():
    """A cancellation that somebody has kept, and raises where nothing is cancelled."""
    return trio.Cancelled._create(source="explicit")


def because_of_groups():
    try:
        doubled()
    except ExceptionGroup as error:
        raise RuntimeError("all of them") from error


class Lazy:
    """What a function may return, of which nothing can be asked."""

    __class__ = property(lambda self: 1 / 0)
    __bool__ = __eq__ = lambda self, *other: 1 / 0
    __hash__ = None


KINDS = {
    "cause of groups": because_of_groups,
    "text": lambda: raises(Unspeakable("a")),
    "argument": lambda: raises(RuntimeError(Incomparable())),
    "text class": lambda: raises(RequestError(418, Text("tea"))),
    "text that exits": lambda: raises(Exits("x")),
    "group": lambda: raises(Indivisible("g", [ValueError(1)])),
    "group in a group": lambda: raises(ExceptionGroup("o", [Indivisible("g", [ValueError(1)]), KeyError(2)])),
    "group unlisted": lambda: raises(Unlisted("g", [ValueError(1)])),
    "group of cancellation": lambda: raises(BaseIndivisible("g", [stale()])),
    "group that exits": lambda: raises(BaseIndivisible("g", [ValueError(1), stale()])),
    "group of groups": doubled,
    "notes": lambda: raises(Unnoted("no running event loop")),
    "notes of no kind": notes_of_no_kind,
    "cause": lambda: raises(Uncaused("x")),
    "traceback": lambda: raises(Untraced("x")),
    "class": lambda: raises(Classless("x")),
    "metaclass": lambda: raises(OfUnnamed("x")),
    "place": lambda: raises(Placeless("x", ("f", 1, 1, "t"))),
    "place of no kind": lambda: raises(SyntaxError("line 3", (None, 3, 1, 12))),
    "status": lambda: raises(Statusless(400, "x")),
    "refusal that exits": lambda: raises(Talkative(400, "x")),
    "surrogate": lambda: raises(ValueError("\ud800")),
    "exit": lambda: raises(SystemExit(3)),
    "interrupt": lambda: raises(KeyboardInterrupt()),
    "generator's": lambda: raises(GeneratorExit()),
    "stop": lambda: raises(StopIteration(1)),
    "depth": deep,
    "cancellation": lambda: raises(stale()),
}
