"""Every wire format, as pure sans-I/O code: bytes in, events out; events in, bytes out.

close      why a connection ends or a request fails, and what each protocol says then (one table)
errors     the hierarchy of errors; each carries its reason from that table
paths      patterns of paths, for routes of proxies and of nodes
channel_names  patterns of channels' names
positions  where somebody is in a channel with history, and what stands there
cookies    what Cookie headers say, to handlers and to who looks for a token
bodiless   which HTTP replies have no body
endpoints  addresses of ports
answers    how an answer of an admin server is told from others
clients/   what clients speak: HTTP, WebSocket; the seam that third parties implement
nodes/     what nodes speak: the frames of the node link
peers/     what the proxies of a cluster speak

Nothing here knows a socket, a clock, a task or a log. Time comes in as an argument.
"""
