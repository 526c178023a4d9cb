"""A proxy is told what it is owed, and its answer comes when it is owed more: see docs/adr/0032."""

from tests.sim.faults import heal
from tests.sim.promises import apart, in_channel, nodes, publish
from tests.sim.world import World


def an_answer_is_of_what_was_said(world: World) -> None:
    """It is asked about a run of a node and freezes. Meanwhile the run has come back, published more without reaching
    it, and died: its clients hear that or are closed, though its first answer comes after all of that."""
    random = world.random
    clients = apart(world, 4)
    books = [client.book for client in clients]
    node, far = nodes(world)[0], clients[0].proxy
    other = next(proxy for proxy in world.proxies.values() if proxy is not far)
    world.part({node.id}, {far.id})
    publish(world, node, 1, "red")
    world.run(0.8)
    world.reset(node.id, other.id)  # so the far one is told
    world.run(random.choice([0.001, 0.003, 0.01]))
    world.freeze(far.id)
    world.rejoin(node.id, far.id)
    world.run(random.uniform(1.0, 1.6))
    world.part({node.id}, {far.id})
    publish(world, node, 1, "red")
    world.run(random.uniform(0.6, 0.9))
    world.kill(node.id)
    world.lose(node.id, other.id)
    world.run(random.uniform(0.005, 0.3))
    world.thaw(far.id)
    world.run(20.0)
    heard = [book.joined["red"].last.get(node.id, 0) for book in books]
    for book, last in zip(books, heard, strict=True):
        assert last == max(heard) or book.ended == "interrupted", "who has missed it is told"
    world.start_node(node.name)
    heal(world)


def what_was_under_way_looks_no_younger(world: World) -> None:
    """A node dies that owes a proxy. One other tells it at once: its clients are closed, and come back. All that the
    third one says stands still meanwhile. What it said when the node died comes then, and closes nobody again."""
    clients = apart(world, 2)
    node, far = nodes(world)[0], clients[0].proxy
    near, other = [proxy for proxy in world.proxies.values() if proxy is not far]
    here = [client.book for client in clients if client.proxy is far]
    world.part({node.id}, {far.id})
    publish(world, node, 1, "red")
    world.run(0.8)
    world.hold_up(near.id, far.id)
    world.kill(node.id)
    for proxy in (near, other, far):
        world.lose(node.id, proxy.id)
    world.run(world.random.uniform(6.0, 7.0))
    assert all(book.ended == "interrupted" for book in here)
    fresh = in_channel(world, 1)
    while all(client.proxy is not far for client in fresh):
        fresh += in_channel(world, 1)
    books = [client.book for client in fresh]
    world.run(world.random.uniform(0.0, 4.0))
    world.let_pass(near.id, far.id)
    world.run(20.0)
    assert all(book.ended == "" for book in books), "they came after it was lost"
    world.start_node(node.name)
    heal(world)


def each_loss_is_waited_for(world: World) -> None:
    """The way of a node to one proxy breaks for a moment: the other is told what it is owed then, and gets it. Before
    that is settled the way to the other breaks, which does not see it; the node publishes, and dies."""
    clients = apart(world, 2)
    books = [client.book for client in clients]
    node, far = nodes(world)[0], clients[0].proxy
    (near,) = [proxy for proxy in world.proxies.values() if proxy is not far]
    world.part({node.id}, {far.id})
    publish(world, node, 1, "red")
    world.run(0.8)
    world.reset(node.id, near.id)
    world.rejoin(node.id, far.id)
    world.run(world.random.uniform(2.7, 3.1))
    world.reset(node.id, far.id, proxy_notices=False)
    world.run(0.03)
    world.part({node.id}, {far.id})
    publish(world, node, 1, "red")
    world.run(0.7)
    world.kill(node.id)
    world.lose(node.id, near.id)
    world.run(20.0)
    heard = [book.joined["red"].last.get(node.id, 0) for book in books]
    for book, last in zip(books, heard, strict=True):
        assert last == max(heard) or book.ended == "interrupted", "who has missed it is told"
    world.start_node(node.name)
    heal(world)
