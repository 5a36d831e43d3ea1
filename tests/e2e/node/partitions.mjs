/**
 * The partitions that the client chooses: `node partitions.mjs < told`, where `told` is JSON with `keys` and how many `partitions` there are.
 * Prints a JSON list.
 */
import { readFileSync } from "node:fs";

import { compatibilityPartitioner } from "@platformatic/kafka";

/** @type {{ keys: string[], partitions: number }} */
const { keys, partitions } = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(keys.map((key) => compatibilityPartitioner({ topic: "usage" }, Buffer.from(key)) % partitions)));
