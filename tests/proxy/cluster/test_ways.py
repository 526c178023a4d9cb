"""Sessions of nodes by way of another proxy, with real proxies of one process."""

from holdfast.balancer.coordination.memory import MemoryCoordinator
from holdfast.balancer.directory import NodeState
from holdfast.protocols.nodes import frames
from holdfast.protocols.nodes.frames import encode_batch
from tests.harness import ScriptedNode, websocket
from tests.proxy.cluster.proxies import Killable, cluster_of, id_of, ids, joined


def by_way_of(proxy, destination, **hello):
    """A node that dials `proxy` for a session with the other one."""
    node = ScriptedNode(proxy.node, **hello)
    node.say_raw(encode_batch(0, [frames.Via(destination)]))
    node.say(node.hello)
    return node


async def test_requests_go_through_and_replies_come_back():
    async with cluster_of(2) as (far, near):
        with by_way_of(near, id_of(far)) as node:
            await node.finish_join()  # far is the keeper, so it has the state
            assert near.app.directory.nodes == {}
            assert near.app.runner.tunnels == 1
            async with websocket(far) as client:
                for number in range(20):
                    await client.send(str(number))
                for number in range(20):
                    await node.reply(payload=b"to %d" % number)
                    assert await client.recv() == f"to {number}"
            session = far.app.directory.nodes[node.id]
        await far.until(lambda: session.state is NodeState.LOST, "it to be known at once that the node has gone")
        await near.until(lambda: near.app.runner.tunnels == 0, "the tunnel's end")


async def test_the_way_takes_what_the_destination_does_and_no_less():
    """Whatever is larger ended the connection between the proxies, and was missing in the session."""
    store = MemoryCoordinator()
    narrow = {"node": {"max_frame_bytes": 128 << 10}, "client": {"max_message_bytes": 1 << 16, "max_body_bytes": 1}}
    async with joined(store) as far, joined(store, **narrow) as near:
        await near.until(lambda: len(ids(near)) == 2, "both to be members")
        with by_way_of(near, id_of(far)) as node:
            await node.finish_join()
            async with websocket(far) as client:
                for _ in range(2):
                    await client.send("x" * 500_000)
                    await node.reply()
                    assert await client.recv() == "x" * 500_000
        with ScriptedNode(near.node) as node:  # of its own
            await node.join(keeper=False)
            node.say(frames.Reply(1, 1, bytes(200_000), False))
            assert "expected a batch of at most 131072 bytes" in (await node.take(frames.Refused)).reason
            await near.until(lambda: not near.app.directory.nodes, "it to be lost")


async def test_the_destination_ends_the_session():
    async with cluster_of(2) as (far, near):
        with by_way_of(near, id_of(far)) as node:
            await node.finish_join()
            node.say(frames.Bye("enough"))
            assert (await node.take(frames.Refused)).reason == "bye"


async def test_it_ends_when_the_way_does(nursery):
    async with cluster_of(2) as proxies:
        store = proxies[0].app.runner._coordinator
        third = Killable(store)
        await nursery.start(third.run)
        far, near = proxies
        await near.until(lambda: len(ids(near)) == 3, "the third to be a member")
        with by_way_of(near, third.app.runner.cluster.me.proxy) as lost, by_way_of(near, id_of(far)) as kept:
            await near.until(lambda: third.app.directory.nodes and far.app.directory.nodes, "sessions")
            third.kill()
            assert (await lost.take(frames.Refused)).reason == "that proxy is not heard any more"
            await kept.finish_join()


async def test_what_goes_to_a_dead_proxy_is_not_its_successors():
    """libzmq connects again to whoever has the address. A node's hello to the dead one would end its session here."""
    async with cluster_of(2) as (far, near):
        with ScriptedNode(far.node) as node:
            await node.join()
            session, answers = far.app.directory.nodes[node.id], []
            runner = near.app.runner
            runner.cluster.on_tunnelled = lambda peer, frame: answers.append(
                (peer, frame.session, frame.data, frame.back)
            )
            hello = encode_batch(1, [node.hello])
            runner._links[id_of(far)].send(runner.cluster.tunnel("the dead one", b"way", hello, back=False))
            await near.until(lambda: answers, "an answer")
            assert answers == [(id_of(far), b"way", b"", True)]
            assert far.app.directory.nodes[node.id] is session


async def test_one_hop_only():
    async with cluster_of(2) as (far, near):
        with by_way_of(near, "nobody") as node:
            assert (await node.take(frames.Refused)).reason == "that proxy is not heard here"
            node.say(frames.Heartbeat(0.0))
            with ScriptedNode(near.node) as other:
                other.say(other.hello)  # what comes after all that has been taken, too
                await other.take(frames.Welcome)
            assert node.id not in near.app.directory.nodes
        with ScriptedNode(near.node) as node:
            via = encode_batch(0, [frames.Via(id_of(far))])
            node.say_raw(via)
            node.say_raw(via)
            assert "no such session" in (await node.take(frames.Refused)).reason
