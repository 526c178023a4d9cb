"""Server-sent events, and long-polling at the same address: what channels say, for whoever has HTTP and nothing more.

door      a request that asks for channels: who it is for, until all its subscriptions have been answered
asking    what it asks for: channels, the position that it comes back with, how it is answered
ids       positions in several channels as one id of an event
text      events as they are written, and messages in them
stream    the stream, from its first event
poll      the one answer to a poll
"""
