"""The cluster as it runs: tasks, sockets and store around the rules in balancer.cluster.

runner      the tasks; carries out what the rules decide, gives them what comes; joining and leaving
store       the one user of the coordination store: card, record
ways        nodes that reach a proxy only through another one, at both ends
fence       a proxy that is cut off sends its clients away
alone       the record of a proxy without a store
names       what each run is called on its host, and whether it still is
bindings    endpoints by the name of an interface
times       the times of the rules, from the configuration
views       what operators are shown
"""
