"""The running server: it joins the two sides, clients and nodes. Everything that does I/O by itself is here.

app         the only composition root: names the concrete classes, runs the tasks, handles signals, drains
listener    bound client sockets and the accept loop: limits on connections, refusals
tls         certificates, and TLS inside the reactor through memory buffers
reactor     one task that owns the client sockets and the node link's descriptor; its turns
connection  one transport: bytes in, adapter, events; bytes out, within limits
channels    who is in which channel; fan-out in slices, in order
dispatch    a request's way: ledger, policy, link, and its reply's way back
gateway     what a frame of a node does: frame type -> method
ticker      what time alone brings: deadlines, heartbeats, elections, sweeps
config/     the configuration: its keys, where values come from, what is refused
logs        structured logs on stderr; noisy ones throttled
metrics     plain counters that the hot path adds to, and their Prometheus exposition
admin/      the operator's HTTP server: health, readiness, metrics, JSON API
cli/        the command line
reference   the reference pages of the documentation, made from the tables in the code

Only app names concrete classes of the others; protocols and balancer know nothing of this package.
"""
