"""The inside of the node library. Authors import what `holdfast` has.

A request's way:
links         the links to all proxies; which addresses to keep trying (latest: which session of each;
              backoff: when again)
session       one session with one proxy: the order of its frames, heartbeats, the table of who is told what
streams       what goes to each proxy until it is acknowledged (stream: to one of them)
batches       what it is to send, and the numbers; pump: its socket; memory: a link without one, for tests
dispatch      requests at this node, their cancellation, the guard of handlers
workers       the tasks in which handlers run (ordered: those of one client in turn); threads: plain ones run there
functions     what authors register (function: one of them; routing, typed: which takes a request, and with what)
calls         what the node is asked besides: who may come in, that one came or went, another node's question
request       what functions get and give; fields: query and cookies; form: bodies that are forms
admission     what on_connect gives; subscribing: what on_subscribe and on_publish get and give (channel_functions:
              which of them takes a channel)
elsewhere     the way to Trio for functions that run in asyncio (holdfast.asyncio)
exchange      one request: its effects and its reply
effects       what a node does to clients and channels, and which way it goes; gate: whether it can go anywhere now
plain         what an author gives, as a frame can say it

Beside it:
actions       what authors do through the node; asking: its questions to other nodes; questions: those to proxies
              (history: what is kept of a channel)
clients       every client of every proxy, for a node that wants them; orphans: of proxies that are no more
callbacks     the calling of on_open, on_close and on_state
background    what authors register beside requests; lifespans, tasks: what becomes of it in a run
failures      how many lines of the log what they do wrong gets; raised: how that is looked at, and the guard around
              them; errors: what the library raises
watching      what is seen of each request, for measuring (exposition: where that is read) and tracing (traceparent:
              what a client sends of it); statistics: what a node says of itself
process       this process, as a proxy on the same host may see it
mastership    the epoch, the lease, the running of on_master
state         the shared state as authors see it; replica: how it follows the keeper, and what is proposed
seams         what parts know of a session; network: and of the links
logs          what the log of a node's process looks like, and which request a line is of
node          Node, which puts these together; checks: what it is told to be; runner: `holdfast node`, holdfast.run
              (blame: whose line it is when a module can't be loaded)
"""
