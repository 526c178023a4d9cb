"""What became of what was said to somebody who asked."""

from enum import IntEnum


class Taken(IntEnum):
    """What became of a reply, or a part of one, where it goes."""

    NOT = 0  # its connection has gone
    PART = 1  # others may follow
    ALL = 2  # also of a part after which nothing can be said


NOT, PART, ALL = Taken  # names of a module: to look up a member of an Enum takes time
