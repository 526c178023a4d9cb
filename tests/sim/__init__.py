"""The cluster's decisions, run by the thousand: real Cluster, Election and Leases in a world that is against them.

world       virtual time, clocks that drift, a network that loses, delays, doubles, garbles and cuts
store       the coordination store: compare-and-set, cards, answers that are lost
processes   proxies and nodes: what drives the real classes
checks      what must hold after every step, and in the end
faults      what goes wrong, at random
stories     single stories, step by step: what puts the promises at risk
lives       likewise: comings and goings

One seed decides everything. `python -m tests.sim SEED` replays one with a log; `make sim` runs 10,000.
"""
