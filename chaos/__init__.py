"""Demo and chaos: a deployment with clients that count, and what is done to it.

trial        one run, put together
deployment   what is under test: a proxy or a cluster of ours, or a proxy that runs already
proxies      one of its proxies; store: that of a cluster
fleet        its nodes, as faults and displays see them
faults       what is done to nodes; servers: to proxies and the store
processes    real processes, and none left behind; program: those that are not ours
node         the node that they run; messages: what clients and nodes say to each other
load         the built-in clients; connections: all of theirs
websocket    one's connection; witness: that of a few, on trio-websocket
load_worker  the process they are in; remote_load: the same, from outside; lines: how the two talk
accounting   what was sent, heard, lost; due: which notifications were; deliveries: which came, and how often
failover     how long clients waited; losses: which nodes proxies have lost, and why
flood        nodes publish more than can be delivered: what is said about it; flooding: the trial's side
listeners    the clients that hear it and count, in a process of their own
masters      who acted as master; openings: which clients nodes were told of; hearing: how they testify
writes       what was written to the nodes' state, and what must be in it; writer: who asks for it
sessions     who was connected to which proxy, and which connections ended for no good reason
main         the command: a run, and its exit status
report       what came of it; display: what people see
bench        holdfast bench; echo_load: its clients, which count for themselves; histogram: their times
"""
