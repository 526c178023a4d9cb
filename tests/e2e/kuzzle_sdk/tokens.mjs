// Subscriptions whose token ends: `node tokens.mjs HOST PORT`. What the SDK makes of it, with and without a way to log
// in anew.
import { assert, connected, done, fail, Inbox, step, WebSocket } from "./steps.mjs";

const address = process.argv.slice(2);
const SHORT = "5s"; // long enough to subscribe in it, however busy the machine

const login = (kuzzle, lifetime) => kuzzle.auth.login("local", { username: "demo", password: "demo" }, lifetime);

async function main() {
  const publisher = await connected(WebSocket, address);
  const desk = await connected(WebSocket, address); // logs in, for others

  await step("the end of a token", async () => {
    const kuzzle = await connected(WebSocket, address);
    const [rides, ends] = [new Inbox(), new Inbox()];
    kuzzle.on("tokenExpired", ends.push);
    await login(kuzzle, SHORT);
    await kuzzle.realtime.subscribe("tokens", "rides", {}, rides.push);
    await kuzzle.realtime.subscribe("tokens", "rides", { exists: "n" }, rides.push);
    await publisher.realtime.publish("tokens", "rides", { n: 1 });
    for (let room = 0; room < 2; room++) assert.equal((await rides.next()).result._source.n, 1);
    await ends.next();
    await publisher.realtime.publish("tokens", "rides", { n: 2 });
    assert.equal((await kuzzle.auth.getCurrentUser())._id, "-1"); // it has forgotten its token, and been told nothing more
    assert.deepEqual([rides.size, ends.size], [0, 0]);
    kuzzle.disconnect();
  });

  await step("logging in anew", async () => {
    const kuzzle = await connected(WebSocket, address, await login(desk, SHORT));
    const [rides, anew] = [new Inbox(), new Inbox()];
    kuzzle.on("reAuthenticated", anew.push);
    kuzzle.on("tokenExpired", () => fail(new Error("it had a way to log in")));
    kuzzle.authenticator = () => login(kuzzle, "1h");
    const room = await kuzzle.realtime.subscribe("tokens", "rides", {}, rides.push);
    await anew.next();
    let sent = 0;
    while (!rides.size) await publisher.realtime.publish("tokens", "rides", { n: sent++ }); // it subscribes meanwhile
    const first = (await rides.next()).result._source.n;
    for (let n = sent; n < sent + 5; n++) await publisher.realtime.publish("tokens", "rides", { n });
    for (let n = first + 1; n < sent + 5; n++) assert.equal((await rides.next()).result._source.n, n);
    assert.deepEqual([await kuzzle.realtime.count(room), rides.size, anew.size], [1, 0, 0]);
    kuzzle.disconnect();
  });

  await step("another one's logout", async () => {
    const jwt = await login(desk, "1h");
    const [one, other] = [await connected(WebSocket, address, jwt), await connected(WebSocket, address, jwt)];
    const ends = new Inbox();
    one.on("tokenExpired", () => fail(new Error("it has logged out itself")));
    other.on("tokenExpired", ends.push);
    for (const kuzzle of [one, other]) await kuzzle.realtime.subscribe("tokens", "rides", {}, () => {});
    await one.auth.logout();
    await ends.next();
    assert.equal((await one.auth.getCurrentUser())._id, "-1");
    one.disconnect();
    other.disconnect();
  });

  publisher.disconnect();
  desk.disconnect();
}

main().then(done, fail);
