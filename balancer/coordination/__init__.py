"""The store that the proxies of a cluster share: id cards, the mutex of joining, the record of the master.

base     the seam, and what every store promises
memory   the store of one process: a proxy that is alone
"""
