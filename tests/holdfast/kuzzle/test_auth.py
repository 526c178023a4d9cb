"""Logging in, being somebody on every node, and logging out."""

import time

import trio

from holdfast.kuzzle import Api, tokens
from holdfast.kuzzle.wire import Request
from tests.holdfast.kuzzle.world import SECRET, kuzzle

ADA = {"username": "ada", "password": "lovelace"}


async def login(client, **more):
    return await client.result("auth", "login", strategy="local", body=ADA, **more)


async def test_a_token_of_one_node_is_good_on_all():
    async with kuzzle(nodes=3) as world, world.client() as client, world.http() as http:
        session = await login(client, expiresIn="1h")
        assert session.keys() == {"_id", "jwt", "expiresAt", "ttl"}
        assert (session["_id"], session["ttl"]) == ("ada", 3_600_000)
        assert abs(session["expiresAt"] / 1000 - time.time() - 3600) < 60
        nodes = set()
        for _ in range(12):
            response = await client.ask("auth", "getCurrentUser", jwt=session["jwt"])
            assert response["result"] == {"_id": "ada", "_source": {"profileIds": ["default"]}, "strategies": ["local"]}
            nodes.add(response["node"])
        answer = await http.get("/_me", headers={"authorization": f"Bearer {session['jwt']}"})
        assert answer.json()["result"]["_id"] == "ada"
        answer = await http.post("/_login/local", json=ADA)
        assert (await client.result("auth", "getCurrentUser", jwt=answer.json()["result"]["jwt"]))["_id"] == "ada"


async def test_who_has_no_token_is_nobody():
    async with kuzzle() as world, world.client() as client:
        assert (await client.result("auth", "getCurrentUser"))["_id"] == "-1"
        assert await client.refusal("auth", "logout") == ("security.rights.unauthorized", 401)
        anonymous = await client.result("auth", "checkToken", body={"token": None})
        assert anonymous == {"valid": True, "kuid": "-1", "expiresAt": -1}


REFUSED = [
    ({"strategy": "oauth", "body": ADA}, "security.credentials.unknown_strategy", 400),
    ({"body": ADA}, "api.assert.missing_argument", 400),
    ({"strategy": "local"}, "api.assert.body_required", 400),
    ({"strategy": "local", "body": {"username": "ada"}}, "api.assert.missing_argument", 400),
    ({"strategy": "local", "body": ADA | {"password": "x"}}, "plugin.strategy.missing_user", 401),
    ({"strategy": "local", "body": ADA | {"password": ""}}, "plugin.strategy.missing_user", 401),
    ({"strategy": "local", "body": {"username": "eve", "password": ""}}, "plugin.strategy.missing_user", 401),
    ({"strategy": "local", "body": ADA, "expiresIn": "soon"}, "security.token.invalid_expiration", 400),
    ({"strategy": "local", "body": ADA, "expiresIn": "31d"}, "security.token.ttl_exceeded", 400),
]


async def test_what_is_refused():
    async with kuzzle() as world, world.client() as client:
        for more, id, status in REFUSED:
            assert await client.refusal("auth", "login", **more) == (id, status), more
        ended, _ = tokens.issue(SECRET.encode(), "ada", time.time() - 60, 59)
        forged, _ = tokens.issue(b"guessed", "ada", time.time(), 60)
        for token in (ended, forged, "", "x.y.z"):
            for controller, action in (("auth", "getCurrentUser"), ("server", "publicApi"), ("auth", "logout")):
                refused = await client.refusal(controller, action, jwt=token)
                assert refused == ("security.token.invalid", 401)
            checked = await client.result("auth", "checkToken", body={"token": token})
            assert checked == {"valid": False, "state": "Invalid token."}
        assert await client.refusal("auth", "checkToken", body={"token": 1}) == ("api.assert.invalid_type", 400)


async def test_a_logout_holds_on_every_node_and_leaves_other_tokens_alone():
    async with kuzzle(nodes=3) as world, world.client() as client:
        first, second = (await login(client))["jwt"], (await login(client, expiresIn="2h"))["jwt"]
        assert (await client.result("auth", "checkToken", body={"token": first}))["kuid"] == "ada"
        assert await client.result("auth", "logout", jwt=first) == {"acknowledged": True}
        for _ in range(9):
            assert await client.refusal("auth", "getCurrentUser", jwt=first) == ("security.token.invalid", 401)
            assert (await client.result("auth", "getCurrentUser", jwt=second))["_id"] == "ada"
        assert (await client.result("auth", "checkToken", body={"token": first}))["valid"] is False


async def test_a_logout_delivered_again_is_no_error():
    auths = []

    def make(node):
        api = Api(node)
        auths.append(api.local_auth({"ada": "lovelace"}, secret=SECRET))
        return api

    async with kuzzle(make=make) as world, world.client() as client:
        token = (await login(client))["jwt"]
        await client.result("auth", "logout", jwt=token)
        again = Request("q", "auth", "logout", jwt=token, redelivered=True)
        again.user = auths[0].authenticate(again)
        assert await auths[0].logout(again) == {"acknowledged": True}
        assert await client.refusal("auth", "logout", jwt=token) == ("security.token.invalid", 401)


async def test_a_logout_is_forgotten_when_the_token_has_ended(monkeypatch):
    monkeypatch.setattr("holdfast.kuzzle.expiring.SWEEP_INTERVAL", 0.05)
    async with kuzzle() as world, world.client() as client:
        token = (await login(client, expiresIn=300))["jwt"]
        await client.result("auth", "logout", jwt=token)
        [node] = world.nodes
        assert len(node.state.items("kuzzle/expiring/revoked/")) == 1
        await world.proxy.until(lambda: not node.state.items("kuzzle/expiring/"), "the revocation to be forgotten")
        with trio.fail_after(5):
            assert await client.refusal("auth", "getCurrentUser", jwt=token) == ("security.token.invalid", 401)
