"""Channels with history: what is published to them is kept in a log, from which who comes back gets what it missed.

base        the seam: what a log is, and what is kept in one
memory      the logs of one proxy; of its parts: identities (what was appended), changes (what has changed since),
            sizes (which is the largest)
sqlite      the logs of one machine: a file; sqlite_tables is what is in it
redis       the logs of several machines; redis_scripts is what runs there
store       which of these, by the configuration
pages       what a node is told of a log
contents    what can be in a store, and what counts as a store that is gone
"""
