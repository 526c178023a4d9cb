"""Centrifuge's client protocol, version 2, in JSON: commands come in, replies and pushes go out.

commands          what a client sends; one decoder, and what of it is refused
replies           what it is sent, in bytes; payloads of nodes as JSON
codes             how Centrifuge's clients are told a reason: codes of errors, of unsubscribing, of closing
heartbeat         the server's pings, and the client's answers
protocol          one connection: from whole messages to events and back, whatever carries the messages
port              a port of its own for them: HTTP, and the protocol within WebSocket

Written from the protocol's public description: https://centrifugal.dev/docs/transports/client_protocol, the messages
of https://github.com/centrifugal/protocol (definitions/client.proto), and the codes of
https://centrifugal.dev/docs/server/codes.
"""
