// What both scripts share: the SDK, steps that are told on stdout as they pass, and waiting for what must come.
import assert from "node:assert/strict";
import sdk from "kuzzle-sdk";

export const { Kuzzle, WebSocket, Http } = sdk;
export { assert };

const PATIENCE = 10_000; // ms; nothing here needs more than a fraction of it

/** jwt: a token that it has from the start. When it connects the SDK asks whether it is somebody, and does not wait for
 * the answer: one that comes after a login has it think that it is nobody, and not log in anew later. */
export async function connected(kind, [host, port], jwt) {
  const kuzzle = new Kuzzle(new kind(host, { port: Number(port) }), { requestTimeout: PATIENCE });
  if (jwt) kuzzle.jwt = jwt;
  await kuzzle.connect();
  return kuzzle;
}

export function tell(what) {
  process.stdout.write(JSON.stringify(what) + "\n");
}

export async function step(name, run) {
  await run();
  tell({ step: name });
}

/** The error of a promise that must be refused, as {id, status, code}. */
export async function refusal(promise) {
  const { id, status, code } = await promise.then(
    (value) => assert.fail(`expected an error, got ${JSON.stringify(value)}`),
    (error) => error,
  );
  return { id, status, code };
}

/** Notifications as they come; `next` takes them one by one, in order, and fails if none comes. */
export class Inbox {
  #come = [];
  #waiting = [];
  push = (notification) => {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(notification);
    else this.#come.push(notification);
  };
  get size() {
    return this.#come.length;
  }
  next() {
    if (this.#come.length) return Promise.resolve(this.#come.shift());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("no notification came")), PATIENCE);
      this.#waiting.push((notification) => (clearTimeout(timer), resolve(notification)));
    });
  }
}

/** Scripts end by process.exit, when all is written: the SDK's timers of requests would keep them alive. */
export function done() {
  process.stdout.write("", () => process.exit(0));
}

export function fail(error) {
  console.error(error);
  process.exit(1);
}
