"""The clients' side.

reactor      one task that owns the client sockets and the node link's descriptor; its turns
listener     bound client sockets and the accept loop; whom we can't take
clients      every client connection, what they share (shared), and who may come in (tokens: who it is by its own;
             admission: what a node says)
connection   one connection: bytes in, adapter, events (intake, rate_limit); requests, replies (answering; state: how
             far it is; ordered: one after the other)
transport    its descriptor: reading, writing, the end (interest, outbox, progress, tls, descriptors; nowhere:
             what is in its place after that)
held         what all of it holds in memory; budget: the limit for that
handshakes   TLS in turns: handshakes, and many records at once
session      a client as nodes know it
wheel        the timers of connections
closings     what the log says of those that were closed
"""
