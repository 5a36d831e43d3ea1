/**
 * What AsyncAPI's own parser says of a document: `node judge.mjs < told`, where `told` is JSON with its `path`. Prints JSON.
 */
import { readFileSync } from "node:fs";

import { fromFile, Parser } from "@asyncapi/parser";

const { path } = JSON.parse(readFileSync(0, "utf8"));
const { document, diagnostics } = await fromFile(new Parser(), path).parse();
const messages = document?.allMessages().all() ?? [];
console.log(
  JSON.stringify({
    wrong: diagnostics.filter(({ severity }) => severity < 2).map(({ code, message }) => `${code}: ${message}`), // errors and warnings
    topics:
      document
        ?.allChannels()
        .all()
        .map((channel) => channel.address()) ?? null,
    messages: messages.map((message) => ({ id: message.id(), members: Object.keys(message.payload()?.properties() ?? {}) })),
  }),
);
