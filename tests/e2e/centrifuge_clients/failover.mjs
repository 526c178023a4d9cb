// Calls without a pause while nodes are killed and the proxy is started anew; counted until "stop" comes on stdin.
import { connected, done, fail, tell, token } from "./steps.mjs";

const ada = await connected({ token: token("ada", 600), minReconnectDelay: 50, maxReconnectDelay: 200 }).catch(fail);
const seen = new Set();
const summary = { answered: 0, twice: 0, redelivered: 0, failed: [], closed: [] };
let stopping = false;
process.stdin.once("data", () => (stopping = true));
ada.on("connecting", (told) => summary.closed.push(told.code));

async function ask(first) {
  for (let n = first; !stopping; n += 10) {
    await ada.rpc("slow", n).then(
      ({ data }) => {
        summary.answered++;
        summary.redelivered += data.redelivered;
        summary.twice += seen.has(data.n);
        seen.add(data.n);
        if (data.n !== n) summary.failed.push(`asked ${n}, got ${data.n}`);
      },
      (error) => summary.failed.push(error),
    );
    if (summary.answered % 20 === 0) tell({ published: summary.answered });
  }
}

await Promise.all(Array.from({ length: 10 }, (_, n) => ask(n))).catch(fail);
tell(summary);
done();
