"""The store that the proxies of a cluster share: id cards, and one record.

base        the seam, and what every store promises
contents    what can be in a store, and what counts as a store that is gone
memory      the store of one process, for tests
sqlite      the store of one machine: a file; sqlite_file is that, whatever becomes of it
redis       the store of many machines; redis_urls reads where it is, redis_client is who asks, redis_scripts what runs
            there, redis_bounds what an answer may take
threads     where sqlite and redis wait, so that the event loop does not
store       which of these, by the configuration
"""
