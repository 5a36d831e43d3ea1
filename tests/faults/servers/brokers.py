"""Three brokers under load: each is killed, restarted and frozen in turn, so the leaders, the controller and the group's
coordinator are among them, and then two are dead at once. What Kafka acknowledged is recorded, and all is published.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

from aiokafka.errors import KafkaError
from rich.console import Console

from deploy.local.children import Guard, signal_group
from deploy.local.say import Say
from deploy.local.servers import jars
from deploy.local.servers.kafka import NativeKafka, cluster_id
from deploy.local.servers.topics import create_topics, wait_for_coordinator
from deploy.local.stack import Stack
from deploy.local.waiting import listens, wait_until
from services.runtime.kafka import topic_admin
from services.runtime.settings import Settings
from tests.faults.matrix import empty_database
from tests.faults.scene import Scene, a_scene
from tests.support.waiting import until

BROKERS = 3
DEAD_SECONDS, FROZEN_SECONDS, TAKEN_OVER_SECONDS, ANSWER_SECONDS = 12.0, 6.0, 120.0, 5.0
TOPICS = ("usage", "credits.events")
PARTITIONS = 16


class Broker(NativeKafka):
    """One of three, broker and controller at once."""

    def __init__(self, guard: Guard, folder: Path, *, say: Say, number: int, cluster: str) -> None:
        (folder / "logs").mkdir(parents=True)
        super().__init__(guard, folder, say=say, partitions=PARTITIONS)
        self.number, self._cluster_id, self.voters = number, cluster, ""

    @property
    def voter(self) -> str:
        """How the others know it."""
        return f"{self.number}@127.0.0.1:{self._controller_port}"

    def freeze(self, number: signal.Signals) -> None:
        """SIGSTOP or SIGCONT."""
        assert self._broker is not None
        signal_group(self._broker, number)

    def wait(self) -> None:
        """Until it takes connections, and its groups are looked after."""
        wait_until(lambda: listens(self._port), self.patience())
        asyncio.run(wait_for_coordinator(self.servers, self.patience()))

    def _settings(self) -> dict[str, str]:
        settings = super()._settings()
        del settings["controller.quorum.bootstrap.servers"]
        return settings | {
            "node.id": str(self.number),
            "controller.quorum.voters": self.voters,
            "default.replication.factor": "3",
            "min.insync.replicas": "2",
            "offsets.topic.replication.factor": "3",
            "transaction.state.log.replication.factor": "3",
            "transaction.state.log.min.isr": "2",
            "share.coordinator.state.topic.replication.factor": "3",
            "share.coordinator.state.topic.min.isr": "2",
        }

    def _cluster(self) -> tuple[str, ...]:
        return "--cluster-id", self._cluster_id


def three_brokers(stack: Stack) -> list[Broker]:
    """A cluster with the topics of the contract, three copies of each; it ends with the stack."""
    classpath, cluster = jars.fetch(lambda _: None), cluster_id()
    brokers = [
        Broker(stack.guard, stack.folder / f"broker-{number}", say=lambda _: None, number=number, cluster=cluster)
        for number in range(1, BROKERS + 1)
    ]
    for broker in brokers:
        broker.voters = ",".join(one.voter for one in brokers)
        broker.prepare(classpath)
    for broker in brokers:
        broker.launch()
    for broker in brokers:
        broker.wait()
    asyncio.run(create_topics(servers_of(brokers), partitions=PARTITIONS, patience=brokers[0].patience()))
    return brokers


def servers_of(brokers: list[Broker]) -> str:
    """Bootstrap servers."""
    return ",".join(broker.servers for broker in brokers)


async def play(stack: Stack, seed: int, console: Console) -> list[str]:
    """All of it once; what was wrong in the end."""
    random = Random(seed)
    brokers = await asyncio.to_thread(three_brokers, stack)
    ours = replace(stack, kafka=servers_of(brokers))
    async with a_scene(ours, await empty_database(stack.database), seed=seed) as scene:
        await scene.more_facts(100)
        steps: dict[str, Callable[[Scene, Broker, list[Broker]], Awaitable[None]]] = {
            "is dead": _dead, "was restarted": _restarted, "was frozen": _frozen,
        }  # fmt: skip
        problems: list[str] = []
        for what, step in steps.items():
            for broker in random.sample(brokers, BROKERS):
                await step(scene, broker, [other for other in brokers if other is not broker])
                began = monotonic()
                await scene.more_facts(50)
                console.print(
                    f"broker {broker.number} {what}: 50 more facts in {monotonic() - began:.1f} s", markup=False
                )
                if what == "is dead":
                    await asyncio.to_thread(broker.start)
                await until(lambda: _all_copies_are_there(ours.kafka), what="every copy is in sync")
            problems += await scene.problems()
        problems += await _two_dead(scene, random.sample(brokers, 2), console)
        lines = _lines_of_libraries(scene)
    console.print(f"{lines} lines say what Kafka's client said, in the logs of all processes together", markup=False)
    return problems


async def _dead(scene: Scene, broker: Broker, others: list[Broker]) -> None:
    """Two are left, and that is enough to go on."""
    del scene, others
    await asyncio.to_thread(broker.stop, signal.SIGKILL)


async def _restarted(scene: Scene, broker: Broker, others: list[Broker]) -> None:
    del scene, others
    await asyncio.to_thread(broker.restart)


async def _frozen(scene: Scene, broker: Broker, others: list[Broker]) -> None:
    """It keeps its connections and answers nobody; the others take over what it led, and it wakes up behind them."""
    broker.freeze(signal.SIGSTOP)
    try:
        await asyncio.sleep(FROZEN_SECONDS)
        await until(
            lambda: _lead_everything(others),
            within=TAKEN_OVER_SECONDS,
            what=f"what broker {broker.number} led is taken over",
        )
    finally:
        broker.freeze(signal.SIGCONT)
    await scene.more_facts(20)


async def _two_dead(scene: Scene, dead: list[Broker], console: Console) -> list[str]:
    """Nothing is acknowledged meanwhile, and nothing that was is lost."""
    for broker in dead:
        await asyncio.to_thread(broker.stop, signal.SIGKILL)
    await asyncio.sleep(DEAD_SECONDS)
    began = monotonic()
    for broker in dead:
        broker.launch()
    for broker in dead:
        await asyncio.to_thread(broker.wait)
    await scene.more_facts(50)
    console.print(f"two dead for {DEAD_SECONDS:.0f} s: 50 more facts {monotonic() - began:.1f} s after their start")
    return await scene.problems(thorough=True)


async def _all_copies_are_there(kafka: str) -> bool:
    found = await _partitions(kafka)
    return bool(found) and all(len(one["isr"]) == BROKERS for one in found)


async def _lead_everything(brokers: list[Broker]) -> bool:
    found = await _partitions(servers_of(brokers))
    return bool(found) and {one["leader"] for one in found} <= {broker.number for broker in brokers}


async def _partitions(kafka: str) -> list[dict[str, Any]]:
    """All of both topics, as these brokers know them; none where that is not answered now."""
    with suppress(KafkaError, OSError, TimeoutError):
        async with (
            asyncio.timeout(ANSWER_SECONDS),
            topic_admin.administering(Settings(kafka=kafka), client_id="creditwell-faults") as admin,
        ):
            topics = await admin.describe_topics(list(TOPICS))
        found = [part for topic in topics for part in topic["partitions"]]
        return found if len(found) == len(TOPICS) * PARTITIONS else []
    return []


def _lines_of_libraries(scene: Scene) -> int:
    lines = (line for name in scene.fleet.ports for line in scene.fleet.said(name))
    return sum(str(line.get("event")).startswith("Kafka's client") for line in lines)


def brokers(stack: Stack, seed: int, console: Console) -> int:
    """The exit code."""
    problems = asyncio.run(play(stack, seed, console))
    for problem in problems[:20]:
        console.print(problem, markup=False)
    console.print(f"three brokers, seed {seed}: {'[red]BROKEN[/]' if problems else 'nothing lost, nothing twice'}")
    return 1 if problems else 0
