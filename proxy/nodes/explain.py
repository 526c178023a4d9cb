"""What `holdfast route` tells: which route takes a request, why those before it don't, and who is there to take it."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from holdfast.balancer.route import HTTP, Handshake, Question, Rule, host_of, path_of
from holdfast.balancer.routes import Routes
from holdfast.balancer.settings import RouteSettings
from holdfast.proxy.config.sections import ClientSettings
from holdfast.proxy.config.unreached import spoken
from holdfast.proxy.nodes.router import agreed
from holdfast.proxy.views import RouteQuestion, RouteStep, RouteView, parse_client_id

EVERY = "every node"


def question_of(asked: RouteQuestion, client: ClientSettings) -> Question:
    """What is asked, as a request to a proxy with these settings. Raises ValueError, which says what is wrong."""
    url = urlsplit(asked.url)
    is_message = asked.message is not None or url.scheme in ("ws", "wss")
    protocol = asked.protocol or ("websocket" if is_message else HTTP)
    if protocol == HTTP and is_message:
        raise ValueError("a message is of another protocol than http")
    if protocol not in (known := spoken(client)):
        raise ValueError(f"nobody speaks {protocol:.80} here, but {', '.join(known)}; client.protocols has others")
    if protocol != HTTP and asked.method:
        raise ValueError(f"a message has no method, got {asked.method:.80}")
    if not url.path.startswith("/") and (url.path or not url.netloc):
        raise ValueError(f"expected a URL, or a path as /rooms/5, got {asked.url:.80}")
    headers = [(name.strip().lower(), value.strip()) for name, value in asked.headers]
    if url.netloc and not host_of(headers):
        headers.append(("host", url.netloc.rpartition("@")[2]))
    handshake = Handshake(
        protocol, host_of(headers), path_of(url.path or "/"), headers, agreed(headers, client.subprotocols)
    )
    whose = parse_client_id(asked.client) if asked.client else None
    method = (asked.method or "GET").upper() if protocol == HTTP else ""
    return Question(handshake, method, (asked.message or "").encode(), whose)


def explained(routes: Routes | None, question: Question, everybody: Sequence[str] | None) -> RouteView:
    """everybody: the nodes that are available for what no route takes; None: it is not known who is there."""
    steps: list[RouteStep] = []
    for rule, why in () if routes is None else routes.explain(question):
        share = rule.share if question.client is None else 100.0
        steps.append(
            RouteStep(
                route=rule.name,
                number=rule.order + 1,
                takes=0.0 if why else share,
                why=why,
                target=target_of(rule.settings),
                available=None if everybody is None or why or rule.pool is None else _ids(rule),
            )
        )
    if not steps or steps[-1].takes < 100:
        steps.append(RouteStep(route="", number=0, takes=100.0, why="", target=EVERY, available=everybody))
    return RouteView(steps)


def _ids(rule: Rule) -> Sequence[str]:
    assert rule.pool is not None
    return [node.id for node in rule.pool.available]


def target_of(settings: RouteSettings) -> str:
    """Where it leads, in words."""
    if settings.redirect:
        return f"redirect to {settings.redirect}, status {settings.status}"
    if settings.status:
        return f"status {settings.status}"
    names = sorted(set(settings.nodes) - {"*"})
    said = f"nodes {' and '.join(names)}" if names else "nodes" if settings.labels else EVERY
    if settings.labels:
        said += " with " + " and ".join(f"{name}={value}" for name, value in settings.labels.items())
    return said
