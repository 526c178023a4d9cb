"""The inside of the node library. Authors import what `holdfast` has.

A request's way:
links         the links to all proxies; which addresses to keep trying
session       one session with one proxy: the order of its frames, heartbeats, the table of who is told what
pump          its socket: batches out and in
dispatch      requests at this node, their cancellation, the guard of handlers
workers       the tasks in which handlers run; functions: what authors register; threads: plain ones run there
elsewhere     the way to Trio for functions that run in asyncio (holdfast.asyncio)
exchange      one request: its effects and its reply
effects       what a node does to clients and channels, and which way it goes

Beside it:
clients       every client of every proxy, for a node that wants them
callbacks     the calling of on_open, on_close and on_state
failures      how many lines of the log what they do wrong gets
process       this process, as a proxy on the same host may see it
mastership    the epoch, the lease, the running of on_master
state         the shared state as authors see it; replica: how it follows the keeper, and what is proposed
seams         what parts know of a session; network: and of the links
node          Node, which puts these together; runner: `holdfast node`
"""
