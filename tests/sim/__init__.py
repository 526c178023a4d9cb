"""The programs themselves, run by the thousand in a world that is against them.

A simulated proxy is proxy.app.App, a simulated node is holdfast.Node: all of each, from `run` down to the frames, in a
Trio run of its own that the world steps. Only what lies outside a process is simulated: its clock, its descriptors, the
network, ZeroMQ's sockets, the store, its clients, and the schedule.

world       virtual time, the network, who lives
process     one process: a Trio run with a clock of its own, that can be frozen, be slow, be killed
loop        Trio's run loop, without what no simulated process has
kernel      descriptors, epoll, clients' sockets
sockets     ZeroMQ's sockets, and what goes between proxies
wires       connections of nodes
store       the coordination store: cut off, late, forgetful, empty
stand_ins   puts these in the place of the real ones; nothing else is patched anywhere
settings    the configuration of the proxies: short times, low limits

proxies     a proxy
nodes       a node, with an author who publishes, answers, joins, closes, and writes the state
clients     clients with a protocol of their own, that ask, come and go, and read slowly
books       what each connection was told, and what it must have been told

checks      what must hold after every step, and in the end
faults      what goes wrong, at random, and healing
stories     single stories, step by step: what puts "at most one acts" at risk
lives       likewise: comings and goings
promises    likewise: deliveries, effects, the state
subscribers clients that subscribe and publish by themselves
subscriptions  likewise: rooms of Kuzzle's dialect, changed by several nodes

One seed decides everything. `python -m tests.sim SEED` replays one with a log; `make sim` runs 10,000.
"""
