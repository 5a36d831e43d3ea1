"""What Creditwell made of it, read when all is quiet.

The sources are its log, its balances, Kafka and the books of the stand-in for Stripe.
"""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import httpx2
from aiokafka import AIOKafkaConsumer, TopicPartition

from deploy.local.demo.cast import DemoRole
from deploy.local.folders import ROOT
from deploy.local.servers.topic_ends import ends
from deploy.local.trouble import StackTrouble
from deploy.local.world import LocalWorld, check_alive
from projections.notices import notice_of
from schemas.credits import MicroCredits, parse_credits
from schemas.facts import CreditsPurchased, CreditsToppedUp, Stored, UsageRecorded, UsageVoided
from services.api.tokens import TokenRole
from services.read_models.balances import PROJECTOR
from services.store.connect import Connection
from services.store.identities import Identity
from services.store.read import heads, read_after

DRAIN_SECONDS = 40
LOOK_SECONDS = 0.1
QUIET_SECONDS = 1.0

CURSORS = "SELECT coalesce(sum(next_offset), 0)::bigint FROM kafka_cursors WHERE topic = 'usage'"
HEADS = "SELECT sum(next - 1)::bigint FROM shard_heads"
BEHIND = """
    SELECT h.shard FROM shard_heads h LEFT JOIN checkpoints c ON c.shard = h.shard AND c.reader = $1
    WHERE coalesce(c.position, 0) < h.next - 1
"""
OPEN_ATTEMPTS = """
    SELECT count(*) FILTER (WHERE type = 'top_up.requested.v1')
         - count(*) FILTER (WHERE type IN ('credits.topped_up.v1', 'top_up.failed.v1'))
    FROM facts WHERE type IN ('top_up.requested.v1', 'credits.topped_up.v1', 'top_up.failed.v1')
"""
CYCLES_ENDING = "SELECT count(*) FROM teams WHERE cycle_ends_at < clock_timestamp() + interval '10 s'"
REFUSED = "SELECT reason, count(*) FROM refused GROUP BY reason"
UNSIGNED = """
    SELECT count(*) FROM shard_heads WHERE next > 1
    AND next - 1 > (SELECT coalesce(max(last), 0) FROM signed_shards WHERE signed_shards.shard = shard_heads.shard)
"""
NOTICES_WAITING = "SELECT count(*) FROM notices WHERE state = 'waiting'"
WAITING = {
    "a cycle that ends any moment": CYCLES_ENDING,
    "a top-up under way": OPEN_ATTEMPTS,
    "a notice that the host product has not got": NOTICES_WAITING,
    "a shard with facts that no signed checkpoint covers": UNSIGNED,
}
REPEATS = "SELECT coalesce(sum(duplicates), 0)::bigint, coalesce(sum(conflicts), 0)::bigint FROM repeats"
ACTIVITY = """
    SELECT team_id, kind, sum(included + additional)::bigint AS credits, count(*) AS entries
    FROM activity GROUP BY team_id, kind
"""
BALANCES = "SELECT team_id, included + additional FROM balance"


@dataclass
class DemoFigures:
    """What there is. Credits are micro-credits, money is cents."""

    records: int = 0  # that Kafka took for `usage`
    usages: dict[Identity, int] = field(default_factory=dict)
    voids: dict[Identity, Identity] = field(default_factory=dict)
    voided_credits: MicroCredits = 0
    refusals: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    conflicts: int = 0
    top_ups: list[CreditsToppedUp] = field(default_factory=list)
    purchases: list[CreditsPurchased] = field(default_factory=list)
    charges: dict[str, int] = field(default_factory=dict)  # by payment intent, in Stripe's own books
    entries: dict[str, dict[str, int]] = field(default_factory=dict)  # by team and kind: credits
    counts: Counter[str] = field(default_factory=Counter)  # entries by kind
    balances: dict[str, int] = field(default_factory=dict)  # the projection's
    answers: dict[str, int] = field(default_factory=dict)  # the API's
    stored: set[tuple[int, int]] = field(default_factory=set)  # shard and position of every fact
    published: set[tuple[int, int]] = field(default_factory=set)  # of every fact on `credits.events`
    refused_published: int = 0
    refills: Counter[str] = field(default_factory=Counter)  # of cycles, by team
    verified: dict[str, Any] = field(default_factory=dict)  # what `creditwell verify` says
    replayed: dict[str, Any] = field(default_factory=dict)  # what `creditwell replay` says
    to_tell: Counter[str] = field(default_factory=Counter)  # facts that the host product is told of, by type
    host_notices: Counter[str] = field(default_factory=Counter)  # notices that it got, each once, by type
    forged: int = 0  # requests that it did not believe


async def drain(world: LocalWorld, reader: Connection, starts: Mapping[str, Mapping[int, int]]) -> None:
    """Wait until everything that was said has arrived everywhere, and stays so for a second.

    Raises:
        StackTrouble: something does not arrive, named.
    """
    goal = sum((await ends(world.kafka, "usage")).values())
    deadline, quiet_since, head = monotonic() + DRAIN_SECONDS, monotonic(), -1
    while True:
        waiting = await _waiting_for(world, reader, goal, starts)
        now, last = monotonic(), await reader.fetchval(HEADS)
        if waiting or last != head:
            quiet_since, head = now, last
        if now - quiet_since >= QUIET_SECONDS:
            return
        check_alive(world.processes)
        if now > deadline:
            raise StackTrouble("Demo", f"after {DRAIN_SECONDS} s there is still {waiting or 'no end of new facts'}")
        await asyncio.sleep(LOOK_SECONDS)


async def _waiting_for(
    world: LocalWorld, reader: Connection, goal: int, starts: Mapping[str, Mapping[int, int]]
) -> str:
    """What has not arrived yet, in words; nothing when all has."""
    if (remaining := goal - await reader.fetchval(CURSORS)) > 0:
        return f"usage in Kafka that is not recorded ({remaining} records)"
    for name, reader_of_log in (("projector", PROJECTOR), ("relay", "relay")):
        if shards := await reader.fetch(BEHIND, reader_of_log):
            return f"something in the log that the {name} has not read ({len(shards)} shards)"
    for what, statement in WAITING.items():
        if (count := await reader.fetchval(statement)) > 0:
            return f"{what} ({count})"
    refused = sum(count for _, count in await reader.fetch(REFUSED))
    published = sum((await ends(world.kafka, "usage.refused")).values()) - sum(starts["usage.refused"].values())
    return f"a refused record that is not published ({refused - published})" if published < refused else ""


async def look(
    world: LocalWorld, reader: Connection, cast: tuple[DemoRole, ...], starts: Mapping[str, Mapping[int, int]]
) -> DemoFigures:
    """Everything, when all is quiet."""
    figures = DemoFigures()
    figures.records = sum((await ends(world.kafka, "usage")).values()) - sum(starts["usage"].values())
    async for stored in log(reader):
        _count(figures, stored)
    for reason, count in await reader.fetch(REFUSED):
        figures.refusals[reason] += count
    figures.duplicates, repeated_conflicts = await reader.fetchrow(REPEATS) or (0, 0)
    figures.conflicts = figures.refusals.pop("conflict", 0)
    assert figures.conflicts == repeated_conflicts, "receipts and refused records count conflicts differently"
    for row in await reader.fetch(ACTIVITY):
        figures.entries.setdefault(row["team_id"], {})[row["kind"]] = row["credits"]
        figures.counts[row["kind"]] += row["entries"]
    figures.balances = dict(map(tuple, await reader.fetch(BALANCES)))
    figures.answers = await _balances_by_http(world, cast)
    figures.charges = await _charges(world)
    await _ask_host(world, figures)
    async with _read_from(world.kafka, "credits.events", starts) as records:
        figures.published = {(body["shard"], body["position"]) async for body in records}
    figures.refused_published = sum((await ends(world.kafka, "usage.refused")).values()) - sum(
        starts["usage.refused"].values()
    )
    figures.verified, figures.replayed = await asyncio.gather(_command(world, "verify"), _command(world, "replay"))
    return figures


async def log(reader: Connection) -> AsyncIterator[Stored]:
    """Every fact there is, shard by shard."""
    positions = dict.fromkeys(await heads(reader), 0)
    while facts := await read_after(reader, positions, 1_000):
        for shard, read in facts.items():
            for stored in read:
                yield stored
            positions[shard] = read[-1].position


def _count(figures: DemoFigures, stored: Stored) -> None:
    figures.stored.add((stored.shard, stored.position))
    figures.to_tell[stored.type] += notice_of(stored, None) is not None
    identity = Identity(stored.team_id, stored.source, stored.id)
    fact = stored.fact()
    if isinstance(fact, UsageRecorded):
        figures.usages[identity] = fact.credits
    elif isinstance(fact, UsageVoided):
        figures.voids[identity] = Identity(stored.team_id, fact.usage_source, fact.usage_id)
        figures.voided_credits += fact.credits
    elif isinstance(fact, CreditsToppedUp):
        figures.top_ups.append(fact)
    elif isinstance(fact, CreditsPurchased):
        figures.purchases.append(fact)
    elif stored.type == "credits.refilled.v1":
        figures.refills[stored.team_id] += 1


async def _balances_by_http(world: LocalWorld, cast: tuple[DemoRole, ...]) -> dict[str, int]:
    answers = {}
    async with httpx2.AsyncClient(base_url=world.api, trust_env=False) as client:
        for role in cast:
            token = world.token(role.team.id, role.team.members[0].member_id, TokenRole.ADMIN)
            answer = await client.get(f"/v1/teams/{role.team.id}/balance", headers={"Authorization": f"Bearer {token}"})
            answers[role.team.id] = parse_credits(answer.raise_for_status().json()["total"])
    return answers


async def _command(world: LocalWorld, name: str) -> dict[str, Any]:
    """A command of finance, with no more rights than finance has."""
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.cli", name, "--json", cwd=ROOT,
        env={**os.environ, "CREDITWELL_DATABASE": world.logins["reader"], "CREDITWELL_PUBLIC_KEY": world.variables["PUBLIC_KEY"],
             "CREDITWELL_ANCHORS": world.variables["ANCHORS"]},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, complaints = await running.communicate()
    if not output:
        raise StackTrouble(
            "Demo", f"`creditwell {name}` ended with code {running.returncode}", way_out=complaints.decode()
        )
    document: dict[str, Any] = json.loads(output)
    return document


async def _charges(world: LocalWorld) -> dict[str, int]:
    async with httpx2.AsyncClient(trust_env=False) as client:
        books = (await client.get(f"{world.stripe}/_control/books")).raise_for_status().json()
    return {charge["payment_intent"]: charge["amount"] - charge["amount_refunded"] for charge in books["charges"]}


async def _ask_host(world: LocalWorld, figures: DemoFigures) -> None:
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = (await client.get(f"{world.receiver}/_control/notices")).raise_for_status().json()
    figures.host_notices, figures.forged = Counter(answer["kinds"]), answer["forged"]


@asynccontextmanager
async def _read_from(
    kafka: str, topic: str, starts: Mapping[str, Mapping[int, int]]
) -> AsyncIterator[AsyncIterator[dict[str, int]]]:
    """What a topic got since the demo began, up to its end of now."""
    goal = await ends(kafka, topic)
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await consumer.start()
    await asyncio.sleep(0)  # a consumer that is stopped before its tasks have begun raises CancelledError
    try:
        consumer.assign([TopicPartition(topic, number) for number in goal])
        for number, offset in starts[topic].items():
            consumer.seek(TopicPartition(topic, number), offset)

        async def records() -> AsyncIterator[dict[str, int]]:
            pending = {number: end for number, end in goal.items() if end > starts[topic][number]}
            while pending:
                for place, batch in (await consumer.getmany(timeout_ms=500)).items():
                    for record in batch:
                        yield json.loads(record.value)
                    if batch[-1].offset + 1 >= pending.get(place.partition, 0):
                        pending.pop(place.partition, None)

        yield records()
    finally:
        await consumer.stop()
