/**
 * Analytics in Node: what happened, from Kafka, and what it comes to, over HTTP.
 *
 *     make up | tail -1 > up.json && node reader.mjs < up.json
 *
 * Reads `credits.events` and `usage.refused` from the beginning to what is their end now. A reader that runs for ever does the
 * same, and keeps the positions that it has seen together with its results. Prints one JSON line.
 */
import { randomUUID } from "node:crypto";

import { Consumer, ListOffsetTimestamps, MessagesStreamModes, stringDeserializers } from "@platformatic/kafka";
import { Kafka as Binding, CloudEvent } from "cloudevents";

import { get, world, wrong } from "./contract.mjs";

/**
 * @typedef {import("./contract.mjs").Team} Team
 * @typedef {{ topic: string, key: string | null, value: string | null, headers: Record<string, string> }} Read
 * @typedef {CloudEvent<{ credits: string }> & { shard: number, position: number, recordedat: string }} Fact
 * @typedef {{ type: string, id: string, data: unknown }} Told
 * @typedef {{ items: object[], next_cursor: string | null }} Page
 */

const records = await read("credits.events", "usage.refused");
const { facts, dropped } = factsOf(records.filter((record) => record.topic === "credits.events"));
const refused = records.filter((record) => record.topic === "usage.refused");
/** @type {Record<string, object>} */
const teams = {};
for (const team of world.teams) {
  const own = facts.filter((fact) => fact.subject === team.id);
  const [first] = own;
  if (!first) throw new Error(`nothing is known of ${team.id}`);
  teams[team.id] = {
    used: String(used(own)),
    balance: await (await get(team, "member", "/balance")).json(),
    activity: await activity(team),
    stream: await follow(team, `${first.shard}:${first.position}`),
  };
}
console.log(
  JSON.stringify({
    facts: facts.map(({ shard, position, type, id }) => ({ shard, position, type, id })),
    dropped,
    refused: refused.map(({ key, value, headers }) => ({ key, value, headers })),
    teams,
  }),
);

/**
 * Every record of these topics, each partition in its order.
 *
 * @param {string[]} topics
 */
async function read(...topics) {
  const consumer = new Consumer({
    clientId: "analytics-node",
    groupId: `analytics-${randomUUID()}`,
    bootstrapBrokers: world.kafka.split(","),
    deserializers: stringDeserializers,
    maxWaitTime: 100,
  });
  /** @type {Read[]} */
  const found = [];
  const ends = await endsOf(consumer, topics);
  if (ends.size > 0) {
    const stream = await consumer.consume({ topics, mode: MessagesStreamModes.EARLIEST, autocommit: false });
    for await (const { topic, partition, offset, key, value, headers } of stream) {
      // What was refused comes as it was received: it may lack its key or its value.
      found.push({ topic, key: key ?? null, value: value ?? null, headers: Object.fromEntries(headers) });
      const place = `${topic}/${partition}`;
      if (offset + 1n >= (ends.get(place) ?? Infinity)) ends.delete(place);
      if (ends.size === 0) break;
    }
  }
  await consumer.close(true);
  return found;
}

/**
 * Where each partition that holds anything ends, by topic and partition.
 *
 * @param {Consumer<string, string, string, string>} consumer
 * @param {string[]} topics
 */
async function endsOf(consumer, topics) {
  /** @type {import("@platformatic/kafka").Offsets} */
  const lows = await consumer.listOffsets({ topics, timestamp: ListOffsetTimestamps.EARLIEST });
  /** @type {import("@platformatic/kafka").Offsets} */
  const highs = await consumer.listOffsets({ topics, timestamp: ListOffsetTimestamps.LATEST });
  /** @type {Map<string, bigint>} */
  const ends = new Map();
  for (const [topic, offsets] of highs) {
    for (const [partition, high] of offsets.entries()) {
      if (lows.get(topic)?.[partition] !== high) ends.set(`${topic}/${partition}`, high);
    }
  }
  return ends;
}

/**
 * The facts, each once: some may be published again, and what has a position that was seen in its shard is one of those.
 *
 * @param {Read[]} records
 */
function factsOf(records) {
  /** @type {Map<number, number>} */
  const seen = new Map();
  /** @type {Fact[]} */
  const facts = [];
  for (const { headers, key, value } of records) {
    const message = { headers, key, value, body: undefined }; // the binding for Kafka reads the value, whatever its type says of a body
    const fact = /** @type {Fact} */ (Binding.toEvent(message));
    check(fact);
    if (fact.position <= (seen.get(fact.shard) ?? 0)) continue;
    seen.set(fact.shard, fact.position);
    facts.push(fact);
  }
  return { facts, dropped: records.length - facts.length };
}

/**
 * An error unless it is a CloudEvent under its team's key, with the contract's extensions and data as its schema says.
 *
 * @param {Fact} fact
 */
function check(fact) {
  fact.validate();
  const placed = Number.isInteger(fact.shard) && Number.isInteger(fact.position) && !Number.isNaN(Date.parse(fact.recordedat));
  const problem = wrong(`facts/${fact.type}`, fact.data);
  if (!placed || fact.subject !== fact.partitionkey || problem) {
    throw new Error(`${fact.shard}:${fact.position} ${fact.type} is not as the contract says: ${problem}`);
  }
}

/**
 * What work cost, in micro-credits. A number is exact to nine billion credits; whoever has more needs another JSON parser.
 *
 * @param {Fact[]} facts
 */
function used(facts) {
  let sum = 0n;
  for (const { type, data } of facts) {
    if (type === "usage.recorded.v1") sum += BigInt(data?.credits ?? 0);
    if (type === "usage.voided.v1") sum -= BigInt(data?.credits ?? 0);
  }
  return sum;
}

/**
 * A team's activity of a day, page by page, newest first.
 *
 * @param {Team} team
 */
async function activity(team) {
  /** @type {object[]} */
  const items = [];
  /** @type {string | null} */
  let cursor = "";
  while (cursor !== null) {
    /** @type {Page} */
    const page = await (await get(team, "member", `/activity?days=1&limit=2${cursor && `&cursor=${cursor}`}`)).json();
    items.push(...page.items);
    cursor = page.next_cursor;
  }
  return items;
}

/**
 * What a stream tells from a position to its first balance; and, when it is taken up again there, the same once more.
 *
 * @param {Team} team
 * @param {string} position
 */
async function follow(team, position) {
  const told = [];
  for (let visit = 0; visit < 2; visit += 1) {
    /** @type {Told[]} */
    const events = [];
    for await (const event of stream(team, position)) {
      events.push(event);
      position = event.id;
      if (event.type === "balance") break;
    }
    told.push(events);
  }
  return told;
}

/**
 * Server-Sent Events, read with `fetch` because EventSource can't send a token.
 *
 * @param {Team} team
 * @param {string} lastEventId
 * @returns {AsyncGenerator<Told>}
 */
async function* stream(team, lastEventId) {
  const response = await get(team, "member", "/stream", { "last-event-id": lastEventId });
  if (!response.body) throw new Error("a stream without a body");
  let rest = "";
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + part).split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const { event, id, data } = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
      if (event) yield { type: event, id, data: JSON.parse(data) };
    }
  }
}
