"""The nodes' side.

gateway      what nodes say, frame by frame
announcer    what every node is told: clients, the other proxies, the state when it joins
dispatch     a request's way: ledger, policy, link, and its reply's way back (routing_key, access_log),
             or that there was none in time (expired); streamed: replies in parts;
             troubles: what the log says of those that go wrong
router       which route of the configuration takes a request (pools: of whose nodes; explain: why)
calls        what one node is asked that no client has asked (once: clients that come and go; asks: nodes' questions;
             orphans: clients of proxies that are no more; channel_calls: whether clients may do something in a channel)
steward      what is one for all nodes: the master
keeper       the nodes' replicated state: its order, its snapshots, its beginning
ahead        nodes that say that they have more of it, and how often their word counts
deaths       nodes' processes on this host: known at once, and for certain, when they died
"""
