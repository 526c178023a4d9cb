"""Stories of what nodes and clients are promised: deliveries, effects, the state. See tests.sim.stories."""

from math import inf

from holdfast.balancer.cluster.debts import PATIENCE
from holdfast.balancer.directory import NodeState
from tests.sim.clients import Client
from tests.sim.faults import heal
from tests.sim.nodes import OF_MASTER, SimNode
from tests.sim.proxies import SimProxy
from tests.sim.store import STORE
from tests.sim.stories import FOREVER, members, soon, until
from tests.sim.world import World


def nodes(world: World) -> list[SimNode]:
    return list(world.nodes.values())


def answer(world: World, client: Client, kind: str, *arguments: object) -> object:
    """What the client is answered: the reply, or the reason of an error."""
    number = client.ask(kind, *arguments)
    book = client.book
    until(world, world.config.request.timeout + 1.0, lambda: number in book.answers, f"{kind} is answered")
    return book.answers[number]


def in_channel(world: World, count: int, channel: str = "red") -> list[Client]:
    """Clients that have joined it."""
    clients = [world.start_client() for _ in range(count)]
    until(world, 5.0, lambda: all(client.is_linked for client in clients), "they are connected")
    for client in clients:
        assert answer(world, client, "join", channel) == b"joined"
    return clients


def apart(world: World, count: int) -> list[Client]:
    """The same, at more than one proxy: more of them, if chance wants so."""
    clients = in_channel(world, count)
    while all(client.proxy is clients[0].proxy for client in clients):
        clients += in_channel(world, 1)
    return clients


def publish(world: World, node: SimNode, count: int, channel: str = "red") -> None:
    async def run() -> None:
        for _ in range(count):
            await node.notify(channel)

    node.spawn(run)


def set_keys(world: World, count: int) -> None:
    """Set as many keys, by all nodes in turn, and wait until each is acknowledged."""
    for number in range(count):
        node = nodes(world)[number % len(world.nodes)]
        node.start_set(f"key {number}", number)
    until(world, 12.0, lambda: world.checks.is_all_set(), "all keys are set")


def nodes_lost(world: World) -> int:
    return sum(proxy.app.counters.nodes_lost for proxy in world.proxies.values())


# --- deliveries -------------------------------------------------------------------------------------------------------


def burst_is_delivered(world: World) -> None:
    """Far more than there is room for, at once, to clients that read. Nobody is given up, and nothing is missing."""
    in_channel(world, 4)
    lost = nodes_lost(world)
    for proxy in world.proxies.values():
        proxy.passes, proxy.pause = 1, 0.01
    publish(world, nodes(world)[0], 4000)
    world.run(30.0)
    assert nodes_lost(world) == lost, "nobody is given up"
    assert all(client.book.ended == "" for client in world.clients)
    heal(world)


def cut_link_holds_no_holes(world: World) -> None:
    """The only link of a node is cut for some seconds while it publishes."""
    in_channel(world, 2)
    node, (proxy, *_) = nodes(world)[0], world.proxies
    publish(world, node, 3)
    world.run(0.5)
    world.part({node.id}, {proxy})
    for number in range(20):
        world.later(0.2 * number, publish, world, node, 3)
    world.run(4.0)
    world.mend()
    world.run(3.0)
    heal(world)


def reset_link_holds_no_holes(world: World) -> None:
    """A connection is reset while a node publishes: what was under way is lost there, and comes again."""
    in_channel(world, 2)
    node = nodes(world)[0]
    for number in range(60):
        world.later(0.05 * number, publish, world, node, 3)
    for number in range(3):
        world.later(0.5 + number, _reset_all, world)
    world.run(4.0)
    heal(world)


def _reset_all(world: World) -> None:
    for wire in list(world.wires):
        wire.break_off()


def another_way_takes_over(world: World) -> None:
    """A node publishes through a tunnel while its direct link comes to stand: what was under way goes the other way."""
    in_channel(world, 4)
    node = nodes(world)[0]
    world.max_delay = 0.1
    for _ in range(6):
        far = world.random.choice(list(world.proxies))
        world.part({node.id}, {far})
        publish(world, node, 60)
        world.run(3.0)
        publish(world, node, 200)
        world.mend()
        world.run(1.5)
    heal(world)


def welcome_that_was_held_up_closes_nobody(world: World) -> None:
    """What a proxy says to a node is held up. A tunnel is made, and clients come; then the first welcome arrives, and
    a snapshot without them."""
    for node in [node for node in nodes(world) if node.knows_clients]:
        for proxy in world.proxies.values():
            ends = (node.id, proxy.id)
            former = world.wires_of(*ends)
            world.reset(*ends)
            world.max_delay = 0.3
            soon(world, lambda ends=ends, former=former: set(world.wires_of(*ends)).difference(former), "it dials")
            world.cut.add((proxy.id, node.id))
            world.max_delay = 0.005
            until(world, 4.0, lambda node=node, proxy=proxy: _is_passed(node, proxy), "it is linked another way")
            clients = [world.start_client() for _ in range(4)]
            until(world, 2.0, lambda node=node, new=clients: all(c.id in node.told for c in new), "it knows all")
            world.mend()
            world.run(2.0)
    heal(world)


def _is_passed(node: SimNode, proxy: SimProxy) -> bool:
    session = node.node._parts.links.sessions.get(proxy.id)
    return session is not None and session.via == proxy.id


def who_moves_hears_nothing_again(world: World) -> None:
    """A client comes from one proxy to another, which had nobody in the channel: nodes held back what is for it."""
    (client,) = in_channel(world, 1)
    node = nodes(world)[0]
    for number in range(3000):
        world.later(0.01 * number, publish, world, node, 1)
    moves = 0
    for _ in range(20):
        world.run(0.7)
        before, former = client.book, client.proxy
        client.leave(resets=True)
        world.run(0.1)  # longer than anything is on its way
        client.connect()
        soon(world, lambda: client.is_linked)
        number = client.ask("join", "red")
        soon(world, lambda number=number: number in client.book.answers)
        world.run(0.2)
        moves += client.proxy is not former
        last, first = before.joined["red"].last[node.id], client.book.joined["red"].first[node.id]
        assert first > last, f"{first} comes again after {last}"
    assert moves > 5, "there was something to hear again"
    heal(world)


def owed_by_who_has_died(world: World, *, drains: bool = False) -> None:
    """A proxy is frozen, and nodes give up their links to it. One of them answers a request elsewhere that notifies its
    clients, publishes something more, and is gone before the proxy wakes up."""
    clients = apart(world, 8)
    far = clients[0].proxy
    asker = next(client for client in clients if client.proxy is not far)
    missing = [client.book for client in clients if client.proxy is far]
    heard = [client.book for client in clients if client.proxy is not far]
    world.freeze(far.id)
    world.run(world.config.node.heartbeat_timeout + 0.5)
    asked = world.time
    node = world.nodes[bytes(answer(world, asker, "tell", "red", [])).decode()]
    number = max(asker.book.answers)
    assert world.time - asked < 0.5, "nobody waits for the proxy any more"
    publish(world, node, 3)
    world.run(0.2)
    if drains:
        node.drain()
        until(world, 4.0, lambda: not node.is_alive, "it has left")
    else:
        world.kill(node.id)
    world.run(0.5)
    world.thaw(far.id)
    until(world, 10.0, lambda: all(book.ended for book in missing), "who has missed something is told")
    assert {book.ended for book in missing} == {"interrupted"}
    assert not any(book.ended for book in heard), "and nobody else"
    assert all((number, 0) in book.effects for book in heard)
    until(world, 10.0, lambda: all(client.is_linked for client in clients), "they come again")
    back = [client.book for client in clients]
    world.run(2 * PATIENCE * world.config.node.heartbeat_timeout)
    assert not any(book.ended for book in back), "once is enough"
    heal(world)


def owed_by_who_dies_early(world: World, *, freezes: bool = True, seconds: float = 4.0) -> None:
    """A proxy is frozen, or the link of one node to it is cut, and that node dies before it can know of it. What it had
    sent there is lost in part: who has missed something is told, and nobody else."""
    clients = apart(world, 8)
    far, node = clients[0].proxy, nodes(world)[0]
    missing = [client.book for client in clients if client.proxy is far]
    heard = [client.book for client in clients if client.proxy is not far]
    if freezes:
        world.freeze(far.id)
    else:
        world.part({node.id}, {far.id})
    publish(world, node, 3)
    world.run(world.config.node.heartbeat_interval + 0.2)
    publish(world, node, 1)  # which it has not told the others of
    world.kill(node.id)
    world.run(seconds)
    last = [book.joined["red"].last.get(node.id, 0) for book in missing]
    world.thaw(far.id)
    world.mend()
    world.run(2 * PATIENCE * world.config.node.heartbeat_timeout)
    for book, had in zip(missing, last, strict=True):
        has = book.joined["red"].last.get(node.id, 0)
        assert has >= 3 or book.ended == "interrupted", f"it has {has} of 3, had {had}, and is {book.ended or 'here'}"
    assert not any(book.ended for book in heard)
    heal(world)


def owed_by_who_answers_and_dies(world: World) -> None:
    """Of two requests the effects of the first are in a frozen proxy's socket, those of the second are not. Both are
    answered, and then the node is gone before its next heartbeat."""
    clients = in_channel(world, 8)
    far = clients[0].proxy
    asker = next(client for client in clients if client.proxy is not far)
    missing = [client.book for client in clients if client.proxy is far]
    heard = [client.book for client in clients if client.proxy is not far]
    (node,) = nodes(world)
    world.freeze(far.id)
    for _ in range(2):
        number = asker.ask("tell", "red", [])
        soon(world, lambda number=number: number in asker.book.answers, "it is answered")
    world.kill(node.id)
    world.run(0.5)
    world.thaw(far.id)
    until(world, 10.0, lambda: all(book.ended for book in missing), "who has missed something is told")
    assert not any(book.ended for book in heard)
    world.start_node("another")
    heal(world)


def owed_what_has_found_no_room(world: World) -> None:
    """More effects of handlers than a proxy's window has room for, while that stands still. Others have carried them
    out; then the node dies."""
    clients = in_channel(world, 8)
    far = clients[0].proxy
    asker = next(client for client in clients if client.proxy is not far)
    missing = [client.book for client in clients if client.proxy is far]
    heard = [client.book for client in clients if client.proxy is not far]
    (node,) = nodes(world)
    world.freeze(far.id)
    for _ in range(12):
        asker.ask("tell", "red", [])
    world.run(world.config.node.heartbeat_interval + 0.2)
    world.kill(node.id)
    world.run(0.2)
    world.thaw(far.id)
    world.run(2 * PATIENCE * world.config.node.heartbeat_timeout)
    for book in missing:
        assert book.ended or all(set(book.effects) >= set(other.effects) for other in heard), "a hole"
    assert any(other.effects for other in heard)
    assert not any(book.ended for book in heard)
    world.start_node("another")
    heal(world)


def what_has_come_of_the_dead_is_heard(world: World) -> None:
    """All that a node has said is at a proxy that stands still, and its death is known there first: nothing is missing,
    and nobody is closed."""
    clients = in_channel(world, 8)
    books = [client.book for client in clients]
    far, node = clients[0].proxy, nodes(world)[0]
    world.freeze(far.id)
    publish(world, node, 5)
    world.run(world.config.node.heartbeat_interval + 0.1)  # it is in the proxy's socket, and the others know of it
    for proxy in world.proxies.values():
        world.later(0.0, proxy.when_awake, proxy.app._node_died, node.name, node.incarnation)
    world.run(0.1)
    world.kill(node.id)
    world.run(0.3)
    world.thaw(far.id)
    world.run(1.0)
    assert {book.joined["red"].last.get(node.id, 0) for book in books} == {5}
    world.run(2 * PATIENCE * world.config.node.heartbeat_timeout)
    assert not any(book.ended for book in books)
    heal(world)


def owed_by_who_drains(world: World) -> None:
    """Likewise, and the node leaves as it should, without having brought all."""
    owed_by_who_has_died(world, drains=True)


def owed_by_who_lives(world: World) -> None:
    """A node owes a frozen proxy, and is cut off from all others: they take it for lost, but it brings what it has."""
    clients = in_channel(world, 8)
    books = [client.book for client in clients]
    far, node = clients[0].proxy, nodes(world)[0]
    rest = {proxy for proxy in world.proxies if proxy != far.id}
    world.freeze(far.id)
    world.run(world.config.node.heartbeat_timeout + 0.5)
    publish(world, node, 3)
    world.run(1.0)
    world.part({node.id}, rest)
    lost = nodes_lost(world)
    world.run(world.config.node.heartbeat_timeout + 0.5)
    assert nodes_lost(world) > lost, "the others have lost it"
    world.thaw(far.id)
    world.run(2 * PATIENCE * world.config.node.heartbeat_timeout)
    assert not any(book.ended for book in books), "nobody has missed anything"
    world.mend()
    heal(world)


# --- the master's orders ----------------------------------------------------------------------------------------------


def orders_come_before_those_of_the_next(world: World) -> None:
    """What a master has said fills its lane when it is killed, and the next one acts at once: the death is seen. All
    that has come is heard, and before all that the next one says."""
    books = [client.book for client in in_channel(world, 4, OF_MASTER)]
    (master,) = world.acting()
    former = world.nodes[master]
    (proxy,) = world.proxies.values()
    proxy.passes, proxy.pause = 1, 0.01
    former.orders, former.beside = 100, [f"{number:x}" for number in range(280)]
    lane = proxy.app.effects._of[former.name]
    soon(world, lambda: lane.frames > 3, "it has much to do")
    world.kill(master)
    soon(world, lambda: lane.gone_at < inf, "it is lost")
    assert lane.frames > 3, "and much is left"
    until(world, 8.0, lambda: all(len(book._masters) == 2 for book in books), "the next one is heard")
    world.run(3.0)
    assert lane.done == lane.last, "all that had come is done"
    heal(world)


def orders_of_a_former_master_come_too_late(world: World) -> None:
    """A proxy is cut off and does not hear of the election, but from the one that is elected. Then the former master,
    which was cut from it before, reaches it again with what it has for it."""
    clients = in_channel(world, 6, OF_MASTER)
    (master,) = world.acting()
    keeper = members(world)[0]
    while all(client.proxy is keeper for client in clients):
        clients += in_channel(world, 1, OF_MASTER)
    client = next(client for client in clients if client.proxy is not keeper)
    far, book = client.proxy, client.book
    rest = {proxy for proxy in world.proxies if proxy != far.id}
    world.part({master}, {far.id})
    world.run(2.5)
    world.part({far.id}, {*rest, STORE})
    world.part({master}, rest)
    until(world, 8.0, lambda: set(world.acting()) - {master}, "another one acts")
    world.run(1.2)
    record = far.cluster.membership.record
    assert record.epoch < book._epoch, "it is heard there, and its election is not known"
    refused = far.app.counters.stale_effects
    world.rejoin(master, far.id)
    until(world, 5.0, lambda: far.app.counters.stale_effects > refused, "what the former one had is refused")
    assert far.cluster.membership.record is record
    heal(world)


# --- requests and their effects ---------------------------------------------------------------------------------------


def bad_effects_are_answered(world: World) -> None:
    """A reply whose effects can't be read answers its request all the same, with an error."""
    (client,) = in_channel(world, 1)
    assert answer(world, client, "bad") != b"done"
    heal(world)


def own_notification_comes_before_the_reply(world: World) -> None:
    """Also with more members than a turn can serve."""
    clients = in_channel(world, 40)
    everybody = [other.id for other in clients]
    for client in (clients[0], clients[-1]):
        assert bytes(answer(world, client, "tell", "red", everybody)).decode() in world.nodes
        assert {place for _, place in client.book.effects} == {0, 1}
    heal(world)


def done_by_who_knew_two_proxies_is_not_done_by_who_knows_one(world: World) -> None:
    """A node has done at one proxy what a handler did, and waits for the other one, which it does not reach. It is cut
    off, and that one leaves; the next node never hears of it."""
    clients = in_channel(world, 8)
    far = clients[0].proxy
    asker = next(client for client in clients if client.proxy is not far)
    home, (node,) = asker.proxy, nodes(world)
    assert home is not None
    for client in clients:
        if client.proxy is far:
            client.leave(resets=False)
    world.part({node.id}, {far.id})
    number = asker.ask("tell", "red", [])
    soon(world, lambda: (number, 0) in asker.book.effects, "its effects are done there")
    world.part({node.id}, {home.id})
    far.leave()
    soon(world, lambda: len(home.cluster.membership.record.members) == 1, "it has left")
    another = world.start_node("another")
    until(world, 3.0, lambda: number in asker.book.answers, "it is answered")
    assert asker.book.answers[number] == another.encode(), "by another one"
    world.mend()
    heal(world)


def last_words_are_heard(world: World) -> None:
    """What is notified before a close comes before it, also behind a broadcast to many."""
    clients = in_channel(world, 40)
    victim = clients[-1]
    book = victim.book
    victim.stays = False

    number = clients[0].ask("kick", victim.id)
    until(world, 3.0, lambda: book.ended == "kicked", "it is closed")
    assert book.effects == {(number, 0), (number, 1)}
    heal(world)


def deadly_request_ends_two_nodes(world: World) -> None:
    """And no third: who asks is told, and whoever is left serves others. Again and again."""
    (client,) = in_channel(world, 1)
    for _ in range(5):
        before = world.next_number()
        assert answer(world, client, "die") == "quarantined"
        world.run(5.0)
        [begun] = [begun for number, begun in world.checks.begun.items() if number > before]
        assert len(begun) == world.config.request.max_attempts
        assert answer(world, client, "echo") == b"echo"
    heal(world)


def one_after_the_other(world: World) -> None:
    """With client.ordered, though the node that has the first one is killed: R6 looks."""
    (client,) = in_channel(world, 1)
    for _ in range(5):
        numbers = [client.ask("slow", 0.3), client.ask("echo"), client.ask("slow", 0.1), client.ask("echo")]
        soon(world, lambda numbers=numbers: numbers[0] in world.checks.begun)
        (node,) = world.checks.begun[numbers[0]]
        name = world.nodes[node].name
        world.kill(node)
        until(world, 5.0, lambda numbers=numbers: numbers[-1] in client.book.answers, "the last one is answered")
        assert [number for number in client.book.answers if number in numbers] == numbers
        world.start_node(name)
    heal(world)


def who_die_together_take_nothing_along(world: World) -> None:
    """A request is at one of those that are killed at one moment; what is left of them is not known to be dead."""
    (client,) = in_channel(world, 1)
    for _ in range(10):
        number = client.ask("slow", 0.3)
        soon(world, lambda number=number: number in world.checks.begun)
        (first,) = world.checks.begun[number]
        dead = [first, *[node for node in world.nodes if node != first][:-1]]
        names = [world.nodes[node].name for node in dead]
        for node in dead:
            world.kill(node)
        until(world, 2.0, lambda number=number: number in client.book.answers, "it is answered")
        assert client.book.answers[number] == b"slow"
        for name in names:
            world.start_node(name)
        world.run(5.0)
    heal(world)


# --- the state --------------------------------------------------------------------------------------------------------


def state_survives_a_restart_of_all_proxies(world: World) -> None:
    """Again and again, and each time for so long that nodes look for them only now and then."""
    set_keys(world, 10)
    world.be_at_peace(FOREVER)  # so nodes bring it all
    routers = [proxy.router for proxy in world.proxies.values()]
    for _ in range(4):
        for proxy in list(world.proxies.values()):
            proxy.leave()
        until(world, 10.0, lambda: not world.proxies, "all have left")
        world.run(10.0)
        for router in routers:
            world.start_proxy(router)
        world.run(5.0)
        heal(world)


def state_survives_the_death_of_all_proxies(world: World) -> None:
    """Likewise, by SIGKILL."""
    set_keys(world, 3)
    world.be_at_peace(FOREVER)
    routers = [proxy.router for proxy in world.proxies.values()]
    for pause in (0.5, 3.0, 10.0, 10.0):
        for proxy in list(world.proxies.values()):
            world.kill(proxy.id)
        world.run(pause)
        for router in routers:
            world.start_proxy(router)
        world.run(5.0)
        heal(world)


def state_survives_where_nobody_refuses(world: World) -> None:
    """The proxy's machine is gone, and what dials it is left without an answer: the nodes must be back all the same
    before the next proxy has waited long enough, because one without the state may have come by then."""
    set_keys(world, 3)
    (proxy,) = world.proxies.values()
    for _ in range(10):
        world.silent.add(proxy.router)
        world.kill(proxy.id)
        world.run(world.random.uniform(8.0, 11.0))
        world.start_proxy(proxy.router)
        (proxy,) = world.proxies.values()
        until(world, 1.0, lambda proxy=proxy: proxy.router in world.bound, "it serves")
        world.silent.clear()
        world.run(0.75 * world.config.state.recover_timeout)
        assert {node.id for node in proxy.app.directory.nodes.values()} == {node.name for node in nodes(world)}
        world.run(2.0)
    heal(world)


def acknowledged_set_is_not_undone(world: World) -> None:
    """The keeper is frozen under writes, evicted, and let in again; it must not come back with what it had then. Nor
    may it say that what nodes have is given up, before it knows that it was away."""
    keeper, *rest = members(world)
    lines: list[str] = []
    world._log = lines.append
    for number in range(40):
        for node in nodes(world):
            world.later(0.05 * number, _set, world, node, "key k", world.next_number())
    world.later(0.6, world.freeze, keeper.id)
    world.run(3.0)
    until(world, 8.0, lambda: keeper.id not in rest[0].cluster.membership.record.ids, "it is evicted")
    world.thaw(keeper.id)
    until(world, 15.0, world.checks.is_whole, "it is in again")
    world._log = None
    assert not [line for line in lines if "state_given_up" in line]
    node = nodes(world)[0]
    final = world.next_number()
    node.start_set("key k", final)
    until(world, 10.0, world.checks.is_all_set, "it is set at last")
    for proxy in rest:
        proxy.leave()
    (master,) = world.acting()
    world.kill(master)
    world.run(10.0)
    heal(world)


def who_comes_back_looks_at_what_nodes_have(world: World) -> None:
    """The keeper is cut off from the other one and the store, but not from nodes. They have more than it has, by the
    other's word, and it means to be above that. Then it is evicted, the other one leaves, and it founds anew."""
    keeper, other = members(world)
    set_keys(world, 3)
    world.part({keeper.id}, {STORE, other.id})
    until(world, 8.0, lambda: other.cluster.membership.record.ids == (other.id,), "it is evicted")
    set_keys(world, 6)
    until(world, 2.0, lambda: keeper.cluster.replication.above > 0, "nodes have told it that there is a later state")
    other.leave()
    until(world, 8.0, lambda: other.id not in world.proxies, "it has left")
    heal(world)
    assert keeper.is_alive


def _set(world: World, node: SimNode, key: str, number: int) -> None:
    if node.is_alive:
        node.start_set(key, number)


def reset_link_of_the_master_leaves_the_state_writable(world: World) -> None:
    """The connection between master and keeper breaks, under many writes. Later ones are done."""
    keeper = members(world)[0]
    for number in range(100):
        for node in nodes(world):
            world.later(0.04 * number, _set, world, node, f"key {number % 7}", world.next_number())
    (master,) = world.acting()
    for number in range(4):
        world.later(0.7 + 0.9 * number, world.reset, master, keeper.id)
    world.run(6.0)
    began = world.time
    for node in nodes(world):
        node.start_set("key later", world.next_number())
    until(world, 10.0, lambda: world.checks.is_set_since("key later", began, len(world.nodes)), "later ones are done")
    heal(world)


def version_of_a_set_that_a_snapshot_tells_is_the_key_s(world: World) -> None:
    """What the proxy said to one node is held up, and lost when it is killed. The others bring it to the next one."""
    world.be_at_peace(FOREVER)
    for number in range(3):
        (proxy,) = world.proxies.values()
        node = nodes(world)[number % len(world.nodes)]
        world.cut.add((proxy.id, node.id))
        node.start_set("key k", number)
        node.start_set(f"key {number}", number)
        others = [other for other in nodes(world) if other is not node]
        soon(world, lambda number=number, others=others: all(f"key {number}" in other.items() for other in others))
        assert not world.checks.is_all_set()
        world.kill(proxy.id)
        world.mend()
        world.start_proxy(proxy.router)
        until(world, 9.0, world.checks.is_all_set, "the snapshot has told it")
        world.run(3.0)
    heal(world)


def drained_is_drained(world: World) -> None:
    """The master, by an operator at one proxy; then its link is lost, and then all proxies begin again."""
    (master,) = world.acting()
    node = world.nodes[master]
    next(reversed(world.proxies.values())).drain(node.name)
    soon(world, lambda: set(world.acting()) - {node.id}, "another acts, without waiting for a lease to end")

    def is_so() -> bool:
        seen = [proxy.app.directory.nodes.get(node.name) for proxy in world.proxies.values() if proxy.is_up]
        if {found and (found.state, found.says_drained) for found in seen} != {(NodeState.DRAINING, True)}:
            return False
        return len(world.acting()) == 1 and node.id not in world.acting() and not world.checks.lack_of_cluster()

    until(world, 2.0, is_so, "it knows it, and so do all")
    world.freeze(node.id)
    world.run(4.0)
    node.thaw()
    until(world, 6.0, is_so, "it has said so in its next sessions")
    for proxy in list(world.proxies.values()):
        world.kill(proxy.id)
        world.later(1.0, world.start_proxy, proxy.router)
    world.run(1.5)
    until(world, 25.0, is_so, "it has said so to those that came")
    clients = in_channel(world, 3)
    for number in range(12):
        assert answer(world, clients[number % 3], "echo") == b"echo"
    assert not any(node.id in begun for begun in world.checks.begun.values())
    assert node.id not in world.acting()
    world.kill(node.id)
    world.start_node(node.name)
    heal(world)


def keys_end_with_the_clients_of_the_dead(world: World) -> None:
    """Proxies are killed, one of them for good: when nodes are told that its clients are closed their keys end, too."""
    for is_back in (False, True):
        clients = apart(world, 6)
        keeper = members(world)[0]
        victim = next(client.proxy for client in clients if client.proxy not in (keeper, None))
        theirs = [client for client in clients if client.proxy is victim]
        keys = [f"own {client.id}" for client in theirs]
        for client, key in zip(theirs, keys, strict=True):
            assert answer(world, client, "own", key) == b"owned"
        router = victim.router
        world.kill(victim.id)
        if is_back:
            world.start_proxy(router)
        rest = [proxy for proxy in world.proxies.values() if proxy.is_up]

        def is_known(id: str = victim.id, rest: list[SimProxy] = rest) -> bool:
            return any(id in proxy.cluster.membership.prefixes(proxy.now).values() for proxy in rest)

        began = world.time
        until(world, world.times.heartbeat_timeout + world.times.grace + 2.0, lambda: not is_known(), "nobody has it")
        assert is_back == (world.time - began < world.times.grace)
        states = [node.node.state for node in nodes(world)]
        soon(world, lambda: not any(key in state for state in states for key in keys), "they have ended")  # noqa: B023
        if not is_back:
            world.start_proxy(router)
        heal(world)


def one_set_is_applied_once(world: World) -> None:
    """What is said to the first is held up; it relinks and asks again, after another has set the key anew."""
    keeper = members(world)[0]
    master = world.acting()[0]
    first, second = (node for node in nodes(world) if node.id != master)
    world.cut.add((keeper.id, first.id))
    first.start_set("key k", 1)
    world.run(0.5)
    second.start_set("key k", 2)
    until(world, 5.0, lambda: world.checks.is_set_since("key k", 0.0, 1), "the second is done")
    world.run(0.2)
    world.reset(first.id, keeper.id)
    world.mend()
    world.run(6.0)
    assert all(node.node.state["key k"] == 2 for node in nodes(world)), "the later one is not undone"
    heal(world)
