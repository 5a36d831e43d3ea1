/**
 * Analytics in Node: what happened, from Kafka, and what it comes to, over HTTP.
 *
 *     make up | tail -1 > up.json && node reader.mjs < up.json
 *
 * Reads `credits.events` and `usage.refused` from the beginning to what is their end now. A reader that runs for ever does the
 * same, and keeps the positions that it has seen together with its results. Prints one JSON line.
 */
import { randomUUID } from "node:crypto";

import { Kafka as Binding } from "cloudevents";
import { Kafka, logLevel } from "kafkajs";

import { get, world, wrong } from "./contract.mjs";

const kafka = new Kafka({ clientId: "analytics-node", brokers: world.kafka.split(","), logLevel: logLevel.WARN });
const records = await read("credits.events", "usage.refused");
const { facts, dropped } = factsOf(records.filter((record) => record.topic === "credits.events"));
const refused = records.filter((record) => record.topic === "usage.refused");
const teams = {};
for (const team of world.teams) {
  const own = facts.filter((fact) => fact.subject === team.id);
  teams[team.id] = {
    used: String(used(own)),
    balance: await (await get(team, "member", "/balance")).json(),
    activity: await activity(team),
    stream: await follow(team, `${own[0].shard}:${own[0].position}`),
  };
}
console.log(
  JSON.stringify({
    facts: facts.map(({ shard, position, type, id }) => ({ shard, position, type, id })),
    dropped,
    refused: refused.map(({ key, value, headers }) => ({ key: text(key), value: text(value), headers })),
    teams,
  }),
);

/** Every record of these topics, each partition in its order. */
async function read(...topics) {
  const admin = kafka.admin();
  const ends = new Map();
  await admin.connect();
  for (const topic of topics) {
    for (const { partition, low, high } of await admin.fetchTopicOffsets(topic)) {
      if (low !== high) ends.set(`${topic}/${partition}`, BigInt(high));
    }
  }
  await admin.disconnect();
  const found = [];
  if (ends.size === 0) return found;
  const consumer = kafka.consumer({ groupId: `analytics-${randomUUID()}`, maxWaitTimeInMs: 100 });
  await consumer.connect();
  await consumer.subscribe({ topics, fromBeginning: true });
  await new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => reject(payload.error));
    const eachMessage = async ({ topic, partition, message }) => {
      found.push({ topic, partition, ...message, headers: texts(message.headers) });
      if (BigInt(message.offset) + 1n >= ends.get(`${topic}/${partition}`)) ends.delete(`${topic}/${partition}`);
      if (ends.size === 0) resolve();
    };
    consumer.run({ autoCommit: false, eachMessage }).catch(reject);
  });
  await consumer.disconnect();
  return found;
}

function texts(headers) {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, text(value)]));
}

/** What was refused comes as it was received: it may lack its key or its value. */
function text(bytes) {
  return bytes === null ? null : bytes.toString();
}

/** The facts, each once: some may be published again, and what has a position that was seen in its shard is one of those. */
function factsOf(records) {
  const seen = new Map();
  const facts = [];
  for (const { headers, key, value } of records) {
    const fact = Binding.toEvent({ headers, key: text(key), value: text(value) });
    check(fact);
    if (fact.position <= (seen.get(fact.shard) ?? 0)) continue;
    seen.set(fact.shard, fact.position);
    facts.push(fact);
  }
  return { facts, dropped: records.length - facts.length };
}

/** An error unless it is a CloudEvent under its team's key, with the contract's extensions and data as its schema says. */
function check(fact) {
  fact.validate();
  const placed = Number.isInteger(fact.shard) && Number.isInteger(fact.position) && !Number.isNaN(Date.parse(fact.recordedat));
  const problem = wrong(`facts/${fact.type}`, fact.data);
  if (!placed || fact.subject !== fact.partitionkey || problem) {
    throw new Error(`${fact.shard}:${fact.position} ${fact.type} is not as the contract says: ${problem}`);
  }
}

/** What work cost, in micro-credits. A number is exact to nine billion credits; whoever has more needs another JSON parser. */
function used(facts) {
  let sum = 0n;
  for (const { type, data } of facts) {
    if (type === "usage.recorded.v1") sum += BigInt(data.credits);
    if (type === "usage.voided.v1") sum -= BigInt(data.credits);
  }
  return sum;
}

/** A team's activity of a day, page by page, newest first. */
async function activity(team) {
  const items = [];
  for (let cursor = ""; cursor !== null; ) {
    const page = await (await get(team, "member", `/activity?days=1&limit=2${cursor && `&cursor=${cursor}`}`)).json();
    items.push(...page.items);
    cursor = page.next_cursor;
  }
  return items;
}

/** What a stream tells from a position to its first balance; and, when it is taken up again there, the same once more. */
async function follow(team, position) {
  const told = [];
  for (let visit = 0; visit < 2; visit += 1) {
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

/** Server-Sent Events, read with `fetch` because EventSource can't send a token. */
async function* stream(team, lastEventId) {
  const response = await get(team, "member", "/stream", { "last-event-id": lastEventId });
  let rest = "";
  for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + part).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const field = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
      if (field.event) yield { type: field.event, id: field.id, data: JSON.parse(field.data) };
    }
  }
}
