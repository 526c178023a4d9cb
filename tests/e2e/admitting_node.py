"""A node that admits clients, and keeps a book of whom it was told: a line for each, in the order of the file."""

import os
import sys
from pathlib import Path

import trio

from holdfast import Node, Refused, Session

SLOW = float(os.environ.get("ADMISSION_SLOW", "0"))
BOOK = Path(os.environ["ADMISSION_BOOK"])
node = Node("door")
book = os.open(BOOK, os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def note(what: str, client, told: str = "") -> None:
    again = "again" if client.redelivered else "first"
    os.write(book, f"{what} {client.query} {client.id:016x} {again} {told}\n".encode())


@node.on_connect
async def admit(client):
    note("connect", client)
    if client.query.startswith("no"):
        raise Refused(403, "not you")
    return Session(user=client.query)


@node.on_open(once=True)
async def opened(client):
    if SLOW:
        note("begins", client)
        await trio.sleep(SLOW)
    note("open", client, client.user)


@node.on_close(once=True)
async def closed(client, reason):
    note("close", client, client.user)


@node.on_request
async def whoami(request):
    return request.client.user


if __name__ == "__main__":
    sys.exit("run it with: holdfast node tests.e2e.admitting_node:node")
