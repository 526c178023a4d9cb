"""The running server: it joins the two sides, clients and nodes. Everything that does I/O by itself is here.

app          the only composition root: names the concrete classes, runs the tasks, handles signals
serving      a proxy as the whole of its process
clients/     the clients' side: reactor, listener, connections and their transports, timers
nodes/       the nodes' side: what they say and are told, requests and replies, the master, the keeper of the state
realtime/    channels, and what nodes do to clients: numbered, in lanes, in order
cluster/     the other proxies: joining, leaving, the store, the fence, ways for nodes that can't reach a proxy
admin/       the operator's HTTP server: health, readiness, metrics, JSON API
config/      the configuration: its keys, where values come from, what is refused
process/     the process: workers and their supervisor, draining, logs, memory, what this build is
ticker       what time alone brings: deadlines, heartbeats, sweeps
open_files   how many descriptors there are, and for whom
metrics      plain counters that the hot path adds to
views        what operators are shown, as data
events       what each event of the logs means
reference    the reference pages of the documentation, made from the tables in the code

Only app names concrete classes of the others; protocols and balancer know nothing of this package.
"""
