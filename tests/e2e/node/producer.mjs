/**
 * A feature service in Node: reports usage with a Kafka client and the CloudEvents library, and asks what became of it.
 *
 *     make up | tail -1 > up.json && node producer.mjs < up.json
 *
 * Prints one JSON line, by team: the partitions that took its records, and the receipt of each event by its id.
 */
import { setTimeout as pause } from "node:timers/promises";

import { compatibilityPartitioner, Producer, stringSerializers } from "@platformatic/kafka";
import { Kafka as Binding, CloudEvent } from "cloudevents";

import { get, world, wrong } from "./contract.mjs";

/**
 * @typedef {import("./contract.mjs").Team} Team
 * @typedef {{ status: "pending" | "applied" | "refused" }} Receipt  and more, which this program does not look at
 */

const SOURCE = "/features/node";

const producer = new Producer({
  clientId: "features-node",
  bootstrapBrokers: world.kafka.split(","),
  serializers: stringSerializers,
  // The partitioner of the Java client, so that a team's usage is where Creditwell expects it. The package's own default differs from it
  // where the number of partitions is no power of two.
  partitioner: compatibilityPartitioner,
  idempotent: true, // acks=all, too
});

/** @type {Map<Team, number[]>} */
const partitions = new Map();
for (const team of world.teams) {
  /** @type {import("@platformatic/kafka").ProduceResult} */
  const { offsets = [] } = await producer.send({ messages: records(team) });
  partitions.set(
    team,
    offsets.map((place) => place.partition),
  );
}
await producer.close();
/** @type {Record<string, object>} */
const told = {};
for (const [team, taken] of partitions) {
  /** @type {Record<string, Receipt>} */
  const receipts = {};
  // A partition is read in order: when the last is known, all are.
  for (const id of ["comma", "void", "failed", "image", "render"]) receipts[id] = await receipt(team, id);
  told[team.id] = { partitions: taken, receipts };
}
console.log(JSON.stringify(told));

/**
 * A day's work: usage in both modes, a retry that sends the same again, a job that failed, and a mistake.
 *
 * @param {Team} team
 */
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

/**
 * @param {Team} team
 * @param {string} id
 * @param {string} feature
 * @param {string | number} quantity
 * @param {Record<string, string>} attributes
 */
function usage(team, id, feature, quantity, attributes) {
  return event(team, id, "usage.reported.v1", { member_id: team.members[0]?.id, feature, quantity, attributes });
}

/**
 * @param {Team} team
 * @param {string} id
 * @param {string} type
 * @param {object} data
 */
function event(team, id, type, data) {
  return new CloudEvent({ id, type, source: SOURCE, subject: team.id, datacontenttype: "application/json", data });
}

/**
 * The library's message as the client takes it: under the team's key, as text, without the headers that have no value.
 *
 * @param {Team} team
 * @param {import("cloudevents").KafkaMessage} message
 */
function record(team, { value, headers }) {
  return {
    topic: "usage",
    key: team.id,
    value: typeof value === "string" ? value : JSON.stringify(value),
    headers: Object.fromEntries(Object.entries(headers).flatMap(([name, text]) => (text === undefined ? [] : [[name, String(text)]]))),
  };
}

/**
 * @param {Team} team
 * @param {string} id
 */
async function receipt(team, id) {
  const about = new URLSearchParams({ source: SOURCE, id });
  for (const end = Date.now() + 60_000; Date.now() < end; await pause(50)) {
    /** @type {Receipt} */
    const found = await (await get(team, "service", `/receipts?${about}`)).json();
    if (found.status !== "pending") return found;
  }
  throw new Error(`${id} of ${team.id} is still pending`);
}
