"""Demo and chaos: a deployment with clients that count, and what is done to it.

trial        one run, put together
deployment   the proxy under test: ours, or one that runs already
fleet        its nodes, as faults and displays see them
faults       what is done to nodes
processes    real processes, and none left behind
node         the node that they run; messages: what clients and nodes say to each other
load         the built-in clients; websocket: one's connection; witness: that of a few, on trio-websocket
load_worker  the process they are in; remote_load: the same, from outside; lines: how the two talk
accounting   what was sent, heard, lost; failover: how long clients waited; masters: who acted as master
report       what came of it; display: what people see
bench        holdfast bench; echo_load: its clients, which count for themselves; histogram: their times
"""
