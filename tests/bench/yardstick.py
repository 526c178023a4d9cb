"""A piece of work in plain Python, of the kind that a proxy does, to measure others with on any machine.

Never change it: what is held against it would mean something else.
"""

import time

FRAME = b"\x81\x7e\x00\xa0" + bytes(range(160))


class Item:
    __slots__ = ("data", "number", "owner", "state")

    def __init__(self, number, data, owner):
        self.number = number
        self.data = data
        self.owner = owner
        self.state = 0


class Owner:
    def __init__(self):
        self.items = {}
        self.parts = []
        self.total = 0

    def take(self, number, data):
        size = int.from_bytes(data[2:4], "big")
        if data[0] & 0x0F != 1 or len(data) < 4 + size:
            raise ValueError
        self.items[number] = Item(number, data[4 : 4 + size], self)
        self.total += size

    def give(self, number):
        item = self.items.pop(number)
        if item.owner is self and item.state == 0:
            item.state = 1
            self.parts.append(item.data)


def work(count):
    owner = Owner()
    for number in range(count):
        owner.take(number, FRAME)
    for number in range(count):
        owner.give(number)
    assert len(b"".join(owner.parts)) == 160 * count == owner.total


def seconds(count):
    """CPU of this thread for one of `count` such pieces."""
    begun = time.thread_time()
    work(count)
    return (time.thread_time() - begun) / count
