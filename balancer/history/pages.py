"""What a node is told of a log, by the page that was read from it. Pure."""

from holdfast.balancer.history.base import Page
from holdfast.protocols.nodes.histories import NEWEST, AskHistory, History, Kept


def answer_of(frame: AskHistory, after: int, epoch: str, page: Page | None) -> History:
    """page: of what is above `after`, in the log of `epoch`, "": whichever there is; None: the log is away."""
    if page is None:
        return History(frame.ask, 503, "the log of the channel can't be asked: try again in a moment")
    if epoch and page.epoch != epoch:
        return History(frame.ask, 409, "the position is in another log of the channel: that one is no more")
    if after > page.last:
        return History(frame.ask, 409, f"the position is in no log: expected an offset up to {page.last}, got {after}")
    kept = [Kept(each.offset, each.payload, each.is_text, each.at) for each in page.publications]
    return History(frame.ask, 200, "", page.epoch, page.first, page.last, kept)


def place_of(frame: AskHistory, limit: int, top: Page | None) -> tuple[int, str] | None:
    """After which offset to read, of which epoch. top: the end of the log. None: it has to be asked for first."""
    if frame.after != NEWEST:
        return frame.after, frame.epoch
    return None if top is None else (max(0, top.last - limit), top.epoch)
