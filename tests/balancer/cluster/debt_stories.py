"""What goes wrong in a world of debts (debt_worlds), and whether anybody has missed something in silence.

`python -m tests.balancer.cluster.debt_stories FIRST COUNT` tries many.
"""

import sys

from holdfast.balancer.cluster.debts import Run
from tests.balancer.cluster.debt_nodes import DebtNode
from tests.balancer.cluster.debt_worlds import OTHERS, DebtWorld

EVERY = ""  # of which nodes is not known: there were too many


class DebtStory(DebtWorld):
    def story(self) -> None:
        stories = (self._all_goes_wrong, self._all_goes_wrong, self._one_dies, self._links_flap)
        self.random.choice(stories)()

    def cut(self, node: DebtNode, proxy: str, seconds: float, *, stands: bool) -> None:
        """The way there, which the node sees at once, or which just stands."""
        if node.is_alive:
            node.cut_until[proxy] = max(node.cut_until[proxy], self.time + seconds)
            way = node.ways.get(proxy)
            if way is not None and stands:
                way.is_up = False
            elif way is not None:
                self._gives_up(way)

    def part(self, proxy: str, seconds: float) -> None:
        self.unheard_until[proxy] = max(self.unheard_until[proxy], self.time + seconds)

    def _all_goes_wrong(self) -> None:
        random = self.random
        if self.time > self.busy_until:
            self._end()
            return
        node = random.choice(self.nodes)
        what = random.choice(("cut",) * 8 + ("die",) * 2 + ("part",) * 3 + ("freeze",) * 2 + ("stop",))
        if what == "cut":
            seconds = random.choice((0.3, 1.0, 3.0, 6.0, 10.0))
            self.cut(node, random.choice("abbbc"), seconds, stands=random.random() < 0.4)
        elif what == "die":
            self.die(node)
        elif what == "part":
            self.part(random.choice(OTHERS), random.choice((0.5, 2.0, 5.0, 9.0)))
        elif what == "freeze":
            self.freeze(random.choice("abbc"), random.choice((0.3, 1.0, 3.0, 6.0, 12.0)))
        else:
            node.frozen_until = self.time + random.choice((1.0, 3.0, 6.0))
        self.later(random.choice((0.01, 0.1, 0.3, 0.8, 2.0)), self._all_goes_wrong)

    def _one_dies(self) -> None:
        """And around that its ways are cut, and proxies frozen and parted."""
        random, death = self.random, self.random.uniform(1.0, 4.0)
        node = random.choice(self.nodes)
        for proxies, counts, before, seconds in (
            ("b", (1, 1, 2), 3.0, (1.0, 20.0)),
            (OTHERS, (0, 1, 2), 5.0, (0.1, 3.0)),
        ):
            for _ in range(random.choice(counts)):
                self._cut_near(death, before, node, random.choice(proxies), random.uniform(*seconds), 0.7)
        for _ in range(random.choice((0, 1, 2))):
            delay = max(0.0, death - random.uniform(0.0, 5.0))
            self.later(delay, self.part, random.choice(OTHERS), random.uniform(0.5, 14.0))
        self._freeze_near(death)
        self.busy_until = self.time + death + 10.0
        self.later(death, self.die, node)
        self.later(death + 20.0, self._end)

    def _links_flap(self) -> None:
        """Within our patience before all die, so that debts of before are being waited for; and b's ways stand."""
        random, patience = self.random, self.patience
        death = random.uniform(patience + 1.0, patience + 4.0)
        node = random.choice(self.nodes)
        for _ in range(random.choice((1, 2, 3))):
            self._cut_near(death, 1.3 * patience, node, random.choice("aac"), random.uniform(0.05, 1.5), 0.3)
        self._cut_near(death, patience, node, "a", random.uniform(0.05, 0.5), 0.0)
        stands = random.uniform(0.3, 1.2)
        self._cut_near(death, stands, node, "b", 99.0, 1.0)
        if random.random() < 0.8:
            self._cut_near(death, stands, node, "a", 99.0, 1.0)
        self.later(
            death - random.uniform(0.0, 1.0), self.part, random.choice(OTHERS), random.uniform(0.5, 4.0) * patience
        )
        self._freeze_near(death)
        self.busy_until = self.time + death
        self.later(death, self._end)

    def _cut_near(
        self, death: float, before: float, node: DebtNode, proxy: str, seconds: float, standing: float
    ) -> None:
        delay = max(0.0, death - self.random.uniform(0.0, before))
        stands = self.random.random() < standing
        self.later(delay, lambda: self.cut(node, proxy, seconds, stands=stands))

    def _freeze_near(self, death: float) -> None:
        if self.random.random() < 0.3:
            delay = max(0.0, death + self.random.uniform(-self.patience, self.patience))
            self.later(delay, self.freeze, self.random.choice("abbbc"), self.random.uniform(0.5, 3.0 * self.patience))

    def _end(self) -> None:
        """All die, and everything else is well again in the end."""
        self.busy_until = 0.0
        for node in self.nodes:
            self.die(node)

    # --- what has become of it ----------------------------------------------------------------------------------------

    def _misses(self, node: DebtNode) -> list[tuple[int, float]]:
        """What b has not got of a run, from nobody, and when that was published."""
        return [
            (number, effect.at)
            for number, effect in node.effects.items()
            if number > node.come and effect.request not in self.done
        ]

    def holes(self) -> list[tuple[Run, int]]:
        """What b's clients have missed, as somebody has known who could tell it, and were not told so."""
        return [
            (node.run, number)
            for node in self.runs
            for number, at in self._misses(node)
            if any(run == node.run and to >= number and lost >= at for run, to, lost in self.told)
            and not any(name in (node.run.node, EVERY) and self._real(before) >= at for name, before in self.missed)
        ]

    def needless(self) -> int:
        """So often it has closed clients that have missed nothing."""
        return sum(
            not any(at <= self._real(before) for run in self._of(name) for _, at in self._misses(run))
            for name, before in self.missed
        )

    def _of(self, name: str) -> list[DebtNode]:
        return [node for node in self.runs if name in (node.run.node, EVERY)]

    def _real(self, clock: float) -> float:
        return (clock - self.offset["b"]) / self.rate["b"]

    def left(self) -> int:
        return sum(map(len, self.debts.values()))


def main(first: int, many: int) -> int:
    """Seeds of worlds with holes, and how often clients were closed. Returns the exit status."""
    bad, closed, needless = [], 0, 0
    for seed in range(first, first + many):
        world = DebtStory(seed)
        world.run()
        if world.holes() or world.left():
            bad.append(seed)
        closed += len(world.missed)
        needless += world.needless()
    print(f"{many} worlds, {len(bad)} with holes {bad[:20]}; {closed} closings, {needless} of them needless")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
