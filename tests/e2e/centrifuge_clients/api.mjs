// The whole of what a client can ask, against a proxy with tokens.
import { assert, client, connected, done, fail, refusal, step, token } from "./steps.mjs";

async function run() {
  const ada = await connected({ token: token("ada", 600), data: { view: "grüße" }, name: "web" });

  await step("connect", async () => {
    const told = await ada.events.connected.next();
    const { data } = await ada.rpc("who", null);
    assert.equal(data.id, told.client);
    assert.equal(data.user, "ada");
    assert.equal(data.path, "/connection/websocket");
    assert.deepEqual(JSON.parse(data.data), { view: "grüße" });
    assert.equal(data.name, "web");
  });

  await step("rpc", async () => {
    for (const value of [{ a: [1, "é\n\u2028"] }, [], 0, "", "text", true, "x".repeat(100_000)]) {
      assert.deepEqual((await ada.rpc("echo", value)).data, value);
    }
    const half = "\ud83d";
    assert.equal((await refusal(ada.rpc("echo", half))).code, 404); // it comes to a node, where msgspec reads no field of it
    const many = Array.from({ length: 200 }, (_, n) => n);
    assert.deepEqual(await Promise.all(many.map(async (n) => (await ada.rpc("echo", n)).data)), many);
  });

  await step("many commands in one message", async () => {
    ada.startBatching();
    const many = Array.from({ length: 200 }, (_, n) => n);
    const replies = many.map(async (n) => (await ada.rpc("echo", n)).data);
    ada.stopBatching();
    assert.deepEqual(await Promise.all(replies), many);
  });

  await step("errors", async () => {
    assert.deepEqual(await refusal(ada.rpc("fail", 409)), { code: 409, message: "as you like", temporary: false });
    assert.equal((await refusal(ada.rpc("fail", 503))).temporary, true);
    assert.equal((await refusal(ada.rpc("nothing of ours", 1))).code, 404);
    assert.equal((await refusal(ada.history("c", { limit: 1 }))).code, 108);
    assert.equal((await refusal(ada.presence("c"))).code, 108);
  });

  await step("send, and a message of the server's", async () => {
    await ada.send({ type: "move", to: [1, 2] });
    assert.deepEqual((await ada.events.message.next()).data, { moved: [1, 2] });
  });

  await step("without a token", async () => {
    const nobody = client();
    nobody.connect();
    assert.equal((await nobody.events.disconnected.next()).code, 101);
    assert.equal(nobody.state, "disconnected");
  });

  await step("an expired token brings a new one", async () => {
    let asked = 0;
    const bob = await connected({ token: token("bob", -60), getToken: async () => (asked++, token("bob", 600)) });
    assert.equal((await bob.events.error.next()).error.code, 109);
    assert.equal(asked, 1);
    assert.equal((await bob.rpc("who", null)).data.user, "bob");
    bob.disconnect();
  });

  await step("a token is refreshed on the open connection", async () => {
    let asked = 0;
    const eve = await connected({ token: token("eve", 3), getToken: async () => (asked++, token("eve", 3)) });
    const { client: id } = await eve.events.connected.next();
    while (asked < 4) await new Promise((resolve) => setTimeout(resolve, 50)); // of 3 s each: the first is long over
    assert.equal((await eve.rpc("who", null)).data.id, id);
    assert.equal(eve.events.disconnected.size, 0);
    eve.disconnect();
  });

  await step("closed by a node", async () => {
    const kim = await connected({ token: token("kim", 600) });
    await kim.events.connecting.next();
    await refusal(kim.rpc("leave", null));
    assert.deepEqual(await kim.events.disconnected.next(), { code: 3503, reason: "go" });
    const pat = await connected({ token: token("pat", 600) });
    await pat.events.connecting.next();
    await refusal(pat.rpc("leave", 4100));
    assert.deepEqual(await pat.events.connecting.next(), { code: 4100, reason: "go" }); // and it comes back
    await pat.ready(5000);
    await pat.events.connected.next();
    await refusal(pat.rpc("leave", 4600));
    assert.equal((await pat.events.disconnected.next()).code, 4600);
  });

  ada.disconnect();
}

run().then(done, fail);
