"""Tell everybody something, or those in one room: `python -m examples.auction.announce TEXT [--room /auctions/ID]`.

It is a node for as long as that takes: it joins, says it to every proxy, and leaves when all have it.
"""

import argparse

import trio

from holdfast import Node


async def announce(text: str, room: str, join: str) -> None:
    """Returns when all clients' proxies have it."""
    node = Node("announcer")
    async with trio.open_nursery() as nursery:
        await nursery.start(node.run, [join])
        said = {"type": "announced", "text": text}
        await (node.notify(said, channels=[room]) if room else node.broadcast(said))
        node.drain()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Tell everybody in the auctions something.")
    parser.add_argument("text")
    parser.add_argument("--room", default="", help="only those in this one, such as /auctions/ID")
    parser.add_argument("--join", default="tcp://127.0.0.1:7510")
    trio.run(announce, *vars(parser.parse_args()).values())
