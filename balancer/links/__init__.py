"""What carries frames between the proxy and nodes, and between proxies.

base       the seam: what a link and its owner promise each other
zeromq     nodes dial a ROUTER socket; CURVE or a token says who they are (batches: how a turn's frames are cut)
sessions   the rules of a session, which both keep: numbers, and a Hello first
memory     the same without sockets, for tests of what stands above
peers      sockets between proxies: what we publish, and for each peer what we hear and ask
tunnels    sessions of nodes with another proxy, that go through us
door       connections of which nobody knows yet who they are, and what they may cost
callers    which connection is whose, and whose session has ended
sockets    what all ZeroMQ sockets are asked in the same way
guard      what the handshake asks for; curve: the keys; zap: the thread that libzmq asks
"""
