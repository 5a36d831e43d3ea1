"""A team that writes another language needs only the contract and schemas/json: programs in Node against a whole Creditwell."""

import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from deploy.local.forkserver import fork_server
from deploy.local.processes import Processes
from deploy.local.stack import Stack, start_stack
from deploy.local.world import LocalWorld, connected, start_world
from schemas.topics import PARTITIONS
from services.store.connect import Connection
from services.store.shards import partition_of, shard_of
from tests.support.node import PROGRAMS, need_node, run_node
from tests.support.oracle import drained
from tests.support.topics import TopicReader
from tests.support.waiting import until

FACTS_PAGE = Path(__file__).parents[2] / "docs/facts.md"
NEEDED = ("recorder", "projector", "relay", "api")
LEFT = {"pro": "2986.765432", "free": "286.765432"}  # of 3,000 and 300, after 1.234568 and 12
LOG = "SELECT shard, position, type, id FROM facts ORDER BY shard, position"


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[LocalWorld]:
    """A whole Creditwell of which a program is told what `make up` prints; topics and log are empty."""
    need_node()
    with (
        start_stack(say=print, name="node", native=True) as stack,
        Processes(stack, say=print, forks=fork_server()) as processes,
    ):
        yield await start_world(stack, processes, say=print, serve=NEEDED)


@pytest.fixture(scope="module")
async def sent(world: LocalWorld) -> Any:
    """What the producer says of each team."""
    return run_node("producer.mjs", world.as_document())


@pytest.fixture(scope="module")
async def owner(world: LocalWorld) -> AsyncIterator[Connection]:
    """A look into the store."""
    async with connected(world.database) as connection:
        yield connection


@pytest.fixture(scope="module")
async def read(world: LocalWorld, sent: Any, owner: Connection) -> Any:
    """What the reader says, of a topic in which everything is twice."""

    async def published() -> bool:
        return not await drained(owner, {})

    await until(published, what="the relay has published everything")
    await publish_again(world.stack)
    return run_node("reader.mjs", world.as_document())


async def publish_again(stack: Stack) -> None:
    """As a relay does that was killed before it could note how far it had come."""
    reader = TopicReader(stack.kafka, "credits.events")
    records = await reader.read_to_end()
    reader.close()
    async with AIOKafkaProducer(bootstrap_servers=stack.kafka) as producer:
        for record in records:
            await producer.send_and_wait(
                "credits.events", record.value, key=record.key, partition=record.partition,
                headers=list(record.headers.items()),
            )  # fmt: skip


def test_usage_from_node_is_burned_exactly_once_in_both_modes_and_a_void_takes_it_back(
    world: LocalWorld, sent: Any, read: Any
) -> None:
    for team in world.teams:
        receipts = sent[team.id]["receipts"]

        assert {id: (receipt["status"], receipt["credits"]) for id, receipt in receipts.items()} == {
            "render": ("applied", "-1.234568"),  # 12.345678901 × 0.1, rounded half up, once
            "image": ("applied", "-12"),
            "failed": ("applied", "-2"),
            "void": ("applied", "2"),
            "comma": ("refused", None),
        }
        assert {id: receipt["duplicates"] for id, receipt in receipts.items()} == dict.fromkeys(receipts, 0) | {
            "render": 1
        }
        assert {receipt["conflicts"] for receipt in receipts.values()} == {0}
        assert read["teams"][team.id]["balance"]["total"] == LEFT[team.plan]
        assert read["teams"][team.id]["used"] == "13234568"


def test_the_partitioner_of_java_in_node_puts_a_team_where_its_shard_belongs(world: LocalWorld, sent: Any) -> None:
    for team in world.teams:
        assert sent[team.id]["partitions"] == [shard_of(team.id) % PARTITIONS]


@pytest.mark.parametrize("partitions", [PARTITIONS, 12, 100])
def test_node_and_python_agree_on_every_partition_however_many_there_are(partitions: int) -> None:
    need_node()
    keys = ["", "é", *(f"team_{number}" for number in range(200))]

    chosen = run_node("partitions.mjs", {"keys": keys, "partitions": partitions})

    assert chosen == [partition_of(key.encode(), partitions) for key in keys]


def test_usage_that_node_sent_wrong_comes_out_as_it_was_with_the_reason(
    world: LocalWorld, sent: Any, read: Any
) -> None:
    assert sorted(record["key"] for record in read["refused"]) == sorted(team.id for team in world.teams)
    for record in read["refused"]:
        event, headers = json.loads(record["value"]), record["headers"]
        assert (event["id"], event["subject"], event["data"]["quantity"]) == ("comma", record["key"], "12,5")
        assert headers["refused-reason"] == sent[record["key"]]["receipts"]["comma"]["reason"] == "bad_quantity"
        assert "12,5" in headers["refused-detail"]
        assert headers["origin-topic"] == "usage"
        assert [int(headers["origin-partition"])] == sent[record["key"]]["partitions"]
        assert int(headers["origin-offset"]) >= 5  # the last of the six


async def test_node_reads_the_log_from_kafka_and_drops_what_it_has_seen(read: Any, owner: Connection) -> None:
    log = [dict(row) for row in await owner.fetch(LOG)]

    assert sorted(read["facts"], key=lambda fact: (fact["shard"], fact["position"])) == log
    assert read["dropped"] == len(log)


@pytest.mark.usefixtures("read")
async def test_the_consumer_of_the_page_about_facts_gives_each_of_them_once(
    world: LocalWorld, owner: Connection
) -> None:
    log = [dict(row) for row in await owner.fetch(LOG)]
    (block,) = re.findall(r"```python\n(.*?)```", FACTS_PAGE.read_text("utf-8"), re.DOTALL)
    page: dict[str, Any] = {}
    exec(compile(block, str(FACTS_PAGE), "exec"), page)

    given: list[dict[str, Any]] = []
    async with aclosing(page["facts"](world.kafka, "analytics-python", {})) as reading:
        async for fact in reading:
            given.append({name: fact[name] for name in log[0]})
            if len(given) == len(log):
                break

    assert sorted(given, key=lambda fact: (fact["shard"], fact["position"])) == log


def test_node_reads_the_same_over_http_page_by_page(world: LocalWorld, read: Any) -> None:
    for team in world.teams:
        items = read["teams"][team.id]["activity"]

        assert [item["type"] for item in items] == ["usage_voided", "usage", "usage", "usage", "refill"]
        assert [item["credits"] for item in items[:-1]] == ["2", "-2", "-12", "-1.234568"]
        assert {item["member_id"] for item in items[:-1]} == {team.members[0].member_id}
        assert len({item["id"] for item in items}) == len(items)
        assert items[0]["balance_after"] == LEFT[team.plan]


def test_a_stream_that_node_takes_up_at_a_position_of_kafka_tells_what_came_after_it_and_nothing_twice(
    world: LocalWorld, read: Any
) -> None:
    for team in world.teams:
        told = read["teams"][team.id]
        taken_up, again = told["stream"]

        assert [event["type"] for event in taken_up] == ["activity", "balance"]
        assert [event["type"] for event in again] == ["balance"]
        assert taken_up[0]["data"] == {"items": told["activity"], "more": False}
        assert taken_up[1]["data"]["total"] == again[0]["data"]["total"] == LEFT[team.plan]


def test_the_packages_of_the_programs_are_pinned_by_hash_and_name_no_registry() -> None:
    wanted = json.loads((PROGRAMS / "package.json").read_text())["dependencies"]
    locked = json.loads((PROGRAMS / "package-lock.json").read_text())["packages"]
    packages = {name: about for name, about in locked.items() if name}

    assert wanted == {name: packages[f"node_modules/{name}"]["version"] for name in wanted}
    assert all(about["integrity"].startswith("sha512-") for about in packages.values())
    assert not any("resolved" in about for about in packages.values())
