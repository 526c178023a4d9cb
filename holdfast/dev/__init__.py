"""`holdfast dev`: a proxy and a node while that one is being written.

development  what runs: the proxy, the node, and the next node after a change; how all of it ends
children     its processes, and what they write
sources      which files of the project have changed
console      what is typed: talking to the proxy as a client
"""
