"""The operator's HTTP server.

server   HTTP/1.1 over h11, one Trio task per connection, small limits
api      the routes: who may call them, what they answer
control  Control, which proxy.views has with all that is shown, for the running proxy
exporter what Prometheus is told of it; running: its parts
http     a request and a response, as server and api hand them to each other
"""
