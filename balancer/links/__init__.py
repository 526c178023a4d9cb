"""What carries frames between the proxy and nodes.

base       the seam: what a link and its owner promise each other
zeromq     nodes dial a ROUTER socket; CURVE or a token says who they are
memory     the same without sockets, for tests of what stands above
"""
