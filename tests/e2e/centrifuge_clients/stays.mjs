// One that is connected, and tells what becomes of that.
import { connected, fail, tell, token } from "./steps.mjs";

const ada = await connected({ token: token("ada", 600) }).catch(fail);
await ada.events.connecting.next();
tell({ connected: true });
const { code } = await ada.events.connecting.next().catch(fail);
tell({ code, state: ada.state });
