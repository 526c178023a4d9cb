"""One proxy's part in the cluster, pure: told what happened and what time it is, it says what to do.

record       the record in the coordination store
membership   who is in the cluster, as we have it: hearing, quorum, what a grant of mastership needs
changes      the records that we write: joining, leaving, evicting, electing
absence      how long others have been absent from the store
sequence     a peer's published stream: numbers, proof, gaps, repair
facts        what a proxy has said of itself
voice        what we say of ourselves
actions      what the shell is told to do
cluster      all of these together, as the shell (proxy.cluster) and the simulator (tests.sim) drive them
remembered   a bounded memory of what was done, so that it is not done again

Nothing here knows a socket, a clock, a store or a task.
"""
