// The API of examples/kuzzle_node.py through Kuzzle's SDK: `node api.mjs ws|http HOST PORT`.
// Requests go over the protocol named; notifications always come over a WebSocket of their own.
import { assert, connected, done, fail, Http, Inbox, refusal, step, WebSocket } from "./steps.mjs";

const [protocol, ...address] = process.argv.slice(2);
const index = `sdk-${protocol}`;

async function main() {
  const kuzzle = await connected(protocol === "http" ? Http : WebSocket, address);
  const listener = await connected(WebSocket, address);

  await step("server", async () => {
    const now = await kuzzle.server.now();
    assert.ok(Math.abs(now - Date.now()) < 60_000, `now is ${now}`);
    const { serverInfo } = await kuzzle.server.info();
    assert.equal(serverInfo.kuzzle.api.routes.server.now.http[0].url, "/_now");
  });

  await step("volatile data", async () => {
    const response = await kuzzle.query({ controller: "server", action: "now", volatile: { trace: "a1" } });
    assert.equal(response.volatile.trace, "a1");
    assert.match(response.volatile.sdkName, /^js@/);
    assert.equal(response.status, 200);
    assert.equal(response.error, null);
    assert.match(response.node, /^kuzzle-/);
    assert.equal(response.room, protocol === "http" ? undefined : response.requestId);
  });

  await step("login", async () => {
    assert.equal((await kuzzle.auth.getCurrentUser())._id, "-1");
    const wrong = kuzzle.auth.login("local", { username: "demo", password: "wrong" });
    assert.deepEqual(await refusal(wrong), { id: "plugin.strategy.missing_user", status: 401, code: 0x04030014 });
    const strategy = kuzzle.auth.login("oauth", {});
    assert.equal((await refusal(strategy)).id, "security.credentials.unknown_strategy");

    const jwt = await kuzzle.auth.login("local", { username: "demo", password: "demo" }, "1h");
    assert.equal(jwt.split(".").length, 3);
    assert.ok(kuzzle.authenticated);
    const user = await kuzzle.auth.getCurrentUser();
    assert.equal(user._id, "demo");
    assert.deepEqual(user.profileIds, ["default"]);
    const checked = await kuzzle.auth.checkToken();
    assert.deepEqual([checked.valid, checked.kuid], [true, "demo"]);
  });

  await step("indexes and collections", async () => {
    assert.equal(await kuzzle.index.exists(index), false);
    await kuzzle.index.create(index);
    assert.equal((await refusal(kuzzle.index.create(index))).id, "services.storage.index_already_exists");
    assert.equal(await kuzzle.index.exists(index), true);
    assert.ok((await kuzzle.index.list()).includes(index));
    await kuzzle.collection.create(index, "rides", {});
    assert.equal(await kuzzle.collection.exists(index, "rides"), true);
    assert.deepEqual((await kuzzle.collection.list(index)).collections, [{ name: "rides", type: "stored" }]);
  });

  const cheap = new Inbox(); // rides below 20: one comes into the scope and goes out of it
  const room = await listener.realtime.subscribe(index, "rides", { range: { price: { lt: 20 } } }, cheap.push);

  await step("documents with their notifications", async () => {
    const created = await kuzzle.document.create(index, "rides", { price: 12, driver: { name: "Ada" } }, "r1", {
      volatile: { from: "the test" },
    });
    assert.deepEqual([created._id, created._version, created._source.price], ["r1", 1, 12]);
    assert.equal(created._source._kuzzle_info.author, "demo");

    const told = await cheap.next();
    assert.equal(told.type, "document");
    assert.deepEqual(
      [told.event, told.action, told.scope, told.status, told.index, told.collection, told.controller],
      ["write", "create", "in", 200, index, "rides", "document"],
    );
    assert.deepEqual([told.result._id, told.result._source.price], ["r1", 12]);
    assert.equal(told.volatile.from, "the test");
    assert.equal(told.protocol, protocol === "http" ? "http" : "websocket");
    assert.match(told.room, new RegExp(`^${room}-`));

    const changed = await kuzzle.document.update(index, "rides", "r1", { driver: { phone: "1" } }, { source: true });
    assert.deepEqual(changed._source.driver, { name: "Ada", phone: "1" });
    const updated = await cheap.next();
    assert.deepEqual([updated.action, updated.scope, updated.result._updatedFields], ["update", "in", ["driver.phone"]]);

    await kuzzle.document.update(index, "rides", "r1", { price: 50 });
    const left = await cheap.next();
    assert.deepEqual([left.action, left.scope, left.result._source.price], ["update", "out", 50]);

    await kuzzle.document.replace(index, "rides", "r1", { price: 9 });
    assert.deepEqual((await cheap.next()).action, "replace");
    const got = await kuzzle.document.get(index, "rides", "r1");
    assert.deepEqual([got._version, got._source.price, got._source.driver], [4, 9, undefined]);

    const silent = await kuzzle.document.createOrReplace(index, "rides", "r2", { price: 1 }, { silent: true });
    assert.equal(silent.created, true);

    assert.equal(await kuzzle.document.delete(index, "rides", "r1"), "r1");
    const gone = await cheap.next();
    assert.deepEqual([gone.event, gone.action, gone.scope, gone.result._id], ["delete", "delete", "out", "r1"]);
    assert.equal(await kuzzle.document.exists(index, "rides", "r1"), false);
    assert.equal(cheap.size, 0);
  });

  await step("search", async () => {
    for (const price of [5, 15, 25, 35]) await kuzzle.document.create(index, "rides", { price, kind: "cab" });
    for (const price of [5, 15]) assert.equal((await cheap.next()).result._source.price, price);
    const query = { and: [{ equals: { kind: "cab" } }, { range: { price: { gte: 10 } } }] };
    const first = await kuzzle.document.search(
      index, "rides", { query, sort: [{ price: "desc" }] }, { lang: "koncorde", size: 2 },
    );
    assert.deepEqual([first.total, first.hits.map((hit) => hit._source.price)], [3, [35, 25]]);
    const second = await kuzzle.document.search(
      index, "rides", { query, sort: [{ price: "desc" }] }, { lang: "koncorde", size: 2, from: 2 },
    );
    assert.deepEqual(second.hits.map((hit) => hit._source.price), [15]);
    assert.equal((await kuzzle.document.search(index, "rides")).total, 5);
    assert.equal(await kuzzle.document.count(index, "rides"), 5);
  });

  await step("errors", async () => {
    const cases = [
      [() => kuzzle.query({ controller: "nope", action: "now" }), "api.process.controller_not_found", 404, 0x02020004],
      [() => kuzzle.query({ controller: "server", action: "nope" }), "api.process.action_not_found", 404, 0x02020005],
      [() => kuzzle.document.get(index, "rides", "none"), "services.storage.not_found", 404, 0x0101000b],
      [() => kuzzle.document.create(index, "rides", {}, "r2"), "services.storage.document_already_exists", 400, 0x01010011],
      [() => kuzzle.document.create(index, "rides", {}, "_r"), "api.assert.invalid_id", 400, 0x0201000a],
      [() => kuzzle.document.create("none", "rides", {}), "services.storage.unknown_index", 412, 0x01010001],
      [() => kuzzle.document.create(index, "none", {}), "services.storage.unknown_collection", 412, 0x01010002],
      [() => kuzzle.query({ controller: "taxi", action: "call", number: "99" }), "taxi.fleet.unknown_taxi", 404, 0],
      [() => kuzzle.query({ controller: "taxi", action: "call", number: "7" }), "api.assert.body_required", 400, 0x02010008],
      [
        () => kuzzle.document.search(index, "rides", { query: { like: { a: 1 } } }, { lang: "koncorde" }),
        "api.assert.koncorde_dsl_error", 400, 0x0201000e,
      ],
      [
        () => listener.realtime.subscribe(index, "rides", { range: { price: {} } }, cheap.push),
        "api.assert.koncorde_dsl_error", 400, 0x0201000e,
      ],
      [() => listener.realtime.unsubscribe("none"), "core.realtime.not_subscribed", 412, 0x00010008],
    ];
    for (const [attempt, id, status, code] of cases) {
      const got = await refusal(attempt());
      // Over HTTP the SDK itself refuses what server:publicApi does not name.
      if (protocol === "http" && id.startsWith("api.process")) assert.equal(got.id, undefined);
      else assert.deepEqual(got, { id, status, code });
    }
  });

  await step("a controller of one's own", async () => {
    const { result } = await kuzzle.query({ controller: "taxi", action: "call", number: "7", body: { to: "Orly" } });
    assert.deepEqual(result, { taxi: "a yellow cab", to: "Orly", for: "demo" });
  });

  await step("publish", async () => {
    assert.equal(await kuzzle.realtime.publish(index, "rides", { price: 3 }, { _id: "m1" }), true);
    await kuzzle.realtime.publish(index, "rides", { price: 30 });
    await kuzzle.realtime.publish(index, "rides", { price: 4 });
    const told = await cheap.next();
    assert.deepEqual([told.event, told.action, told.scope, told.result._id], ["publish", "publish", "in", "m1"]);
    assert.equal(told.result._source.price, 3);
    assert.equal(told.result._source._kuzzle_info.author, "demo");
    assert.equal((await cheap.next()).result._source.price, 4);
  });

  await step("rooms and their users", async () => {
    const users = new Inbox();
    const everything = await listener.realtime.subscribe(index, "rides", {}, users.push, { users: "all", scope: "none" });
    assert.notEqual(everything, room);
    assert.equal(await listener.realtime.count(everything), 1);

    const other = await connected(WebSocket, address);
    const same = await other.realtime.subscribe(index, "rides", {}, () => {}, { volatile: { name: "Grace" } });
    assert.equal(same, everything);
    const came = await users.next();
    assert.deepEqual(
      [came.type, came.user, came.result, came.volatile.name], ["user", "in", { count: 2 }, "Grace"],
    );
    assert.equal(await listener.realtime.count(everything), 2);
    // The same filter in another order is the same room.
    const twins = [[{ equals: { a: 1 } }, { exists: "b" }], [{ exists: "b" }, { equals: { a: 1 } }]];
    const ids = [];
    for (const and of twins) ids.push(await other.realtime.subscribe(index, "rides", { and }, () => {}));
    assert.equal(ids[0], ids[1]);
    assert.equal(await other.realtime.count(ids[0]), 1);

    await other.realtime.unsubscribe(same);
    const went = await users.next();
    assert.deepEqual([went.user, went.result, went.volatile.name], ["out", { count: 1 }, "Grace"]);

    await other.realtime.subscribe(index, "rides", {}, () => {});
    assert.equal((await users.next()).user, "in");
    other.disconnect();
    const dropped = await users.next();
    assert.deepEqual([dropped.user, dropped.result], ["out", { count: 1 }]);
    assert.equal(await listener.realtime.count(ids[0]), 0);
    assert.equal(users.size, 0);

    const { result: rooms } = await kuzzle.query({ controller: "realtime", action: "list" });
    assert.deepEqual(rooms[index].rides, { [room]: 1, [everything]: 1 });
  });

  await step("unsubscribe", async () => {
    await listener.realtime.unsubscribe(room);
    assert.equal(await listener.realtime.count(room), 0);
    await kuzzle.realtime.publish(index, "rides", { price: 1 });
    await kuzzle.server.now();
    await listener.server.now();
    assert.equal(cheap.size, 0);
  });

  await step("logout", async () => {
    const { jwt } = kuzzle;
    await kuzzle.auth.logout();
    assert.equal((await kuzzle.auth.checkToken(jwt)).valid, false);
    const revoked = kuzzle.query({ controller: "server", action: "now", jwt });
    assert.deepEqual(await refusal(revoked), { id: "security.token.invalid", status: 401, code: 0x07010001 });
    assert.deepEqual(await refusal(kuzzle.query({ controller: "auth", action: "logout" })), {
      id: "security.rights.unauthorized", status: 401, code: 0x07030001,
    });
  });

  kuzzle.disconnect();
  listener.disconnect();
}

main().then(done, fail);
