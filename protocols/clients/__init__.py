"""The protocols of clients, one adapter each: from bytes to events, and back.

base              the seam: what an adapter is, where adapters register; events: what they tell the proxy
http              HTTP/1.1, and the door to WebSocket (http_head, http_body, http_reply: the parts of a message)
websocket         WebSocket after its handshake (upgrade); websocket_frames, deflate: what it is written in
centrifuge        Centrifuge's client protocol in JSON, whatever carries it
client_hello      what a TLS client offers to speak
encodings         compressed bodies of requests
within            a protocol of whole messages within WebSocket; doors: at which paths of the port which of them
forwarded         who a client is behind other proxies
error_reply       a typed error, for clients of message protocols
conformance       the kit for authors of adapters; drive: one adapter under test
"""
