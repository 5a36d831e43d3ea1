"""Was everything published? What the relay put on Kafka, read with librdkafka, against the log."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.store.connect import Connection
from tests.support.oracle import Fact, some
from tests.support.topics import TopicReader


@dataclass
class RelayOracle:
    """What has been published in one world so far; the topics are read from where the world began."""

    events: TopicReader
    refused: TopicReader
    reached: dict[int, int] = field(default_factory=dict)
    published: set[tuple[int, int]] = field(default_factory=set)
    refusals: set[tuple[int, int]] = field(default_factory=set)
    found: list[str] = field(default_factory=list)

    async def problems(self, connection: Connection, facts: Mapping[int, list[Fact]]) -> list[str]:
        """O8: every fact in order, every refused record with its reason; call this when the relay has caught up."""
        for record in await self.events.read_to_end():
            event = json.loads(record.value or b"{}")
            self._take(event, record.value or b"", facts)
        for record in await self.refused.read_to_end():
            self.refusals.add((int(record.headers["origin-partition"]), int(record.headers["origin-offset"])))
        rows = await connection.fetch('SELECT partition, "offset" FROM refused')
        missing = {(fact.shard, fact.position) for known in facts.values() for fact in known} - self.published
        lost = {(row["partition"], row["offset"]) for row in rows} - self.refusals
        return self.found + some("O8 facts never published", missing) + some("O8 refused records never published", lost)

    def _take(self, event: dict[str, object], value: bytes, facts: Mapping[int, list[Fact]]) -> None:
        shard, position = event.get("shard"), event.get("position")
        if not isinstance(shard, int) or not isinstance(position, int):
            self.found.append(f"O8 what was published has no place: {value[:200]!r}")
            return
        seen = self.reached.get(shard, 0)
        if position > seen + 1:
            self.found.append(f"O8 {shard}:{position} was published before {shard}:{seen + 1}")
        self.reached[shard] = max(seen, position)
        self.published.add((shard, position))
        stored = facts[shard][position - 1] if position <= len(facts[shard]) else None
        if stored is None or stored.body not in value or (event["id"], event["source"]) != (stored.id, stored.source):
            self.found.append(f"O8 what was published as {shard}:{position} is not what is stored there")

    def close(self) -> None:
        """Let go of Kafka."""
        self.events.close()
        self.refused.close()
