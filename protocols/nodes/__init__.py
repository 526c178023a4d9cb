"""What crosses the link between a proxy and a node. docs/node-protocol.md specifies it for other languages.

frames     every frame, and the batch that carries them
effects    those that act on clients and channels
clients    a node's view of a proxy's clients
state      a node's view of the replicated state
leases     until when a node may act as master, by the grants of several proxies
"""
