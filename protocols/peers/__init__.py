"""What crosses the links between the proxies of a cluster.

frames       every frame, and what proxies say of themselves in them: members, the record, nodes, figures
replication  those with which members hold the nodes' state together
ranges       of the numbers in them
envelope     one message: who says it, its number, a keyed digest over all of it
"""
