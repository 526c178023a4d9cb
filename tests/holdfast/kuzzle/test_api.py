"""Controllers and actions on a real node behind a real proxy: what an author writes and a client gets."""

import json

import pytest
import structlog
import trio

import holdfast.asyncio
from holdfast import ConfigError, Node
from holdfast.kuzzle import Api, ForbiddenError
from tests.holdfast.kuzzle.world import full_api, kuzzle


def taxi_api(node: Node) -> Api:
    api = Api(node)

    @api.action("taxi", "call", http=[("POST", "/taxi/:number/call")])
    async def call(request):
        request.status = 201
        return {"number": request.string("number"), "to": request.body_string("to"), "user": request.user}

    @api.action("taxi", "fail")
    async def fail(request):
        raise RuntimeError("the password is hunter2")

    @api.action("taxi", "refuse")
    async def refuse(request):
        raise ForbiddenError("Not yours", "taxi.fleet.not_yours", 7, ("x",))

    @api.action("taxi", "refuseInTask")
    async def refuse_in_task(request):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse, request)

    @api.action("taxi", "unserializable")
    async def unserializable(request):
        return object()

    return api


async def test_an_action_is_called_over_websocket_and_http():
    async with kuzzle(make=taxi_api) as world, world.client() as client, world.http() as http:
        response = await client.ask("taxi", "call", number="7", body={"to": "Orly"}, volatile={"x": 1}, index="i")
        assert response["result"] == {"number": "7", "to": "Orly", "user": "-1"}
        assert (response["status"], response["volatile"], response["index"]) == (201, {"x": 1}, "i")
        assert (response["node"], response["error"]) == (world.nodes[0].id, None)

        answer = await http.post("/taxi/8/call", json={"to": "Roissy"}, headers={"x-kuzzle-request-id": "mine"})
        assert answer.status_code == answer.json()["status"] == 201
        assert answer.json()["result"]["number"] == "8"
        assert answer.json()["requestId"] == answer.headers["x-kuzzle-request-id"] == "mine"
        assert answer.headers["x-kuzzle-node"] == world.nodes[0].id
        assert "room" not in answer.json()


async def test_errors_of_dispatch():
    async with kuzzle(make=taxi_api) as world, world.client() as client, world.http() as http:
        assert await client.refusal("nope", "call") == ("api.process.controller_not_found", 404)
        assert await client.refusal("taxi", "nope") == ("api.process.action_not_found", 404)
        assert await client.refusal("taxi", "") == ("api.assert.missing_argument", 400)
        assert await client.refusal("taxi", "call", body=1) == ("api.assert.invalid_type", 400)
        response = await client.ask("taxi", "refuse")
        assert response["error"] == {
            "status": 403, "message": "Not yours", "id": "taxi.fleet.not_yours", "code": 7, "props": ["x"],
        }  # fmt: skip
        assert await client.refusal("taxi", "refuseInTask") == ("taxi.fleet.not_yours", 403)
        answer = await http.get("/nowhere")
        assert (answer.status_code, answer.json()["error"]["id"]) == (404, "network.http.url_not_found")
        answer = await http.get("/_/taxi/refuse")
        assert (answer.status_code, answer.json()["error"]["id"]) == (403, "taxi.fleet.not_yours")


@pytest.mark.parametrize("body", [[], [1], {}, {"a": None}, None])
async def test_whatever_body_an_action_gets_its_client_is_to_blame(body):
    """A failure of 500 would be the node's, and too many of them eject it."""
    async with kuzzle() as world, world.client() as client:
        for controller, actions in world.apis[0]._actions.items():
            for action in actions:
                response = await client.ask(controller, action, index="i", collection="c", _id="d", body=body)
                assert response["status"] < 500, (controller, action)


async def test_what_is_no_request_is_answered_without_a_room():
    async with kuzzle(make=taxi_api) as world, world.client() as client:
        for nonsense in ("{", "[]", '"x"'):
            await client.send(nonsense)
            message = await client.receive()
            assert message["error"]["id"] == "network.websocket.unexpected_error"
            assert not message["room"]
        assert (await client.ask("taxi", "call", number="7", body={"to": "Orly"}))["status"] == 201


@pytest.mark.parametrize("action", ["fail", "unserializable"])
async def test_an_unexpected_error_says_nothing_but_the_id_of_the_log_line(action):
    async with kuzzle(make=taxi_api) as world, world.client() as client:
        with structlog.testing.capture_logs() as logs:
            response = await client.ask("taxi", action)
        assert (response["status"], response["error"]["id"]) == (500, "plugin.runtime.unexpected_error")
        [line] = [line for line in logs if line["event"] == "action_failed"]
        assert response["error"]["message"] == f"Caught an unexpected plugin error: internal error ({line['id']})"
        assert (line["controller"], line["action"]) == ("taxi", action)
        assert "hunter2" not in json.dumps(response)


async def test_what_an_action_did_before_it_failed_is_not_done_unless_it_was_flushed():
    """As with every handler: its effects travel with its reply, and a failure is none."""

    def make(node: Node) -> Api:
        api = full_api(node)

        @api.action("taxi", "fail")
        async def fail(request):
            await node.notify({"room": "flushed"}, clients=[request.client])
            if request.flag("flush"):
                await request.flush()
            await node.notify({"room": "dropped"}, clients=[request.client])
            raise ForbiddenError("Not yours", "taxi.fleet.not_yours")

        return api

    async with kuzzle(make=make) as world, world.client() as client:
        assert await client.refusal("taxi", "fail") == ("taxi.fleet.not_yours", 403)
        assert await client.told_nothing()
        assert await client.refusal("taxi", "fail", flush=True) == ("taxi.fleet.not_yours", 403)
        assert await client.told() == {"room": "flushed"}
        assert await client.told_nothing()


async def test_cors_preflight_and_head():
    async with kuzzle(make=taxi_api) as world, world.http() as http:
        answer = await http.options("/taxi/7/call", headers={"origin": "https://app.example"})
        assert (answer.status_code, answer.json()["result"]) == (200, {})
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert answer.headers["vary"] == "Origin"
        answer = await http.head("/")
        assert (answer.status_code, answer.content) == (200, b"")


async def test_a_whole_request_by_post():
    async with kuzzle(make=taxi_api) as world, world.http() as http:
        body = {"controller": "taxi", "action": "call", "number": "9", "body": {"to": "x"}, "requestId": "q"}
        answer = await http.post("/_query", json=body)
        assert (answer.status_code, answer.json()["result"]["number"], answer.json()["requestId"]) == (201, "9", "q")
        assert answer.headers["x-kuzzle-request-id"] == "q"


async def test_the_sdk_learns_the_routes():
    async with kuzzle(make=taxi_api) as world, world.http() as http:
        answer = await http.get("/_publicApi")
        assert answer.json()["result"] == world.apis[0].description()
        assert answer.json()["result"]["taxi"]["call"]["http"][0]["verb"] == "POST"


def test_an_action_is_there_once():
    api = taxi_api(Node("n"))
    with pytest.raises(ConfigError, match="taxi:call is there already"):
        api.action("taxi", "call")(lambda request: None)
    with pytest.raises(ConfigError, match="registered already"):
        Api(api.node)


async def test_an_action_may_be_a_plain_function():
    def make(node):
        api = full_api(node)
        api.action("taxi", "plain")(lambda request: {"user": request.user})
        return api

    async with kuzzle(make=make) as world, world.client() as client:
        assert await client.result("taxi", "plain") == {"user": "-1"}


def test_it_is_for_a_node_of_trios():
    """What it registers itself is Trio's, and would be run in asyncio."""
    with pytest.raises(ConfigError, match="is of holdfast"):
        Api(holdfast.asyncio.Node("test"))
