"""The simulator can fail: each rule, taken away, is missed in the story that was made for it."""

from functools import partial

import pytest

from holdfast.balancer.cluster import changes, cluster, mastership, peers, times
from holdfast.balancer.cluster.absence import Absence
from holdfast.balancer.cluster.debts import Debts
from holdfast.balancer.cluster.grants import Grants
from holdfast.balancer.cluster.lingering import Lingering
from holdfast.balancer.cluster.membership import Membership
from holdfast.balancer.cluster.owners import Owners
from holdfast.balancer.cluster.sequence import Sequence, SequenceState
from holdfast.balancer.ledger import Ledger
from holdfast.balancer.remembered import Remembered
from holdfast.node.clients import Clients
from holdfast.node.exchange import Exchange
from holdfast.node.latest import Latest
from holdfast.node.links import Links
from holdfast.node.orphans import Estate, Heir
from holdfast.node.replica import Replica
from holdfast.node.stream import Stream
from holdfast.node.streams import Streams
from holdfast.protocols.peers.frames import Member
from holdfast.proxy.clients.shared import Shared
from holdfast.proxy.nodes.gateway import Gateway
from holdfast.proxy.nodes.keeper import Keeper
from holdfast.proxy.nodes.once import DUE, Once, Telling
from holdfast.proxy.nodes.steward import Steward
from holdfast.proxy.realtime.lanes import Lanes
from tests.sim import attempts, lives, promises, stores, stories, tellings
from tests.sim.checks import Violation
from tests.sim.stories import FOREVER, whole


class GenerousGrants(Grants):
    """Without the rule that a proxy grants nothing to another while its own last grant stands."""

    def renew(self, process, now):
        self._process = process
        return super().renew(process, now)


class DeafSequence(Sequence):
    """A gap is not seen."""

    def published(self, number, frames):
        self.last = max(self.last, number - 1) if self.state is not SequenceState.UNPROVEN else self.last
        return super().published(number, frames)


class TrustingSequence(Sequence):
    """Facts are asked for before the subscription is proven, and it goes on with what comes first."""

    def __init__(self, nonce, ask_interval):
        super().__init__(nonce, ask_interval)
        self.state = SequenceState.ASKING

    def published(self, number, frames):
        self.last = self.last or number - 1
        return super().published(number, frames)


def own_grant(patch):
    patch.setattr(mastership, "Grants", GenerousGrants)


def drift(patch):
    patch.setattr(times, "MAX_DRIFT", 0.0)


def barrier(patch):
    patch.setattr(Membership, "is_quiet", lambda self, now: True)


def established(patch):
    """Whoever was elected before the change goes on, whether others' grants still stand or not."""
    patch.setattr(Membership, "is_established", lambda self, now: self.record.epoch <= self.record.ballot)


def half_only_if_confirmed(patch):
    patch.setattr(changes, "_outweighs", lambda membership, group: 2 * len(group) >= len(membership.record.members))


def former_majority(patch):
    def outweighs(membership, group):
        twice, size = 2 * len(group), len(membership.record.members)
        return twice > size or (twice == size and membership.is_confirmed)

    patch.setattr(changes, "_outweighs", outweighs)


def gone_in_the_record(patch):
    patch.setattr(Membership, "gone", lambda self, ids, now: ())


def silence_before_it_is_a_member(patch):
    """It lists itself as soon as it is bound."""
    peers = Membership.peers

    def list_all(self, now):
        return peers(self, now) or [(self.me.proxy, self.me.router, True)]

    patch.setattr(Membership, "peers", list_all)


def ears_of_others(patch):
    patch.setattr(changes, "_may_evict", lambda membership, proxy, hears, now: True)


def majority_to_join(patch):
    def join(membership, live, now):
        if membership.is_member:
            return None
        members = (*membership.record.members, membership.me)
        return changes._changed(membership, members, now, is_firm=True, is_established=False)

    patch.setattr(changes, "join", join)


def hold_without_the_store(patch):
    patch.setattr(Absence, "is_proof_against_us", lambda self, now: False)


def gap(patch):
    patch.setattr(peers, "Sequence", DeafSequence)


def proof(patch):
    patch.setattr(peers, "Sequence", TrustingSequence)


def waking_up(patch):
    """Old messages count as signs of life."""
    patch.setattr(cluster.Cluster, "awoke", lambda self, now: None)


def any_member_elects(patch):
    """Only the keeper does."""
    patch.setattr(Membership, "turn", lambda self: 0 if self.is_keeper else float("inf"))


def same_settings(patch):
    patch.setattr(changes, "refusal", lambda membership, now: "")


def leases_of_former_settings(patch):
    patch.setattr(changes, "longest_grant", lambda lease: 0.0)


def hold_while_nobody_is_missing(patch):
    may_grant = Membership.may_grant

    def generous(self, now):
        if not self.missing(now):
            self.absence.read_at = now
        return may_grant(self, now)

    patch.setattr(Membership, "may_grant", generous)


def others_may_be_there(patch):
    patch.setattr(changes, "hindrance", lambda membership, live, now: "")


def asking_is_not_hearing(patch):
    published = cluster.Cluster._published

    def hearing(self, proxy, peer, number, frames, now):
        published(self, proxy, peer, number, frames, now)
        if peer.stream.state is SequenceState.ASKING:
            self.membership.heard(proxy, now)

    patch.setattr(cluster.Cluster, "_published", hearing)


def halves_read_the_store(patch):
    may_grant = Membership.may_grant

    def generous(self, now):
        self._ours_read_at = now
        return may_grant(self, now)

    patch.setattr(Membership, "may_grant", generous)


def halves_wait_for_longer(patch):
    patch.setattr(Membership, "_settling_time", property(lambda self: self.times.lease_wait))


def addresses_of_the_living(patch):
    """Whoever says to be where another is proves that this one is dead."""
    patch.setattr(Member, "outlives", Member.is_at)


def cards_of_the_dead(patch):
    """A name that is free proves a death, whether there is a card or not."""
    patch.setattr(Membership, "is_known_dead", lambda self, proxy: proxy in self._dead)


def debts_are_kept_back(patch):
    """Whom a lost node has owed is told to nobody."""
    patch.setattr(Debts, "lost", lambda self, run, owes, pending, had, now: None)


def nobody_owes(patch):
    """A node does not say whom it owes."""
    patch.setattr(Streams, "owes", lambda self, to="": [])


def lost_is_dead(patch):
    """One proxy's word that a node is lost is enough."""
    patch.setattr(Debts, "_miss", lambda self, run, due, lost_at, now: self._on_missed(run.node, now))


def owed_without_a_session_only(patch):
    """What was sent and is not acknowledged is nothing that others need to know of."""
    patch.setattr(Stream, "due", property(lambda self: self.owed and self.last))


def requests_are_owed_whoever_gets_them(patch):
    """What a request did is missed if its node dies, though another one does it."""
    patch.setattr(Remembered, "knows", lambda self, home, request, part: False)


def requests_owe_nothing(patch):
    """What a request did is never missed, whether another node does it or not."""
    patch.setattr(Remembered, "knows", lambda self, home, request, part: True)


def owed_whatever_has_come(patch):
    patch.setattr(Debts, "_has", lambda self, run, number: False)


def dead_say_nothing(patch):
    """What a dead node had said is thrown away."""
    died = Gateway.died

    def at_once(self, node_id, incarnation):
        died(self, node_id, incarnation)
        for link, node in list(self._nodes.items()):
            if node.id == node_id:
                link.close("the process is dead")
                self._lose(node, "its process died")

    patch.setattr(Gateway, "died", at_once)


def masters_take_turns(patch):
    """What a master does waits for its own lane only."""
    patch.setattr(Lanes, "as_master", lambda self, work, epoch: None)


def record_says_who_is_master(patch):
    """What was taken from a later epoch than we follow is forgotten."""
    heeds = Steward.heeds

    def forgetful(self, node, epoch):
        self._heeded = 0
        return heeds(self, node, epoch)

    patch.setattr(Steward, "heeds", forgetful)


def redelivered_has_its_number(patch):
    """Who knows one proxy sends what a handler did with the reply, whoever had the request before."""
    spread = Exchange._spread

    async def alone(self, kept):
        return (kept, None) if len(self.session.links.streams._streams) == 1 else await spread(self, kept)

    patch.setattr(Exchange, "_spread", alone)


def two_attempts(patch):
    """What kills its nodes goes on to the next one."""
    patch.setattr(Ledger, "max_attempts_reached", lambda self, entry: False)


def one_after_the_other(patch):
    """client.ordered is as without."""

    def share_in_flight(self, share):
        self.max_in_flight = self.max_asked = 64

    patch.setattr(Shared, "share_in_flight", share_in_flight)


def offered_first(patch):
    assign = Ledger.assign

    def at_once(self, entry, node, now):
        assign(self, entry, node, now)
        entry.is_offered = False

    patch.setattr(Ledger, "assign", at_once)


def sessions_in_order(patch):
    patch.setattr(Latest, "expect", lambda self, proxy, number: None)


def epochs_in_heartbeats(patch):
    patch.setattr(Gateway, "_told_epoch", lambda self, epoch: None)


def lists_of_older_sets(patch):
    """Whoever lists nobody's name says that it is gone."""
    introduced = Clients.introduced
    patch.setattr(
        Clients,
        "introduced",
        lambda self, listed, latest: introduced(self, dict.fromkeys(listed, 0), min(latest, 0)),
    )


def drained_is_remembered(patch):
    """It ends with a session."""
    lost = Links.lost

    def forgotten(self, session, *, for_good):
        self.is_drained = False
        lost(self, session, for_good=for_good)

    patch.setattr(Links, "lost", forgotten)


def nodes_have_more_than_who_was_keeper(patch):
    """Who was about to be above what nodes have is so still when others have kept the state meanwhile."""
    forsake = Keeper.forsake

    def forsaken(self):
        overruled = self._overruled
        forsake(self)
        self._overruled = overruled

    patch.setattr(Keeper, "forsake", forsaken)


def drained_gives_its_mastership_back(patch):
    """It stops when its lease ends."""
    patch.setattr(Links, "resign", lambda self: None)


def whoever_is_not_there_has_no_clients(patch):
    """Owners are asked about only now and then."""
    patch.setattr(Owners, "_heed", lambda self: None)


def founded_at_the_clock(patch):
    patch.setattr(Membership, "beginning", 1)


def only_indices_tell_versions(patch):
    """Not the number of the proposal that has set the key."""
    patch.setattr(Replica, "_version_of", lambda self, number, key: self.view.version(key) - 1)


def equal_is_the_same(patch):
    """What a node finds in the place of what it has set is taken for that."""
    patch.setattr(Replica, "_version_of", lambda self, number, key: self.view.version(key))


def nodes_keep_what_is_due(patch):
    patch.setattr(Heir, "lost", lambda self, prefix, view: None)


def coming_is_due(patch):
    """Of who had come, and was not told of."""
    lost = Heir.lost

    def forget(self, prefix, view):
        view.coming.clear()
        lost(self, prefix, view)

    patch.setattr(Heir, "lost", forget)


def inherited_is_marked(patch):
    opened, closed = Once.opened, Once.closed
    patch.setattr(Once, "opened", lambda self, client, info, number, before=0: opened(self, client, info, number))
    patch.setattr(
        Once, "closed", lambda self, client, info, reason, number, before=0: closed(self, client, info, reason, number)
    )


def sleepers_are_waited_for(patch):
    patch.setattr(Lingering, "asleep", Lingering.members)


def what_others_told_is_withdrawn(patch):
    """And what they may have told is marked."""
    withdraw = Once.withdraw
    patch.setattr(Once, "doubt", lambda self, prefix, told: None)
    patch.setattr(Once, "withdraw", lambda self, client, due, fate=0: withdraw(self, client, due, fate))


def what_was_taken_is_left_to_the_next_keeper(patch):
    """When it can't be ours any more, and not when we hear that it is not."""
    patch.setattr(Telling, "is_closed", property(lambda self: self.event.fate != DUE))


def a_part_has_its_number(patch):
    """All that is known amid a snapshot is as of whatever comes."""
    begin = Estate.__init__

    def all_is_new(self, view):
        begin(self, view)
        if self.later:
            self.later, self.newer = 1 << 60, {*self.coming, *self.going}

    patch.setattr(Estate, "__init__", all_is_new)


MUTANTS = [
    (what_others_told_is_withdrawn, tellings.frozen_while_some_wait_to_be_told, {}, Violation),
    (what_others_told_is_withdrawn, tellings.cut_off_while_one_leaves, {"fence": 10.0}, Violation),
    (
        what_was_taken_is_left_to_the_next_keeper,
        tellings.keeper_wakes_amid_the_next_one_s_telling,
        {"is_one_host": True},
        Violation,
    ),
    (
        a_part_has_its_number,
        tellings.proxy_dies_within_a_snapshot,
        {"proxies": 1, "nodes": 4, "is_alone": True},
        Violation,
    ),
    (nodes_keep_what_is_due, tellings.clients_of_a_dead_proxy, {"is_one_host": True}, AssertionError),
    (
        nodes_keep_what_is_due,
        tellings.clients_of_a_proxy_that_is_started_again,
        {"proxies": 1, "is_alone": True},
        AssertionError,
    ),
    (coming_is_due, tellings.clients_of_a_dead_proxy, {"is_one_host": True}, AssertionError),
    (inherited_is_marked, tellings.clients_of_a_dead_proxy, {"is_one_host": True}, AssertionError),
    (sleepers_are_waited_for, tellings.frozen_and_back, {}, (Violation, AssertionError)),
    (
        founded_at_the_clock,
        lives.restarted_alone_among_those_who_know_nothing,
        {"proxies": 1, "nodes": 2, "is_alone": True},
        Violation,
    ),
    (
        only_indices_tell_versions,
        promises.version_of_a_set_that_a_snapshot_tells_is_the_key_s,
        {"proxies": 1, "is_alone": True},
        Violation,
    ),
    (equal_is_the_same, promises.one_set_is_applied_once, {}, Violation),
    (nodes_have_more_than_who_was_keeper, promises.who_comes_back_looks_at_what_nodes_have, {"proxies": 2}, Violation),
    (whoever_is_not_there_has_no_clients, promises.keys_end_with_the_clients_of_the_dead, {}, AssertionError),
    (drained_is_remembered, promises.drained_is_drained, {}, AssertionError),
    (drained_gives_its_mastership_back, promises.drained_is_drained, {"lease": 4.0}, AssertionError),
    (lists_of_older_sets, lives.who_is_behind_knows_nobody_new, {}, Violation),
    (sessions_in_order, promises.welcome_that_was_held_up_closes_nobody, {}, Violation),
    (epochs_in_heartbeats, stores.node_hears_later_of_a_later_epoch, stores.FAR, Violation),
    (two_attempts, promises.deadly_request_ends_two_nodes, {"proxies": 2, "nodes": 4}, Violation),
    (one_after_the_other, promises.one_after_the_other, {"is_ordered": True}, Violation),
    (offered_first, promises.deadly_request_ends_two_nodes, {"proxies": 2, "nodes": 4}, Violation),
    (debts_are_kept_back, promises.owed_by_who_has_died, {}, AssertionError),
    (debts_are_kept_back, promises.owed_by_who_drains, {}, AssertionError),
    (nobody_owes, promises.owed_by_who_has_died, {}, AssertionError),
    (lost_is_dead, promises.owed_by_who_lives, {}, AssertionError),
    (owed_without_a_session_only, partial(promises.owed_by_who_dies_early, freezes=False), {}, AssertionError),
    (dead_say_nothing, promises.what_has_come_of_the_dead_is_heard, {"proxies": 1, "is_alone": True}, AssertionError),
    (requests_are_owed_whoever_gets_them, attempts.done_again, {}, AssertionError),
    (requests_owe_nothing, attempts.done_by_nobody, {}, AssertionError),
    (owed_whatever_has_come, promises.what_has_come_of_the_dead_is_heard, {}, AssertionError),
    (
        masters_take_turns,
        promises.orders_come_before_those_of_the_next,
        {"proxies": 1, "nodes": 2, "is_alone": True, "is_one_host": True},
        Violation,
    ),
    (
        record_says_who_is_master,
        promises.orders_of_a_former_master_come_too_late,
        {"nodes": 2, "fence": 10.0, "tunnels": False},
        Violation,
    ),
    (
        redelivered_has_its_number,
        promises.done_by_who_knew_two_proxies_is_not_done_by_who_knows_one,
        {"proxies": 2, "nodes": 1, "tunnels": False, "has_doormen": False},
        Violation,
    ),
    (any_member_elects, stores.keeper_loses_the_store_and_the_master_dies, {}, AssertionError),
    (same_settings, stores.newcomer_has_other_settings, {}, AssertionError),
    (
        leases_of_former_settings,
        stores.all_leave_and_others_with_other_settings_come,
        {"lease": 8.0, **stores.FAR},
        Violation,
    ),
    (hold_while_nobody_is_missing, stores.newcomer_takes_all_for_dead, stores.FAR, AssertionError),
    (hold_without_the_store, stores.newcomer_takes_all_for_dead, stores.FAR, AssertionError),
    (others_may_be_there, stores.emptied_store_has_its_record_again, {"timeout": 2.0}, AssertionError),
    (
        others_may_be_there,
        stores.emptied_store_and_a_node_that_knows_better,
        {"takeover": 30.0, **stores.FAR},
        Violation,
    ),
    (asking_is_not_hearing, stores.one_can_not_be_asked, {}, AssertionError),
    (halves_read_the_store, stores.halves_and_a_store_that_forgets, stores.HALVES, Violation),
    (halves_wait_for_longer, stores.halves_and_a_store_that_forgets, stores.HALVES, Violation),
    (cards_of_the_dead, lives.copies_of_a_machine_look_alike, {"is_one_host": True}, AssertionError),
    (addresses_of_the_living, stores.two_at_one_address, {}, AssertionError),
    (own_grant, stories.master_is_cut_from_one_proxy_after_another, {"lease": 2.0, "tunnels": False}, Violation),
    (
        drift,
        stories.master_is_cut_from_one_proxy_after_another,
        {"lease": 2.0, "rates": (1.083, 0.925), "node_heartbeat": 0.05, "tunnels": False},
        Violation,
    ),
    (barrier, stories.evicted_before_it_is_elected, {"proxies": 5, "lease": 4.0, "tunnels": False}, Violation),
    (established, stories.elected_before_it_is_evicted, {"proxies": 5, "lease": 4.0, "tunnels": False}, Violation),
    (
        half_only_if_confirmed,
        stories.one_does_not_hear_of_the_eviction,
        {"takeover": FOREVER, "tunnels": False},
        Violation,
    ),
    (
        former_majority,
        stories.one_does_not_hear_of_the_eviction,
        {"proxies": 5, "takeover": FOREVER, "tunnels": False},
        Violation,
    ),
    (hold_without_the_store, stories.minority_with_the_store_waits, {"takeover": 12.0}, Violation),
    (ears_of_others, stories.bridge_stays, {}, AssertionError),
    (majority_to_join, stories.newcomer_that_reaches_only_the_store_founds_nothing, {}, AssertionError),
    (gap, stories.lost_message_is_found_by_the_next, {}, Violation),
    (proof, stories.first_messages_after_subscribing, {}, Violation),
    (gone_in_the_record, lives.evicted_one_outlives_who_has_evicted_it, {"proxies": 2}, Violation),
    (silence_before_it_is_a_member, lives.newcomer_knows_of_nobody, {"proxies": 2}, Violation),
    (waking_up, lives.frozen_proxy_wakes_up_evicted, {}, AssertionError),
]


@pytest.mark.parametrize(("rule", "story", "settings", "error"), MUTANTS, ids=lambda it: getattr(it, "__name__", ""))
def test_without_the_rule_the_story_ends_badly(rule, story, settings, error, monkeypatch):
    """With one of a few seeds: of some rules a lucky order of events makes up for the lack."""
    rule(monkeypatch)
    for seed in range(1, 6):
        try:
            story(whole(seed, **settings))
        except error:
            return
    pytest.fail("nobody has missed it")
