"""One proxy's part in the cluster, pure: told what happened and what time it is, it says what to do.

record       the record in the coordination store
membership   who is in the cluster, as we have it: hearing, quorum, what a grant of mastership needs
mastership   who is master, as we have it, and whether another is to be elected
grants       the leases that we have given
times        the times of all these rules
changes      the records that we write: joining, leaving, evicting, electing
writing      which of them is written next
absence      how long others have been absent from the store
peers        whom we dial, and what we have of each
sequence     a peer's published stream: numbers, proof, gaps, repair
voice        what we say of ourselves
replication  the nodes' state, held by more than half of the members
keeping      what it drives, and what it counts
recent       its last steps, for who is a little behind
copying      all of it on its way to who is far behind
lingering    members that were evicted, and may live for a while
debts        what nodes that are lost have owed; losses: when that was, by whose word, and what of it is over
owners       clients of other proxies with which keys of the state end
sharing      whether a frame is replication's or the owners'
counting     questions to other proxies that wait for an answer
counters     what is counted
unheard      proxies that do not come together, and why, for people
actions      what the shell is told to do
cluster      all of these together, as the shell (proxy.cluster) and the simulator (tests.sim) drive them

Nothing here knows a socket, a clock, a store or a task.
"""
