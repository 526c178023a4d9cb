"""Which of the routes of the configuration takes a request: the first whose conditions it meets.

Pure. The table is compiled once: a host is found in a dictionary, there an exact path in another one, a pattern in a
tree, one of many headers by its value, and only what is found so is looked at further. Of a client's messages all but
their fields is that of its handshake: its `Plan` is made once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from holdfast.balancer.directory import Pool
from holdfast.balancer.route import Field, Handshake, Headers, Question, Rule, decoder_of, host_of, path_of
from holdfast.balancer.settings import RouteSettings
from holdfast.protocols.paths import Branch, segments

FEW = 4  # routes with headers are looked at one after the other; more are found by theirs
MAX_PLANS = 10_000  # that are kept to be shared; each is some hundred bytes


class Plan:
    """Which route takes the messages of a client. rest: that of those that no field decides; None: there is none."""

    __slots__ = ("_by_field", "_decode", "rest")

    def __init__(self, rules: Sequence[Rule], decode: Callable[[bytes], Mapping[str, Field]]) -> None:
        self.rest: Rule | None = None
        self._decode = decode
        self._by_field: dict[str, dict[Field, list[Rule]]] = {}
        for rule in rules:
            if not rule.fields:
                self.rest = rule
                break
            name, value = next(iter(rule.fields.items()))
            self._by_field.setdefault(name, {}).setdefault(value, []).append(rule)

    def take(self, payload: bytes) -> Rule | None:
        """The route of this message."""
        if not self._by_field:
            return self.rest
        found = self._decode(payload)
        best: Rule | None = None
        for name, rules in self._by_field.items():
            value = found.get(name)
            for rule in rules.get(value, ()) if value is not None else ():
                if best is not None and rule.order > best.order:
                    break
                if len(rule.fields) == 1 or rule.fields.items() <= found.items():
                    best = rule
                    break
        return self.rest if best is None else best


class _Index:
    """Routes of one host, by path and, where there are many, by header."""

    def __init__(self, rules: Sequence[Rule], *, by_header: bool = True) -> None:
        self._tree: Branch[list[Rule]] = Branch()
        self._pathless: list[Rule] = []
        self._by_header: dict[tuple[str, str], _Index] = {}
        self._deepest = 0
        if by_header and sum(bool(rule.headers) for rule in rules) > FEW:
            for header in {rule.headers[0] for rule in rules if rule.headers}:
                these = [rule for rule in rules if rule.headers[:1] == (header,)]
                self._by_header[header] = _Index(these, by_header=False)
            rules = [rule for rule in rules if not rule.headers]
        for rule in rules:
            for pattern in rule.patterns:
                branch = self._tree.grow(pattern.words, is_open=pattern.is_open)
                branch.item = branch.item or []
                branch.item.append(rule)
                self._deepest = max(self._deepest, len(pattern.words))
            if not rule.patterns:
                self._pathless.append(rule)
        words = [p.words for rule in rules for p in rule.patterns if not p.is_open and None not in p.words]
        self._exact = {
            path: [sorted({rule for group in self._of_path(path) for rule in group}, key=_order)]
            for path in ("/".join(map(str, each)) for each in words)
        }

    def groups(self, path: str, headers: Headers) -> Sequence[Sequence[Rule]]:
        """All that may take what has these: several lists, each in order, and a route perhaps in two."""
        groups: Sequence[Sequence[Rule]] = self._exact.get(path) or self._of_path(path)
        if self._by_header:
            for header in headers:
                index = self._by_header.get(header)
                if index is not None:
                    groups = [*groups, *index.groups(path, ())]
        return groups

    def _of_path(self, path: str) -> list[list[Rule]]:
        if not self._deepest:
            return [self._pathless]
        groups = self._tree.all(segments(path, self._deepest))
        if self._pathless:
            groups.append(self._pathless)
        return groups


class _Hosts:
    """Such tables by host: one for each that is named, for each domain, and for all others. matter: there are
    others than these."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = rules
        self._named = frozenset(host for rule in rules for host in rule.hosts)
        self._domains = frozenset(domain for rule in rules for domain in rule.domains)
        self._deepest = max((domain.count(".") for domain in self._domains), default=0)
        self.others = _Index([rule for rule in rules if rule.has_host("")])
        self._indexes: dict[str, _Index] = {}
        self.matter = bool(self._named or self._domains)

    def index(self, host: str) -> _Index:
        key = host if host in self._named else self._domain_of(host)
        if not key:
            return self.others
        index = self._indexes.get(key)
        if index is None:  # no more of them than the routes name
            index = self._indexes[key] = _Index([rule for rule in self._rules if rule.has_host(host)])
        return index

    def _domain_of(self, host: str) -> str:
        """The longest that it is in, so it is in those of that one's, and in no others."""
        found, labels = "", host.split(".")
        for count in range(1, min(self._deepest, len(labels) - 1) + 1):
            domain = "." + ".".join(labels[-count:])
            if domain in self._domains:
                found = domain
        return found


class Routes:
    """All of them. pools: of each, in the same order."""

    def __init__(self, settings: Iterable[RouteSettings], pools: Iterable[Pool | None]) -> None:
        self.rules = [Rule(order, each, pool) for order, (each, pool) in enumerate(zip(settings, pools, strict=True))]
        self._http = _Hosts([rule for rule in self.rules if rule.of_http])
        self._messages = _Hosts([rule for rule in self.rules if rule.of_messages])
        self._decode = decoder_of(dict.fromkeys(name for rule in self.rules for name in rule.fields))
        self._plans: dict[tuple[int, ...], Plan] = {}

    def of_request(self, method: str, target: str, headers: Headers, client: int) -> Rule | None:
        """The route of an HTTP request. None: it is for every node. Within 1 us, with 100 of them: see
        docs/topics/performance.md."""
        hosts = self._http
        index = hosts.index(host_of(headers)) if hosts.matter else hosts.others
        best: Rule | None = None
        for rules in index.groups(path_of(target), headers):
            for rule in rules:
                if best is not None and rule.order > best.order:
                    break
                if rule.is_plain or rule.admits(method, headers, client):
                    best = rule
                    break
        return best

    def plan(self, handshake: Handshake, client: int) -> Plan:
        """For the messages of a client. Clients for whom the same routes come into question share it."""
        protocol, host, path, headers, subprotocol = handshake
        possible = {
            rule
            for rules in self._messages.index(host).groups(path, headers)
            for rule in rules
            if (not rule.protocols or protocol in rule.protocols)
            and (not rule.subprotocols or subprotocol in rule.subprotocols)
            and (rule.is_plain or rule.admits("", headers, client))
        }
        rules = sorted(possible, key=_order)
        key = tuple(rule.order for rule in rules)
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= MAX_PLANS:  # shares of many routes have many combinations
                self._plans.clear()
            plan = self._plans[key] = Plan(rules, self._decode)
        return plan

    def explain(self, question: Question) -> list[tuple[Rule, str]]:
        """Each route in order, and why it does not take the request, "" if it does: up to the one that takes all that
        comes to it."""
        steps: list[tuple[Rule, str]] = []
        for rule in self.rules:
            steps.append((rule, why := rule.why_not(question)))
            if not why and (rule.share >= 100 or question.client is not None):
                break
        return steps


def _order(rule: Rule) -> int:
    return rule.order
