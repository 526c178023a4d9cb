"""Channels with history: what nodes publish to them goes to the log first, and to clients in the order of the log.

Owns which of these channels somebody is in (followed), and what becomes of a publication between its node's lane and
the members: it is appended, by an identity that is the same at every proxy, and waits in its lane until all up to its
offset is given out. What is in the log and has not come is read from there. Without the log it is given out as it comes
(`history.without_store`), and the log is begun anew when it is back, so that nobody is told that nothing is missing.
What others have appended, and no node has brought, is looked for now and then.
"""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

import structlog

from holdfast.balancer.directory import Node
from holdfast.balancer.history.base import Appended, Keep, Logged, Page
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.effects import Effect, Notify, unpack_ids
from holdfast.protocols.positions import Position, Publication
from holdfast.proxy.clients.reactor import Reactor
from holdfast.proxy.metrics import Counters
from holdfast.proxy.realtime.channels import Channels
from holdfast.proxy.realtime.fan_out import FanOut
from holdfast.proxy.realtime.followed import Followed, Newcomer, Why
from holdfast.proxy.realtime.identities import Identities, Recent
from holdfast.proxy.realtime.log_queue import LogQueue, News
from holdfast.proxy.realtime.publishing import Done, Given, Publishing, read_given

log = structlog.get_logger("holdfast.history")

PAGE = 256  # publications that are read at once
PAGE_BYTES = 1 << 20  # of theirs
NEWS_INTERVAL = 0.5  # how often it is looked for what no node has brought
NEWS = 1000  # logs that are told of at once
CaughtUp = Callable[[Newcomer, Position | None], None]
MAX_REMEMBERED = 10_000  # identities of what was given out without the log; the oldest are forgotten


class Histories:
    """keep_of: what the log of a channel keeps; None: it has no history. gives_without: what is given out while the log
    is away; else it is given to nobody. on_interrupted: told a channel whose members may miss something, and why."""

    def __init__(
        self,
        queue: LogQueue,
        channels: Channels,
        reactor: Reactor,
        counters: Counters,
        keep_of: Callable[[str], Keep | None],
        on_interrupted: Callable[[str, str], None],
        proxy: str,
        *,
        gives_without: bool,
    ) -> None:
        self._queue = queue
        self._channels = channels
        self._reactor = reactor
        self._counters = counters
        self._keep_of = keep_of
        self._gives_without = gives_without
        self._on_interrupted = on_interrupted
        self._followed: dict[str, Followed] = {}
        self._busy: deque[tuple[Followed, FanOut]] = deque()  # what is being given out
        self._given = Recent(MAX_REMEMBERED)  # without the log
        self._read_ones = Recent(MAX_REMEMBERED)  # from it
        self._asks_at = 0.0
        self._by_filter: dict[str, None] = {}  # channels that are followed for filters; perhaps by now not for these
        self._identities = Identities(proxy)
        self._orders = count(1)
        queue.on_renewed = self._begun_anew

    def __len__(self) -> int:
        return len(self._followed)

    def __contains__(self, channel: str) -> bool:
        return self._keep_of(channel) is not None

    # --- what nodes publish -------------------------------------------------------------------------------------------

    def begin(self, node: Node, frame: frames.Effects | frames.Answer, effects: Sequence[Effect]) -> list[Done]:
        """Their turn has come. What is to be done in place of these: publications to channels with history, which are
        being appended from now on, each by itself, and the rest. What is not to be kept goes to those who are there in
        its place in the lane; nobody is told that it was in vain: such a channel is never muted."""
        identity, is_known = self._identities.of(node, frame)
        done: list[Done] = []
        for place, effect in enumerate(effects):
            if not isinstance(effect, Notify) or not any(map(self.__contains__, effect.channels)):
                done.append(effect)
                continue
            plain = [channel for channel in effect.channels if channel not in self]
            if plain or effect.clients:
                rest = effect.payload, effect.is_text, plain, effect.clients, effect.exclude, effect.tail
                done.append(Notify(*rest, sender=effect.sender))
            if not effect.history:
                done.append(self._live(effect))
                continue
            for channel in effect.channels:
                keep = self._keep_of(channel)
                if keep is not None:
                    if self._channels.has_filters and channel in self._channels:
                        self._by_filter[self.follow(channel).channel] = None
                    payload = effect.payload
                    if effect.tail:
                        payload = b"%b%b%b" % (payload, channel.encode(), effect.tail)
                    own = b"%b %d" % (identity, place)
                    said = payload, effect.is_text, effect.exclude, effect.sender
                    publishing = Publishing(channel, own, *said, is_known=is_known)
                    done.append(publishing)
                    self._queue.append(publishing.append(keep), partial(self._answered, publishing))
        return done

    def _answered(self, publishing: Publishing, answer: Appended | None) -> None:
        publishing.answered(answer, next(self._orders))

    def _live(self, effect: Notify) -> FanOut:
        """Of what is not to be kept, that to channels with history."""
        channels = [channel for channel in effect.channels if channel in self]
        excluding = set(unpack_ids(effect.exclude)) if effect.exclude else None
        self._counters.notifications += 1
        return FanOut(effect.payload, effect.is_text, channels, (), excluding, None, effect.tail, sender=effect.sender)

    def is_done(self, publishing: Publishing) -> bool:
        """Whether it was given out to all who are here, or never will be. To be asked again when it was not."""
        if not publishing.is_answered:
            return False
        followed = self._followed.get(publishing.channel)
        answer = publishing.answer
        if answer is None:
            return self._without(publishing, followed)
        if followed is None:
            return True
        if not followed.epoch:
            if followed.is_reading:
                return False
            # None was there when somebody came: all of it is to be given out; or it could not be asked for.
            followed.knows(answer.epoch, 0 if followed.is_new else answer.offset - 1)
        if not publishing.is_offered:
            if answer.epoch != followed.epoch and answer.epoch not in followed.former:
                # Of a log that was before all that we know, or of the one that is now: the log itself says which.
                if not followed.is_reading and not publishing.has_looked:
                    publishing.has_looked = True
                    self._read(followed)
                if followed.is_reading:
                    return False
            publishing.is_offered = True
            self._offer(publishing, followed, answer)
        if publishing.plain is not None:
            return publishing.plain.is_given
        return answer.epoch != followed.epoch or answer.offset <= followed.done

    def _offer(self, publishing: Publishing, followed: Followed, answer: Appended) -> None:
        if answer.epoch != followed.epoch:
            if answer.is_new:
                self._is_another(followed, answer.epoch)
            else:
                if not followed.has_given(answer.epoch, answer.offset):  # nobody can read it there any more
                    self._give_plain(publishing, followed)
                return
        elif answer.offset <= followed.last and (
            publishing.order < followed.order or self._read_ones.get(publishing.identity) == answer.offset
        ):
            return  # it was there before anybody here was told where the log ends; or it was read from there meanwhile
        elif answer.is_new and answer.offset <= followed.last:
            # The store came back without the last that it was told: what stands there is not what was given out.
            log.warning("history_went_back", channel=followed.channel, offset=answer.offset, given=followed.last)
            self._queue.without(followed.channel)
            self._give_plain(publishing, followed)
            return
        if answer.is_new or publishing.is_known:
            followed.offer(publishing.given(answer.offset))
        else:  # another attempt at the request has appended it, and may have said something else
            followed.wanted = max(followed.wanted, answer.offset)
        self._go_on(followed)

    def _without(self, publishing: Publishing, followed: Followed | None) -> bool:
        """The log is away, and whether it has this nobody knows."""
        if publishing.is_offered:
            return publishing.plain is None or publishing.plain.is_given
        publishing.is_offered = True
        if publishing.identity in self._read_ones:
            return True  # it was read from the log, and is given out in its place there
        self._counters.limits_hit["history.without_store"] += 1
        if not (self._gives_without and self._queue.without(publishing.channel)):
            self._on_interrupted(publishing.channel, "what was published is not given out without the log")
            return True
        self._given.add(publishing.identity, 0)
        keep = self._keep_of(publishing.channel)
        assert keep is not None
        self._queue.later(publishing.append(keep), partial(self._has_place, publishing))
        if followed is not None:
            self._give_plain(publishing, followed)
        return publishing.plain is None or publishing.plain.is_given

    def _has_place(self, publishing: Publishing, answer: Appended | None) -> None:
        """What was given out without the log is in it now. Who was there has it."""
        followed = self._followed.get(publishing.channel)
        if answer is None or followed is None or followed.is_reading:
            return
        if answer.is_new and answer.epoch != followed.epoch:
            self._is_another(followed, answer.epoch)
        if answer.epoch == followed.epoch and answer.offset > followed.end:
            followed.had.add(answer.offset)
            followed.offer(publishing.given(answer.offset))
            self._go_on(followed)

    def _give_plain(self, publishing: Publishing, followed: Followed) -> None:
        """Without a position, after what is on its way."""
        publishing.plain = publishing.given(0)
        followed.ready.append(publishing.plain)
        self._go_on(followed)

    def _fan_out(self, followed: Followed, given: Given) -> None:
        excluding = set(unpack_ids(given.excluded)) if given.excluded else None
        place = (followed.epoch, given.offset) if given.offset else ("", 0)
        said = given.payload, given.is_text, [followed.channel], (), excluding, None, b""
        self._busy.append((followed, self._channels.begun(FanOut(*said, *place, given.sender))))
        self._counters.notifications += 1

    # --- who is here --------------------------------------------------------------------------------------------------

    def follow(self, channel: str) -> Followed:
        """Somebody is, or will be, in it. Known as soon as its `epoch` is."""
        followed = self._followed.get(channel)
        if followed is None:
            followed = self._followed[channel] = Followed(channel)
            followed.is_reading = True
            self._queue.top(channel, partial(self._has_top, followed))
        return followed

    def may_join(self, channel: str) -> bool:
        """Whether somebody may be made a member: who is one gets all that comes after it. To be asked again if not."""
        if channel not in self:
            return True
        followed = self.follow(channel)
        return bool(followed.epoch) or not followed.is_reading

    def _has_top(self, followed: Followed, page: Page | None) -> None:
        followed.is_reading = False
        if page is None:
            for newcomer in followed.newcomers:
                newcomer.gives_up(Why.AWAY)
            self._welcome(followed, is_away=True)
            return
        was_new, followed.is_new = followed.is_new, not page.epoch
        followed.knows(page.epoch, 0 if was_new else page.last)  # else members have nothing of it yet
        if followed.channel not in self._channels:  # else what is on its way is theirs, too: the log was away
            followed.order = next(self._orders)
        followed.wanted = page.last
        self._go_on(followed)

    def forget(self, channel: str) -> None:
        """Nobody is in it any more."""
        followed = self._followed.get(channel)
        if followed is not None and not (followed.newcomers or followed.is_reading or followed.is_welcoming):
            del self._followed[channel]

    def comes(self, channel: str, since: Position | None, max_bytes: int, on_caught_up: CaughtUp) -> None:
        """Somebody wants to be in it. on_caught_up is told when it is to be made a member, at once or later. If nothing
        was published yet the log is begun: else it would be in no log that it could name when it comes back."""
        newcomer = Newcomer(since, max_bytes, on_caught_up)
        followed = self._followed.get(channel)
        if followed is None:
            followed = self._followed[channel] = Followed(channel)
        followed.newcomers.append(newcomer)
        if followed.epoch:
            self._go_on(followed)
        elif not followed.is_beginning:
            followed.is_beginning = followed.is_reading = True
            self._queue.begin(channel, partial(self._has_begun, followed))

    def _has_begun(self, followed: Followed, page: Page | None) -> None:
        followed.is_beginning = False
        if followed.epoch:  # it is known by now
            followed.is_reading = False
            self._go_on(followed)
        else:
            self._has_top(followed, page)

    # --- what comes next ----------------------------------------------------------------------------------------------

    def _go_on(self, followed: Followed) -> None:
        while (publication := followed.next()) is not None:
            if publication.offset in followed.had:
                followed.had.discard(publication.offset)
                followed.doing = None
                continue
            assert isinstance(publication, Given)
            self._fan_out(followed, publication)
            break
        if not (followed.epoch or followed.is_new):
            return
        if followed.lacks and not followed.is_reading:
            self._read(followed)
        for newcomer in followed.newcomers:
            if newcomer.since is not None and not newcomer.is_asked and newcomer.offset != followed.last:
                newcomer.is_asked = True
                done = partial(self._has_shown, followed, newcomer)
                self._queue.read(followed.channel, newcomer.offset, PAGE, PAGE_BYTES, done)
        self._welcome(followed)

    def _welcome(self, followed: Followed, *, is_away: bool = False) -> None:
        """Those who are where all are become members. Whoever has not, because it has gone, is no reason to follow."""
        if not followed.newcomers or followed.is_welcoming:
            return
        followed.is_welcoming = True
        is_one_told = followed.welcome(is_away=is_away)
        followed.is_welcoming = False
        if is_one_told and followed.channel not in self._channels:
            self.forget(followed.channel)

    def _read(self, followed: Followed) -> None:
        followed.is_reading = True
        self._queue.read(followed.channel, followed.end, PAGE, PAGE_BYTES, partial(self._has_read, followed))

    def _has_read(self, followed: Followed, page: Page | None) -> None:
        followed.is_reading = False
        if page is None:
            followed.wanted = followed.end  # what is missing comes with what follows, or with the news
            return
        if page.epoch != followed.epoch:
            self._is_another(followed, page.epoch)
            followed.wanted = page.last
        elif not followed.read(page, self._of(followed, page.publications)):
            self._on_interrupted(followed.channel, Why.TRIMMED.value)
            followed.skip(page.first)
            followed.read(page, self._of(followed, page.publications))
        self._go_on(followed)

    def _has_shown(self, followed: Followed, newcomer: Newcomer, page: Page | None) -> None:
        newcomer.is_asked = False
        if page is None:
            newcomer.gives_up(Why.AWAY)
        else:
            followed.shows(newcomer, page, self._of(followed, page.publications))
        self._go_on(followed)

    def _of(self, followed: Followed, logged: list[Logged]) -> list[Publication]:
        """What was given out without the log, and another proxy has appended since, members have."""
        if self._given:
            followed.had.update(each.offset for each in logged if each.identity in self._given)
        for each in logged:  # its node may bring it to us when the log is away
            self._read_ones.add(each.identity, each.offset)
        return list(map(read_given, logged))

    def _is_another(self, followed: Followed, epoch: str) -> None:
        """All of it is to be given out: whatever is appended by us says whose log it is, so nothing has been yet."""
        self._on_interrupted(followed.channel, Why.OTHER_LOG.value)
        followed.begins_anew(epoch, 0)

    def _begun_anew(self, channel: str, epoch: str) -> None:
        followed = self._followed.get(channel)
        if followed is not None and epoch:
            self._is_another(followed, epoch)

    def _has_news(self, news: News | None) -> None:
        for channel, epoch, last in news[1] if news is not None else ():
            followed = self._followed.get(channel)
            if followed is None or followed.is_reading:
                continue
            if not followed.epoch:
                followed.knows(epoch, 0 if followed.is_new else last)
            elif epoch != followed.epoch:
                self._is_another(followed, epoch)
            followed.wanted = max(followed.wanted, last)
            self._go_on(followed)

    def tick(self, now: float) -> None:
        """Now and then: look for what no node has brought, and no more for what nobody has a filter for."""
        for channel in [each for each in self._by_filter if each not in self._channels]:
            del self._by_filter[channel]
            self.forget(channel)
        if self._followed and now >= self._asks_at and self._queue.is_blocking:
            self._asks_at = now + NEWS_INTERVAL
            self._queue.news(NEWS, self._has_news)

    def step(self, now: float) -> bool:
        """Turn's end. True: more is to be done at once."""
        return self._queue.step(now) or bool(self._busy)

    def under_way(self) -> list[FanOut]:
        """Fan-outs that have begun."""
        return [fan_out for _, fan_out in self._busy]

    def give_out(self, budget: int) -> int:
        """Go on with what is being given out, channels in turn. Returns what is left of the budget."""
        for _ in range(len(self._busy)):
            if budget <= 0:
                break
            followed, fan_out = self._busy.popleft()
            budget = self._channels.deliver(fan_out, budget)
            if fan_out.is_done:
                assert isinstance(followed.doing, Given)
                followed.doing.is_given = True
                followed.doing = None
                self._go_on(followed)
            else:
                self._busy.append((followed, fan_out))
        return budget
