"""How an answer of an admin server is told from that of whoever else is at an address: it says so."""

MARK = ("Holdfast-Admin", "1")
"""A header of each of its answers. Where clients connect there may be an answer to anything, in JSON too."""
