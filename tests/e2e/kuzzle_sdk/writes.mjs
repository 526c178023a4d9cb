// Documents while nodes are killed: `node writes.mjs HOST PORT`. Some writers make, change and delete documents, each
// write after the answer to the one before; a listener is told of all of it. Tells its progress; "stop" on stdin ends
// it with a summary: what was answered, and what was told, document by document.
import { createInterface } from "node:readline";
import { connected, done, fail, tell, WebSocket } from "./steps.mjs";

const WRITERS = 12;
const [index, collection] = ["city", "docs"];
const address = process.argv.slice(2);

async function main() {
  const listener = await connected(WebSocket, address);
  const writers = [];
  for (let n = 0; n < WRITERS; n++) writers.push(await connected(WebSocket, address));
  await writers[0].collection.create(index, collection);

  const told = {}; // by document: what the listener was told of it
  await listener.realtime.subscribe(index, collection, { range: { price: { lt: 20 } } }, (notification) => {
    const { action, scope, result } = notification;
    (told[result._id] ??= []).push(`${action} ${scope} ${result._source.price}`);
  });

  let stopped = false;
  createInterface({ input: process.stdin }).once("line", () => (stopped = true));
  const answered = {}; // by document: what should be told of what was answered
  let writes = 0;
  await Promise.all(writers.map(async ({ document }, writer) => {
    for (let turn = 0; !stopped; turn++) {
      const id = `${writer}-${turn}`;
      const expected = (answered[id] = []);
      const write = async (answer, version, ...notifications) => {
        const { _version } = await answer;
        if (version && _version !== version) throw new Error(`${id}: expected version ${version}, got ${_version}`);
        expected.push(...notifications);
        if (++writes % 100 === 0) tell({ published: writes });
      };
      await write(document.create(index, collection, { price: 1 }, id), 1, "create in 1");
      await write(document.update(index, collection, id, { price: 50 }), 2, "update out 50");
      await write(document.update(index, collection, id, { other: 1 }), 3);
      await write(document.replace(index, collection, id, { price: 2 }), 4, "replace in 2");
      await write(document.delete(index, collection, id), 0, "delete out 2");
    }
  }));
  await listener.server.now(); // what was told before this is here now
  tell({ writes, answered, told, left: await listener.document.count(index, collection) });
}

main().then(done, fail);
