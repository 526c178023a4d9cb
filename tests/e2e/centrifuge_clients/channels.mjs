// Clients that subscribe and publish, and come back.
import { assert, connected, done, fail, refusal, step, subscription, token } from "./steps.mjs";

const numbers = (from, to) => Array.from({ length: to - from }, (_, n) => from + n);

async function run() {
  const ada = await connected({ token: token("ada", 600) });
  const bob = await connected({ token: token("bob", 600) });
  const room = subscription(ada, "room:5", { data: { a: "ü" } });
  const his = subscription(bob, "room:5");

  await step("a node lets it subscribe, or not", async () => {
    const told = await room.events.subscribed.next();
    assert.deepEqual(told.data, { room: 5, said: { a: "ü" } });
    assert.deepEqual([told.positioned, told.recoverable, told.wasRecovering], [false, false, false]);
    assert.deepEqual((await his.events.subscribed.next()).data, { room: 5, said: null });
    assert.deepEqual(await subscription(ada, "room:10").events.unsubscribed.next(), {
      channel: "room:10", code: 404, reason: "no such room",
    });
    assert.equal((await subscription(ada, "elsewhere").events.unsubscribed.next()).code, 103);
  });

  await step("what one publishes others get, with who it was", async () => {
    const { client: id } = await ada.events.connected.next();
    await room.publish("hello");
    for (const sub of [room, his]) {
      const { data, info, offset } = await sub.events.publication.next();
      assert.deepEqual(data, { room: 5, text: "hello" });
      assert.deepEqual([info.client, info.user, offset], [id, "ada", undefined]);
    }
    assert.deepEqual(await refusal(room.publish("bad")), { code: 422, message: "not that", temporary: false });
    assert.equal((await refusal(ada.publish("elsewhere", 1))).code, 103);
    his.unsubscribe();
    await his.events.unsubscribed.next();
    await room.publish("alone");
    assert.deepEqual((await room.events.publication.next()).data, { room: 5, text: "alone" });
    await bob.rpc("echo", 1);
    assert.equal(his.events.publication.size, 0);
  });

  await step("a token lets it subscribe, and a new one puts off the end", async () => {
    let asked = 0;
    const getToken = async () => (asked++, token("ada", 3, { channel: "signed:1", info: { role: "boss" } }));
    const signed = subscription(ada, "signed:1", { getToken });
    assert.deepEqual((await signed.events.subscribed.next()).data, { role: "boss" });
    while (asked < 4) await new Promise((resolve) => setTimeout(resolve, 50)); // of 3 s each: the first is long over
    assert.deepEqual([signed.state, signed.events.subscribing.size], ["subscribed", 1]);
    const others = subscription(ada, "signed:2", { token: token("bob", 60, { channel: "signed:2" }) });
    assert.equal((await others.events.unsubscribed.next()).code, 103);
    signed.unsubscribe();
  });

  await step("a node has it in a channel", async () => {
    for (let round = 0; round < 2; round++) {
      await ada.rpc("into", "side:1");
      assert.equal((await ada.events.subscribed.next()).channel, "side:1");
      const { channel, data } = await ada.events.publication.next();
      assert.deepEqual([channel, data], ["side:1", "welcome"]);
      assert.equal((await ada.events.unsubscribed.next()).channel, "side:1");
    }
  });

  await step("what it has missed it gets when it comes back", async () => {
    const log = subscription(ada, "log:1");
    const { streamPosition } = await log.events.subscribed.next();
    assert.deepEqual([typeof streamPosition.epoch, streamPosition.offset], ["string", 0]);
    const got = [];
    let all = bob.rpc("notify", { channel: "log:1", numbers: numbers(0, 100) });
    for (let round = 1; round <= 5; round++) {
      while (got.length < round * 100 - 30) got.push(await log.events.publication.next());
      ada.disconnect();
      await all;
      all = bob.rpc("notify", { channel: "log:1", numbers: numbers(round * 100, round * 100 + 100) });
      ada.connect();
      const again = await log.events.subscribed.next();
      assert.deepEqual([again.wasRecovering, again.recovered], [true, true]);
    }
    await all;
    while (got.length < 600) got.push(await log.events.publication.next());
    assert.deepEqual(got.map(({ data }) => data), numbers(0, 600));
    assert.deepEqual(got.map(({ offset }) => offset), numbers(1, 601));
    assert.deepEqual((await bob.rpc("log", "log:1")).data, numbers(0, 600));
    await log.publish("mine");
    const mine = await log.events.publication.next();
    assert.deepEqual([mine.data, mine.offset, mine.info.user], ["mine", 601, "ada"]);
  });

  ada.disconnect();
  bob.disconnect();
}

run().then(done, fail);
