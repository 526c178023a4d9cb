"""The store that the proxies of a cluster share: id cards, the mutex of joining, the record of the master.

base        the seam, and what every store promises
memory      the store of one process: a proxy that is alone
sqlite      the store of one machine: a file
redis       the store of many machines; redis_urls reads where it is, redis_scripts is what runs there
threads     where sqlite and redis wait, so that the event loop does not
store       which of these, by the configuration
"""
