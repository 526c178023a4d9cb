"""The node side: which node, is it well, what was it doing when it died, who is master.

Pure (time and random numbers come in as arguments):
settings    what the configuration can set here
directory   the nodes: states, incarnations, credit; which are available
policies    which of the available ones takes a request
routes      which of the routes takes a request (route: one of them)
channel_rules  what holds for which channels
filters     who has joined which filter of channels, with `+` and `#`
calls       what one node is asked that no client has asked
ledger      requests in flight and parked; deadlines (early: those before their time), redelivery
taken       what became of a reply where it goes
health      passive ejection and slow start
registry    the numbered stream that tells every node every client
cluster/    one proxy's part in the cluster: who is in it, what peers say, what a grant of mastership needs
remembered  a bounded memory of what was done, so that it is not done again
state       the proxy's copy of the nodes' replicated state

Thin shells:
links/         what carries frames to a node (zeromq, memory)
coordination/  the store that proxies share (memory, sqlite, redis); one proxy needs only memory
history/       the logs of channels that have one
"""
