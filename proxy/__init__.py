"""The running server: it joins the two sides, clients and nodes. Everything that does I/O by itself is here.

app          the only composition root: names the concrete classes, runs the tasks, handles signals
reactor      one task that owns the client sockets and the node link's descriptor; its turns
listener     bound client sockets and the accept loop; whom we can't take
clients      every client connection, what they share, and who may come in
connection   one transport: bytes in, adapter, events; bytes out, within limits (outbox, tls)
wheel        the timers of connections
dispatch     a request's way: ledger, policy, link, and its reply's way back (routing_key, access_log)
operator     what Kuzzle's cluster plugin answered on clients' ports: health, status, reset
channels     who is in which channel; fan-out in slices, in order
gateway      what nodes say, frame by frame, and what every node is told
steward      what is one for all nodes: the master and the replicated state
cluster/     the other proxies: joining, leaving, the store, the fence, ways for nodes that can't reach a proxy
supervisor   serve --workers: the processes, and what each is told (workers); child: processes that die with us
ticker       what time alone brings: deadlines, heartbeats, sweeps
draining     how the proxy leaves
collector    Python's garbage collector, so set that it does not stop the proxy
allocator    malloc, so set that freed memory stays for the next turn
config/      the configuration: its keys, where values come from, what is refused
logs         structured logs on stderr; noisy ones throttled
metrics      plain counters that the hot path adds to, and their Prometheus exposition (statistics: gauges)
admin/       the operator's HTTP server: health, readiness, metrics, JSON API (control: what it asks of the proxy)
cli/         the command line
build        which version this is, and whether it was compiled
reference    the reference pages of the documentation, made from the tables in the code

Only app names concrete classes of the others; protocols and balancer know nothing of this package.
"""
