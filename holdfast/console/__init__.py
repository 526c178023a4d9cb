"""What our programs say to a terminal, and ask of a running proxy.

output         lines, JSON, tables
admin_client   the admin server's API, as the command line asks it
"""
