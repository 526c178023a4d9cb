"""The operator's HTTP server.

server   HTTP/1.1 over h11, one Trio task per connection, small limits
api      the routes: who may call them, what they answer
views    what the routes show, and Control, the seam to the running proxy
http     a request and a response, as server and api hand them to each other
"""
