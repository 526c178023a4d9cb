"""The process that serves.

supervisor   serve --workers: the processes, and what each is told (workers); child: processes that die with us
draining     how the proxy leaves
logs         structured logs on stderr; noisy ones throttled (stderr: what is written never waits for who reads it)
hangup       what SIGHUP does
collector    Python's garbage collector, so set that it does not stop the proxy
allocator    malloc, so set that freed memory stays for the next turn
bound        where a proxy is bound; phase: how far it is; build: which version this is, and whether it was compiled
"""
