// A subscription while its nodes are killed: `node failover.mjs HOST PORT`. Says on stdout which node took it, then
// publishes, each message after the answer to the one before, over WebSocket and HTTP in turn, and tells its progress.
// "stop" on stdin ends it with a summary.
import { createInterface } from "node:readline";
import { assert, connected, done, fail, Http, Inbox, tell, WebSocket } from "./steps.mjs";

const address = process.argv.slice(2);

async function main() {
  const [subscriber, publisher, http] = [
    await connected(WebSocket, address), await connected(WebSocket, address), await connected(Http, address),
  ];
  const drops = [];
  for (const kuzzle of [subscriber, publisher]) {
    kuzzle.on("disconnected", () => drops.push("disconnected"));
    kuzzle.on("networkError", (error) => drops.push(error.message));
  }
  let stopped = false;
  createInterface({ input: process.stdin }).once("line", () => (stopped = true));

  const inbox = new Inbox();
  const filter = { and: [{ in: { kind: ["cab", "bus"] } }, { not: { equals: { secret: true } } }] };
  const request = { controller: "realtime", action: "subscribe", index: "city", collection: "moves", body: filter };
  const response = await subscriber.query({ ...request });
  subscriber.protocol.on(response.result.channel, inbox.push);
  tell({ subscribed: response.result.roomId, node: response.node });

  const nodes = new Set();
  let sent = 0;
  const retried = [];
  while (!stopped) {
    const body = { kind: sent % 3 ? "cab" : "bus", number: sent };
    const publish = { controller: "realtime", action: "publish", index: "city", collection: "moves", body };
    if (sent % 5 === 4) {
      // HTTP forbids to send a POST again on the client's behalf: the answer says so, and the client decides.
      const done = await http.query({ ...publish }).catch((error) => error);
      if (done instanceof Error) {
        assert.equal(done.id, "holdfast.node_lost", done.message);
        retried.push(sent);
        continue;
      }
      nodes.add(done.node);
    } else {
      nodes.add((await publisher.query({ ...publish })).node);
    }
    sent += 1;
    await publisher.query({ ...publish, body: { kind: "cab", secret: true } });
    if (sent % 10 === 0) tell({ published: sent });
  }
  const received = [];
  while (received.length < sent) received.push((await inbox.next()).result._source.number);
  const count = await subscriber.realtime.count(response.result.roomId);
  await subscriber.query({ controller: "realtime", action: "unsubscribe", body: { roomId: response.result.roomId } });
  const after = await subscriber.realtime.count(response.result.roomId);
  await publisher.realtime.publish("city", "moves", { kind: "cab", number: -1 });
  await subscriber.server.now();
  tell({ sent, received, retried, extra: inbox.size, count, after, drops, nodes: [...nodes] });
  subscriber.disconnect();
  publisher.disconnect();
}

main().then(done, fail);
