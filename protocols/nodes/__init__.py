"""What crosses the link between a proxy and a node. docs/node-protocol.md specifies it for other languages.

frames           every frame, and the batch that carries them
announcements    those that tell of clients
effects          those that act on clients and channels
clients          a node's view of a proxy's clients
keys             CURVE keys, as their files have them
process          which process a node is, for a proxy on its host
state            the replicated state as every copy of it is
lateness         how late a turn may be before it says that its process stood still
leases           until when a node may act as master, by the grants of several proxies
"""
