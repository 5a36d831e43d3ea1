// Server-Sent Events from a fetched body: EventSource can't send a header, and a token belongs into no address.

/**
 * The events of a stream, as `{type, data, id}`; comments, which keep the line open, come as events without a type.
 *
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 */
export async function* readEvents(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split(/\r\n\r\n|\n\n|\r\r/);
    rest = blocks.pop() ?? "";
    for (const block of blocks) yield parse(block);
  }
}

/** @param {string} block */
function parse(block) {
  /** @type {{ type: string | null, data: string, id: string | null }} */
  const event = { type: null, data: "", id: null };
  for (const line of block.split(/\r\n|\n|\r/)) {
    const [, name, value = ""] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (name === "event") event.type = value;
    else if (name === "data") event.data += event.data ? `\n${value}` : value;
    else if (name === "id") event.id = value;
  }
  return event;
}
