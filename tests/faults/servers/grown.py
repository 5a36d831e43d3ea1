"""Topics are enlarged the way docs/kafka.md has it, from 8 to 16 to 64 partitions, while everything else works under load."""

import asyncio
from contextlib import AsyncExitStack

from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions
from rich.console import Console

from deploy.local.stack import Stack
from schemas.topics import EVENTS, USAGE
from tests.faults.matrix import empty_database
from tests.faults.scene import Scene, a_scene
from tests.support.oracle import drained
from tests.support.waiting import until
from tests.support.world import a_producer

BEFORE, STEPS = 8, (16, 64)
FACTS_BETWEEN = 300
CLAIMED = "SELECT count(*) FROM kafka_cursors WHERE topic = $1 AND epoch > 0"


async def play(stack: Stack, seed: int) -> list[str]:
    """What was wrong in the end."""
    problems: list[str] = []
    async with AsyncExitStack() as producers, a_scene(stack, await empty_database(stack.database), seed=seed) as scene:
        await scene.more_facts(FACTS_BETWEEN)
        for count in STEPS:
            problems += await _all_is_recorded(scene)
            await _enlarge(stack.kafka, USAGE, count)
            scene.oracle.grow()
            # The producers are started anew, too: they learn of the partitions at their start.
            scene.pressure.producer = await producers.enter_async_context(a_producer(stack.kafka))
            scene.pressure.go()
            await until(lambda count=count: _are_claimed(scene, count), what=f"all {count} partitions are claimed")  # type: ignore[misc]
            await scene.more_facts(FACTS_BETWEEN)
            problems += await scene.problems()
        problems += await _all_is_recorded(scene)
        code = await scene.processes.stop("relay-1")
        problems += [f"relay-1 ended with code {code} when asked to stop"] if code else []
        await _enlarge(stack.kafka, EVENTS, STEPS[-1])
        scene.relayed.events.grow()
        scene.fleet.start("relay-1")
        scene.pressure.go()
        await scene.more_facts(FACTS_BETWEEN)
        problems += await scene.problems(thorough=True)
        scene.pressure.stop()
        await scene.pressure.pause()
    return problems


async def _all_is_recorded(scene: Scene) -> list[str]:
    """Producers are stopped, every recorder's lag is 0, and whoever reads `credits.events` has read all of it."""
    await scene.pressure.pause()

    async def look() -> bool:
        return not await drained(scene.connection, await scene.oracle.ends())

    await until(look, what="the lag is 0")
    found = await scene.oracle.problems(scene.connection)
    return [*found, *await scene.relayed.problems(scene.connection, scene.oracle.facts)]


async def _enlarge(kafka: str, topic: str, count: int) -> None:
    """As `kafka-topics.sh --alter --partitions` does."""
    admin = AdminClient({"bootstrap.servers": kafka})
    (done,) = admin.create_partitions([NewPartitions(topic, count)]).values()
    await asyncio.to_thread(done.result)


async def _are_claimed(scene: Scene, count: int) -> bool:
    return bool(await scene.connection.fetchval(CLAIMED, USAGE) == count)


def growth(stack: Stack, seed: int, console: Console) -> int:
    """The exit code."""
    problems = asyncio.run(play(stack, seed))
    for problem in problems[:20]:
        console.print(problem, markup=False)
    sizes = " to ".join(map(str, (BEFORE, *STEPS)))
    console.print(
        f"topics grown from {sizes} partitions, seed {seed}: {'[red]BROKEN[/]' if problems else 'order kept, nothing lost'}"
    )
    return 1 if problems else 0
