/**
 * A feature service in Node: reports usage with a Kafka client and the CloudEvents library, and asks what became of it.
 *
 *     make up | tail -1 > up.json && node producer.mjs < up.json
 *
 * Prints one JSON line, by team: the partitions that took its records, and the receipt of each event by its id.
 */
import { setTimeout as pause } from "node:timers/promises";

import { CloudEvent, Kafka as Binding } from "cloudevents";
import { Kafka, logLevel, Partitioners } from "kafkajs";

import { get, world, wrong } from "./contract.mjs";

const SOURCE = "/features/node";

const kafka = new Kafka({ clientId: "features-node", brokers: world.kafka.split(","), logLevel: logLevel.WARN });
// Kafka's default partitioner, so that a team's usage is where Creditwell expects it; idempotent means acks=all, too.
const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, idempotent: true });

const told = {};
await producer.connect();
for (const team of world.teams) {
  const places = await producer.send({ topic: "usage", messages: records(team) });
  told[team.id] = { partitions: places.map((place) => place.partition), receipts: {} };
}
await producer.disconnect();
for (const team of world.teams) {
  // A partition is read in order: when the last is known, all are.
  for (const id of ["comma", "void", "failed", "image", "render"]) told[team.id].receipts[id] = await receipt(team, id);
}
console.log(JSON.stringify(told));

/** A day's work: usage in both modes, a retry that sends the same again, a job that failed, and a mistake. */
function records(team) {
  const render = usage(team, "render", "video_export.render", "12.345678901", { resolution: "720p" });
  const image = usage(team, "image", "ai_image.generate", 3, { tier: "standard" });
  const failed = usage(team, "failed", "ai_image.generate", "2", { tier: "low" });
  const taken = { usage_source: SOURCE, usage_id: "failed", reason: "no image came" };
  const back = event(team, "void", "usage.voided.v1", taken);
  for (const fine of [render, image, failed, back]) {
    const problem = wrong(`usage/${fine.type}`, fine.toJSON());
    if (problem) throw new Error(`${fine.id}: ${problem}`);
  }
  const comma = usage(team, "comma", "ai_image.generate", "12,5", { tier: "low" });
  // A service would stop here. This one sends it all the same, to see where it goes.
  if (!wrong(`usage/${comma.type}`, comma.toJSON())) throw new Error("the schema has no objection to a comma");
  const { structured, binary } = Binding;
  const messages = [structured(render), binary(render), binary(image), structured(failed), binary(back), structured(comma)];
  return messages.map((message) => record(team, message));
}

function usage(team, id, feature, quantity, attributes) {
  return event(team, id, "usage.reported.v1", { member_id: team.members[0].id, feature, quantity, attributes });
}

function event(team, id, type, data) {
  return new CloudEvent({ id, type, source: SOURCE, subject: team.id, datacontenttype: "application/json", data });
}

/** The library's message as kafkajs takes it: under the team's key, as text, without the headers that have no value. */
function record(team, { value, headers }) {
  return {
    key: team.id,
    value: typeof value === "string" ? value : JSON.stringify(value),
    headers: Object.fromEntries(Object.entries(headers).filter(([, text]) => text !== undefined)),
  };
}

async function receipt(team, id) {
  const about = new URLSearchParams({ source: SOURCE, id });
  for (const end = Date.now() + 60_000; Date.now() < end; await pause(50)) {
    const found = await (await get(team, "service", `/receipts?${about}`)).json();
    if (found.status !== "pending") return found;
  }
  throw new Error(`${id} of ${team.id} is still pending`);
}
