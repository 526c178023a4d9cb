"""A node that Kuzzle's own SDKs can talk to: realtime, documents, a login, and a controller of your own.

    holdfast serve
    holdfast node examples.kuzzle_node:node     # as many as you like

Then, with `npm install kuzzle-sdk`:

    const kuzzle = new Kuzzle(new WebSocket("localhost"));
    await kuzzle.connect();
    await kuzzle.auth.login("local", { username: "demo", password: "demo" });
    await kuzzle.realtime.subscribe("taxi", "rides", { range: { price: { lt: 20 } } }, console.log);
    await kuzzle.realtime.publish("taxi", "rides", { price: 12 });
    await kuzzle.query({ controller: "taxi", action: "call", number: "7", body: { to: "Orly" } });

Or `curl http://localhost:7512/_now`. Any node answers any request: kill the one that took the subscription, and the
next ride is told all the same.
"""

import os
import platform
import time
from typing import Any

from holdfast import Node
from holdfast.kuzzle import Api, NotFoundError, Request

FLEET = {"7": "a yellow cab", "12": "a black cab"}

node = Node("kuzzle", capacity=256)
api = Api(node)

# Ready-made controllers, all in the replicated state, so that it does not matter which node is asked.
api.realtime()
api.documents()
# Every node needs the same secret, because each verifies tokens that another one signed. Set your own.
api.local_auth(users={"demo": "demo"}, secret=os.environ.get("KUZZLE_NODE_SECRET", "only for the demo"))

started = time.monotonic()


@api.action("server", "now")
async def now(request: Request) -> dict[str, Any]:
    return {"now": request.timestamp}


@api.action("server", "info")
async def info(request: Request) -> dict[str, Any]:
    kuzzle = {
        "version": "2.0.0",  # of the API that is spoken
        "nodeVersion": f"{platform.python_implementation()} {platform.python_version()}",
        "uptime": f"{time.monotonic() - started:.0f}s",
        "api": {"routes": api.description()},
    }
    return {"serverInfo": {"kuzzle": kuzzle, "services": {}}}


@api.action("taxi", "call", http=[("POST", "/taxi/:number/call")])
async def call(request: Request) -> dict[str, Any]:
    """A controller of your own: arguments by name, errors with an id, notifications to whoever listens."""
    number = request.string("number")
    if number not in FLEET:
        raise NotFoundError(f"There is no taxi {number}", "taxi.fleet.unknown_taxi", props=(number,))
    to = request.body_string("to")
    await node.notify({"taxi": number, "to": to}, channels=[f"taxi-{number}"])
    return {"taxi": FLEET[number], "to": to, "for": request.user}
