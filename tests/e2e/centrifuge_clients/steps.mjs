// What the scripts share: a client, steps that are told on stdout as they pass, and waiting for what must come.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { Centrifuge } from "centrifuge";
import WebSocket from "ws";

export { assert };
export const address = process.argv[2];

const PATIENCE = 10_000; // ms; nothing here needs more than a fraction of it
const SECRET = process.env.JWT_SECRET;

const encoded = (value) => Buffer.from(value).toString("base64url");

/** A token of the user's, that ends in so many seconds. more: other claims. */
export function token(sub, seconds, more = {}) {
  const claims = { sub, exp: Date.now() / 1000 + seconds, ...more };
  const said = `${encoded('{"alg":"HS256"}')}.${encoded(JSON.stringify(claims))}`;
  return `${said}.${createHmac("sha256", SECRET).update(said).digest("base64url")}`;
}

/** events: what has come, by its name; `next` takes them one by one, and fails if none comes. */
export function client(options = {}) {
  const made = new Centrifuge(address, { websocket: WebSocket, timeout: PATIENCE, ...options });
  const events = Object.fromEntries(
    ["connected", "connecting", "disconnected", "error", "message", "subscribed", "publication", "unsubscribed"].map(
      (name) => [name, new Inbox(name)],
    ),
  );
  for (const [name, inbox] of Object.entries(events)) made.on(name, inbox.push);
  return Object.assign(made, { events });
}

/** A subscription with inboxes, as of `client`. */
export function subscription(made, channel, options = {}) {
  const sub = made.newSubscription(channel, options);
  const events = Object.fromEntries(
    ["subscribed", "subscribing", "unsubscribed", "error", "publication"].map((name) => [name, new Inbox(name)]),
  );
  for (const [name, inbox] of Object.entries(events)) sub.on(name, inbox.push);
  sub.subscribe();
  return Object.assign(sub, { events });
}

export async function connected(options) {
  const made = client(options);
  made.connect();
  await made.ready(PATIENCE);
  return made;
}

export function tell(what) {
  process.stdout.write(JSON.stringify(what) + "\n");
}

export async function step(name, run) {
  await run();
  tell({ step: name });
}

/** The error of a promise that must be refused. */
export async function refusal(promise) {
  return promise.then((value) => assert.fail(`expected an error, got ${JSON.stringify(value)}`), (error) => error);
}

export class Inbox {
  #come = [];
  #waiting = [];
  constructor(name) {
    this.name = name;
  }
  push = (event) => {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(event);
    else this.#come.push(event);
  };
  get size() {
    return this.#come.length;
  }
  next() {
    if (this.#come.length) return Promise.resolve(this.#come.shift());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no "${this.name}" came`)), PATIENCE);
      this.#waiting.push((event) => (clearTimeout(timer), resolve(event)));
    });
  }
}

/** Scripts end by process.exit, when all is written: timers of a client would keep them alive. */
export function done() {
  process.stdout.write("", () => process.exit(0));
}

export function fail(error) {
  console.error(error);
  process.exit(1);
}
