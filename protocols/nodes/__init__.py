"""What crosses the link between a proxy and a node. docs/node-protocol.md specifies it for other languages.

frames           every frame, and the batch that carries them; those of their own:
calls            what one node is asked besides requests, and what nodes ask each other
counting         how many are in a channel; histories: what is kept of one
entries          the state: proposals, entries, copies
orphans          clients of proxies that are no more, and who is told
announcements    those that tell of clients
effects          those that act on clients and channels
clients          a node's view of a proxy's clients
carried          what an application keeps of a client, as JSON
names            ids, names and labels: what they may be
keys             CURVE keys, as their files have them
process          which process a node is, for a proxy on its host
state            the replicated state as every copy of it is
lateness         how late a turn may be before it says that its process stood still
leases           until when a node may act as master, by the grants of several proxies
"""
