"""The operator's HTTP server.

server   HTTP/1.1 over h11, one Trio task per connection, small limits
routes   the one table of routes; bodies: what callers send; openapi: both as a description for tools
api      who may call them, what they answer
access   tokens, and what each may do; idempotency: what is sent again and not done again
operator what is asked on the ports of clients
control  Control, which proxy.views has with all that is shown, for the running proxy
exporter what Prometheus is told of it; running: its parts
http     a request and a response, as server and api hand them to each other
"""
