"""The leases that this proxy gives the master, and the time before which it gives none to another.

Owns one grant: whose it is and when it ends. Refuses to grant to another process while one that it has granted might
act. Who is master is the record's to say, and whether it may be granted is balancer.cluster.membership's.

Why at most one node acts at any time, as far as one proxy's grants go:
- A node acts only until its own clock shows stamp + lease, where stamp is when it sent the heartbeat whose
  answer gave the lease. The proxy counts from when it answered, which is later, and for MAX_DRIFT longer.
- Another process waits for that end, unless the node itself said that it has stopped (`released`): after Drain or Bye
  it does not act again in that session, whatever answers are still on their way to it. Or unless the process is known
  to be dead (`died`): by a pidfd, never by a connection that ended.
- A former run of the proxy may have given a lease just before its end, so a new run waits as long before its first
  grant. It is taken to have had the same lease: to change it, see docs/howto/run-a-cluster.md.
Freezing is covered: clocks go on, and a lease that has ended meanwhile has ended. A machine that is suspended
stops its clocks, so for it the epoch is what protects: a proxy takes nothing from any but its present master.
"""

Process = tuple[str, int]  # a node's id and incarnation


class Grants:
    """lease_wait: how long a grant lasts here. now, at construction: after the port of the node link is bound, so that
    a former run can give no lease any more.

    end: until then nobody else is granted.
    """

    def __init__(self, lease_wait: float, now: float) -> None:
        self._lease_wait = lease_wait
        self._process: Process | None = None  # whose grant it is that ends at `end`
        self._releasable: Process | None = None  # the same, while its session is the one in which it was granted
        self.end = now + lease_wait

    def joined(self) -> None:
        """This run has become a member of a cluster. What a former run at our place granted is of an older ballot."""
        if self._process is None:
            self.end = float("-inf")

    def renew(self, process: Process, now: float) -> bool:
        """Whether it has the lease, from now on.

        now: read after the heartbeat was received, so not at the start of a turn that may have taken long before it.
        """
        if process != self._process and now < self.end:
            return False
        self._process = self._releasable = process
        self.end = max(self.end, now + self._lease_wait)
        return True

    def session_lost(self, process: Process) -> None:
        """Our session with it has ended, and others may have theirs: it can't give our grant back any more."""
        if process == self._releasable:
            self._releasable = None

    def released(self, process: Process) -> None:
        """The node itself said Drain or Bye: it has stopped acting as master, and a successor need not wait."""
        if process == self._releasable:
            self.end = float("-inf")

    def died(self, process: Process) -> None:
        """It is known to be dead, which a lost session is not: nothing acts on the lease that it had."""
        if process == self._process:
            self.end = float("-inf")
