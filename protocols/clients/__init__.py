"""The protocols of clients, one adapter each: from bytes to events, and back.

base              the seam: what an adapter is, where adapters register; events: what they tell the proxy
http              HTTP/1.1, and the door to WebSocket (http_head, http_body, http_reply: the parts of a message)
http_doors        the same at a port with further doors: paths at which another protocol is spoken (doors: which)
websocket         WebSocket after its handshake (upgrade); websocket_frames, deflate: what it is written in
centrifuge        Centrifuge's client protocol in JSON, whatever carries it
sse               server-sent events, and long-polling at the same address
client_hello      what a TLS client offers to speak
encodings         compressed bodies of requests
within            a protocol of whole messages within WebSocket
exchange          one request that is answered at a door, and the way back to HTTP
embedding         a node's payload as JSON within other JSON
forwarded         who a client is behind other proxies
error_reply       a typed error, for clients of message protocols
conformance       the kit for authors of adapters; drive: one adapter under test
"""
