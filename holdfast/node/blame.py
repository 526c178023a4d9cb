"""Whose line it is when an author's module can't be loaded: the frames of the library, of importlib and of installed
packages are not where to look first.
"""

import os
import sysconfig
import traceback
from contextlib import suppress
from pathlib import Path

from holdfast.node.raised import is_of_few, line_of, traceback_of
from holdfast.protocols.errors import HoldfastError

OURS = str(Path(__file__).parents[1]) + os.sep
IMPORTLIB = os.path.join(sysconfig.get_path("stdlib"), "importlib", "__init__.py")
INSTALLED = tuple(sysconfig.get_path(name) + os.sep for name in ("purelib", "platlib", "stdlib", "platstdlib"))


def blamed(error: Exception) -> HoldfastError:
    """As `_blamed`; of what can't be looked at, what can be said."""
    with suppress(BaseException):
        if is_of_few(error):
            return _blamed(error)
    failure = HoldfastError(line_of(error))
    failure.add_note(traceback_of(error))
    return failure


def _blamed(error: Exception) -> HoldfastError:
    """One line: the innermost line of the author's own, and the error. What is beyond one line, as when it was raised
    further in, is its note: the traceback without our frames and importlib's."""
    story = traceback.TracebackException.from_exception(error)
    story.stack = traceback.StackSummary.from_list([each for each in story.stack if not _is_of_loading(each.filename)])
    story_notes, story.__notes__ = story.__notes__, None  # they would come last
    what, *more = list(story.format_exception_only())[-1].rstrip().splitlines()
    story.__notes__ = story_notes
    own = [each for each in story.stack if not each.filename.startswith(INSTALLED)] or story.stack
    if isinstance(error, SyntaxError) and error.filename:
        where = f"{_shown(error.filename)}, line {error.lineno}: "
    else:
        where = f"{_shown(own[-1].filename)}, line {own[-1].lineno}: " if own else ""
    failure = HoldfastError(where + what)
    if more or story_notes or len(story.stack) > 1 or error.__cause__ is not None:
        failure.add_note("".join(story.format()).rstrip())
    return failure


def _is_of_loading(filename: str) -> bool:
    return filename.startswith((OURS, "<frozen importlib")) or filename == IMPORTLIB


def _shown(filename: str) -> str:
    """As one would write it from here."""
    here = os.getcwd() + os.sep
    return filename.removeprefix(here)
