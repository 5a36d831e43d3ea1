"""After the storm: is everything that Kafka took in the log, once, in order, and does every other number follow from it?

The oracle shares no code with what it judges: it reads Kafka with librdkafka, decides by rules of its own what should have become
of each record, hashes with hashlib, folds with `model.py`. It keeps what it has read, so that it can be asked often.

Its sentences begin with the number of the thing that broke:

    O1  what Kafka took = facts, refused and repeats, none twice      O5  a rebuilt projection = the live one
    O2  positions without gaps, heads behind the last one             O6  leaves, roots and chain
    O3  a team's order = the order of its partition                   O7  charges of Stripe = credits topped up
    O4  balances and usage = the log, folded by the model             O8  relayed: every fact, every refused record
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from struct import pack
from typing import Any, NamedTuple

from services.store.connect import Connection
from tests.support.model import Purse, purses
from tests.support.topics import Read, TopicReader
from tests.support.usage import PRICES

SHOWN = 3
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
OURS = "creditwell:"


class Identity(NamedTuple):
    team_id: str
    source: str
    id: str


class Said(NamedTuple):
    """A record that should have been recorded the first time it came; a void, only if what it takes back came before it."""

    identity: Identity
    contents: str
    takes_back: Identity | None


class Fact(NamedTuple):
    shard: int
    position: int
    recorded_at: datetime
    occurred_at: datetime
    team_id: str
    source: str
    id: str
    type: str
    body: bytes
    leaf: bytes


@dataclass
class Oracle:
    """What it has seen of one world so far; `begin` is where the world began in the topic."""

    kafka: str
    begin: Mapping[int, int]
    teams: set[str]
    said: dict[Identity, list[tuple[int, int, str]]] = field(default_factory=lambda: defaultdict(list))
    order: dict[tuple[str, int], list[Identity]] = field(default_factory=lambda: defaultdict(list))
    bad: set[tuple[int, int]] = field(default_factory=set)
    part_of_one: set[tuple[int, int]] = field(
        default_factory=set
    )  # of a batch that is refused as one, all but the first
    facts: dict[int, list[Fact]] = field(default_factory=lambda: {shard: [] for shard in range(64)})
    stored: dict[Identity, Fact] = field(default_factory=dict)
    chain: dict[int, tuple[int, bytes]] = field(default_factory=lambda: dict.fromkeys(range(64), (0, bytes(32))))
    purses: dict[str, Purse] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)  # what was wrong once stays wrong
    _usage: TopicReader | None = None

    async def problems(self, connection: Connection) -> list[str]:
        """What is wrong with the log; empty when nothing is."""
        for record in await self._topic().read_to_end():
            self._hear(record)
        return [*await self.log_problems(connection), *await self._outcomes(connection), *self._orders()]

    async def log_problems(self, connection: Connection) -> list[str]:
        """O2 and O6 alone: what the log says of itself, without a word about where it came from."""
        purses(await self._read_log(connection), self.purses)
        await self._follow_chain(connection)
        return [*self.found, *await self._heads(connection)]

    def refused_as_one(self, partition: int, base: int, count: int) -> None:
        """These records lie in one batch that nobody has to unpack."""
        self.part_of_one |= {(partition, base + n) for n in range(1, count)}

    def grow(self) -> None:
        """The topic has got more partitions."""
        self._topic().grow()

    async def ends(self) -> dict[int, int]:
        """Where the topic ends now."""
        return await self._topic().ends()

    def close(self) -> None:
        """Let go of Kafka."""
        if self._usage is not None:
            self._usage.close()

    def _topic(self) -> TopicReader:
        if self._usage is None:
            self._usage = TopicReader(self.kafka, "usage", self.begin)
        return self._usage

    def _hear(self, record: Read) -> None:
        if (record.partition, record.offset) in self.part_of_one:
            return
        said = judge(record, self.teams)
        if said is None or (said.takes_back is not None and said.takes_back not in self.said):
            self.bad.add((record.partition, record.offset))
            return
        if said.identity not in self.said:
            self.order[said.identity.team_id, record.partition].append(said.identity)
        self.said[said.identity].append((record.partition, record.offset, said.contents))

    async def _read_log(self, connection: Connection) -> list[Fact]:
        rows = await connection.fetch(
            "SELECT f.shard, f.position, f.recorded_at, f.occurred_at, f.team_id, f.source, f.id, f.type, f.body, f.leaf "
            "FROM unnest($1::smallint[], $2::bigint[]) AS seen (shard, position) "
            "JOIN facts f ON f.shard = seen.shard AND f.position > seen.position ORDER BY f.shard, f.position",
            list(self.facts), [len(known) for known in self.facts.values()],
        )  # fmt: skip
        new = [Fact(*row) for row in rows]
        for fact in new:
            self._check(fact)
        return new

    def _check(self, fact: Fact) -> None:
        known, identity = self.facts[fact.shard], Identity(fact.team_id, fact.source, fact.id)
        if fact.position != len(known) + 1:
            self.found.append(f"O2 {fact.shard}:{fact.position} comes after {len(known)}")
        if known and known[-1].recorded_at > fact.recorded_at:
            self.found.append(f"O2 {fact.shard}:{fact.position} was recorded before the fact before it")
        if identity in self.stored:
            self.found.append(f"O1 {identity} is in the log twice")
        if fact.leaf != leaf(fact):
            self.found.append(f"O6 {fact.shard}:{fact.position}: its leaf is not that of its row")
        known.append(fact)
        self.stored[identity] = fact

    async def _follow_chain(self, connection: Connection) -> None:
        blocks = await connection.fetch(
            "SELECT b.shard, b.first, b.last, b.root, b.hash FROM unnest($1::smallint[], $2::bigint[]) AS seen (shard, last) "
            "JOIN blocks b ON b.shard = seen.shard AND b.last > seen.last ORDER BY b.shard, b.last",
            list(self.chain), [last for last, _ in self.chain.values()],
        )  # fmt: skip
        for shard, first, last, root, hash in blocks:
            ended, before = self.chain[shard]
            leaves = [fact.leaf for fact in self.facts[shard][first - 1 : last]]
            expected = hashlib.sha256(b"\2" + pack(">hqq", shard, first, last) + before + root).digest()
            if first != ended + 1 or len(leaves) != last - first + 1 or merkle(leaves) != root or hash != expected:
                self.found.append(f"O6 shard {shard}: the block {first} to {last} does not fit")
            self.chain[shard] = (last, hash)

    async def _heads(self, connection: Connection) -> list[str]:
        found = []
        for shard, following, head in await connection.fetch("SELECT shard, next, head FROM shard_heads"):
            count = len(self.facts[shard])
            if following != count + 1:
                found.append(f"O2 shard {shard}: {count} facts, but its head stands at {following}")
            if self.chain[shard] != (count, head):
                found.append(f"O6 shard {shard}: its chain ends at {self.chain[shard][0]}, its head is at {count}")
        return found

    async def _outcomes(self, connection: Connection) -> list[str]:
        stored = {
            identity: fact
            for identity, fact in self.stored.items()
            if not fact.source.startswith(OURS) and fact.type.startswith("usage.")
        }
        repeats = {
            Identity(row["team_id"], row["source"], row["id"]): (row["duplicates"], row["conflicts"])
            for row in await connection.fetch("SELECT * FROM repeats")
        }
        refused = await connection.fetch('SELECT partition, "offset", reason FROM refused')
        bad = {(row["partition"], row["offset"]) for row in refused if row["reason"] != "conflict"}
        conflicts = {(row["partition"], row["offset"]) for row in refused if row["reason"] == "conflict"}
        found = some("O1 taken by Kafka and not recorded", self.said.keys() - stored.keys())
        found += some("O1 recorded and never sent", stored.keys() - self.said.keys())
        found += some("O1 not refused, though bad", self.bad - bad)
        found += some("O1 refused, though good", bad - self.bad)
        expected_conflicts = set()
        for identity, times in self.said.items():
            contents = contents_of(stored[identity]) if identity in stored else None
            other = {(partition, offset) for partition, offset, said in times if said != contents}
            expected_conflicts |= other
            counted = repeats.pop(identity, (0, 0))
            if counted != (len(times) - len(other) - 1, len(other)):
                found.append(
                    f"O1 {identity} came {len(times)} times, {len(other)} of them different; repeats say {counted}"
                )
        found += some("O1 conflicts kept apart", expected_conflicts ^ conflicts)
        return found + some("O1 repeats of what was never sent", repeats)

    def _orders(self) -> list[str]:
        found = []
        for (team_id, partition), identities in self.order.items():
            here = [self.stored[identity].position for identity in identities if identity in self.stored]
            if here != sorted(here):
                found.append(f"O3 {team_id} is not in the order of partition {partition}")
        return found

    async def wrong_balances(self, connection: Connection) -> list[str]:
        """O4, in the live projections: ask after `problems`, when they have caught up."""
        rows = await connection.fetch("SELECT team_id, included, additional FROM balance")
        balances = {row["team_id"]: (row["included"], row["additional"]) for row in rows}
        used = {
            row["team_id"]: (row["credits"], row["uses"])
            for row in await connection.fetch(
                "SELECT team_id, sum(credits)::bigint AS credits, sum(uses)::bigint AS uses FROM usage GROUP BY team_id"
            )
        }
        told = {
            row[0]: row[1]
            for row in await connection.fetch(
                "SELECT team_id, sum(included + additional)::bigint FROM activity GROUP BY team_id"
            )
        }
        found = []
        for team_id, purse in self.purses.items():
            if team_id == "creditwell":
                continue
            expected = (purse.included, purse.additional)
            if balances.get(team_id) != expected:
                found.append(f"O4 {team_id} has {balances.get(team_id)}, the model has {expected}")
            if used.get(team_id, (0, 0)) != (purse.used, purse.uses):
                found.append(f"O4 {team_id} used {used.get(team_id)}, the model says {(purse.used, purse.uses)}")
            if told.get(team_id, 0) != sum(expected):
                found.append(f"O4 the activity of {team_id} adds up to {told.get(team_id)}, not to {sum(expected)}")
        return found


def judge(record: Read, teams: set[str]) -> Said | None:
    """What a record says, if it is usage that must be recorded; None for what must be refused."""
    takes_back = None
    try:
        event = event_of(record)
        data = event["data"]
        identity = Identity(event["subject"], event["source"], event["id"])
        good = (
            record.key == identity.team_id.encode()
            and identity.team_id in teams
            and not identity.source.startswith(OURS)
        )
        if event["type"] == "usage.reported.v1":
            attribute = "resolution" if data["feature"] == "video_export.render" else "tier"
            good = good and (data["feature"], data["attributes"][attribute]) in PRICES and float(data["quantity"]) > 0
            said = [data["feature"], float(data["quantity"]), data["attributes"], data.get("member_id")]
        else:
            good = good and event["type"] == "usage.voided.v1"
            said = [data["usage_id"], data["reason"]]
            takes_back = Identity(event["subject"], data["usage_source"], data["usage_id"])
        at = datetime.fromisoformat(event["time"]).astimezone(UTC).isoformat()
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
    return Said(identity, json.dumps([event["type"], at, said], sort_keys=True), takes_back) if good else None


def event_of(record: Read) -> Any:
    """The CloudEvent in either mode."""
    if any(name.startswith("ce_") for name in record.headers):
        attributes = {name.removeprefix("ce_"): value.decode() for name, value in record.headers.items()}
        return attributes | {"data": json.loads(record.value or b"")}
    return json.loads(record.value or b"")


def contents_of(fact: Fact) -> str:
    """What the record that became this fact said, in the form of `judge`."""
    data = json.loads(fact.body)
    at = fact.occurred_at.astimezone(UTC).isoformat()
    if fact.type == "usage.voided.v1":
        return json.dumps(["usage.voided.v1", at, [data["usage_id"], data["reason"]]], sort_keys=True)
    said = [data["feature"], float(data["quantity"]), data.get("attributes"), data.get("member_id")]
    return json.dumps(["usage.reported.v1", at, said], sort_keys=True)


def leaf(fact: Fact) -> bytes:
    """SHA-256 over a zero byte and every column but the leaf, each with its length before it."""
    columns = [
        pack(">h", fact.shard), pack(">q", fact.position), micros(fact.recorded_at), micros(fact.occurred_at),
        fact.team_id.encode(), fact.source.encode(), fact.id.encode(), fact.type.encode(), fact.body,
    ]  # fmt: skip
    return hashlib.sha256(b"\0" + b"".join(pack(">i", len(column)) + column for column in columns)).digest()


def micros(at: datetime) -> bytes:
    """As PostgreSQL's COPY carries a time."""
    since = at - EPOCH
    return pack(">q", (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


def merkle(leaves: list[bytes]) -> bytes:
    """RFC 9162, word for word: split at the largest power of two below the size."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + merkle(leaves[:split]) + merkle(leaves[split:])).digest()


def some(what: str, things: Iterable[Any]) -> list[str]:
    """One sentence for any number of them."""
    things = sorted(things)
    return [f"{what}: {len(things)}, such as {', '.join(map(str, things[:SHOWN]))}"] if things else []


READERS_BEHIND = """
    SELECT c.reader, sum(h.next - 1 - c.position)::bigint AS facts FROM checkpoints c JOIN shard_heads h USING (shard)
    WHERE c.reader IN ('relay', (
        SELECT 'projector_of_' || left(sha256, 8) FROM projections ORDER BY switched_at DESC NULLS LAST LIMIT 1
    )) GROUP BY c.reader HAVING sum(h.next - 1 - c.position) > 0
"""

REFUSALS_WAITING = """
    SELECT count(*) FROM refused r LEFT JOIN checkpoints c ON c.reader = 'relay-refused' AND c.shard = r.partition
    WHERE r."offset" >= coalesce(c.position, 0)
"""


async def drained(connection: Connection, ends: Mapping[int, int]) -> list[str]:
    """What is still behind: the recorder behind `ends` of Kafka, a reader behind the log, a balance that nobody has spoken of."""
    rows = await connection.fetch("SELECT partition, next_offset FROM kafka_cursors WHERE topic = 'usage'")
    cursors = {row["partition"]: row["next_offset"] for row in rows}
    behind = [f"partition {p}: {cursors.get(p, 0)} of {end}" for p, end in ends.items() if cursors.get(p, 0) < end]
    behind += [f"{reader}: {facts} facts" for reader, facts in await connection.fetch(READERS_BEHIND)]
    if waiting := await connection.fetchval(REFUSALS_WAITING):
        behind.append(f"relay: {waiting} refused records")
    if alarms := await connection.fetchval("SELECT count(*) FROM balance WHERE alarm"):
        behind.append(f"{alarms} balances have something to say")
    return behind
