/**
 * The host product's image service: sets the credits aside, calls its model, and says what that used.
 *
 *     node images.mjs PORT API TEAM SOURCE    the token of the service is in CREDITWELL_TOKEN; says its address once it listens
 *
 * `POST /images` with { member, tier } is answered by { credits }, or by why the team may not have the image.
 */
import { createServer } from "node:http";
import { json } from "node:stream/consumers";
import { setTimeout as wait } from "node:timers/promises";

import { ApiError, Creditwell } from "../../client/typescript/src/node.js";

const [port = "0", url = "", team = "", source = ""] = process.argv.slice(2);
const credits = new Creditwell({ url, token: process.env.CREDITWELL_TOKEN ?? "", source });
const MODEL_MS = 200;

/** It only stands for a model: the page draws the picture. */
const model = () => wait(MODEL_MS);

/** @param {{ member: string, tier: string }} wish */
async function image({ member, tier }) {
  const items = [{ feature: "ai_image.generate", quantity: "1", attributes: { tier } }];
  return credits.hold({ team, member, items }, async (hold) => {
    await model();
    hold.used(1);
    return hold.credits;
  });
}

const server = createServer(async (request, response) => {
  const say = (/** @type {number} */ status, /** @type {object} */ body) => {
    response.writeHead(status, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  };
  if (request.method !== "POST") return say(200, {});
  try {
    say(200, { credits: await image(/** @type {{ member: string, tier: string }} */ (await json(request))) });
  } catch (no) {
    if (no instanceof ApiError) say(no.status, { code: no.code, detail: no.message });
    else say(503, { code: "unavailable", detail: String(no) });
  }
});
server.listen(Number(port), "127.0.0.1", () => console.log(`http://127.0.0.1:${/** @type {{ port: number }} */ (server.address()).port}`));
