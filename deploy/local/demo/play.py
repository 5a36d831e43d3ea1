"""The play: members make videos, and feature services report what that took.

One service is careless, and something is taken back.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from aiokafka import AIOKafkaProducer

from deploy.local.demo.careless import TOO_BIG, Careless
from deploy.local.demo.cast import CLIP, NORTHLIGHT, SERVICES, DemoRole, StepAttributes, cost
from deploy.local.demo.reported import ReportedWork
from schemas.emitter import Emitter, Receipt
from schemas.rates import RateCard
from services.runtime.clock import pause
from services.store.identities import Identity

VOID_AFTER_SECONDS = 6
VOID_REASON = "the clip had six fingers; nobody should pay for it"


@dataclass
class Services:
    """The feature services: each reports through an emitter with a source and a spool of its own."""

    emitters: Mapping[str, Emitter]
    card: RateCard
    reported: ReportedWork

    def report(
        self, service: str, team: str, feature: str, quantity: str, *,
        member: str | None = None, attributes: StepAttributes | None = None, usage_id: str | None = None,
    ) -> Receipt:  # fmt: skip
        """Say what was used, and write down what it must cost."""
        receipt = self.emitters[service].report(
            team=team, feature=feature, quantity=quantity, member=member, attributes=attributes, id=usage_id
        )
        identity = Identity(receipt.team, receipt.source, receipt.id)
        self.reported.usages[identity] = cost(self.card, feature, attributes, quantity)
        return receipt

    def take_back(self, service: str, usage: Receipt, reason: str) -> None:
        """Say that a usage is not to be paid for."""
        receipt = self.emitters[service].void(team=usage.team, usage=usage, reason=reason)
        self.reported.voids[Identity(receipt.team, receipt.source, receipt.id)] = Identity(
            usage.team, usage.source, usage.id
        )


async def play(
    kafka: str, spools: Path, cast: Sequence[DemoRole], card: RateCard, reported: ReportedWork, stop: asyncio.Event
) -> None:
    """Until told to stop; then everything that was said is in Kafka."""
    async with AsyncExitStack() as stack:
        emitters = {
            name: await stack.enter_async_context(Emitter(kafka=kafka, source=f"/features/{name}", spool=spools / name))
            for name in SERVICES
        }
        by_hand = await stack.enter_async_context(
            AIOKafkaProducer(bootstrap_servers=kafka, enable_idempotence=True, acks="all", max_request_size=4 * TOO_BIG)
        )
        services = Services(emitters, card, reported)
        async with asyncio.TaskGroup() as tasks:
            for role in cast:
                for number, member in enumerate(role.team.members):
                    tasks.create_task(_member(services, role, member.member_id, number, stop))
            tasks.create_task(_storage(services, cast))
            tasks.create_task(_second_thoughts(services, stop))
            tasks.create_task(Careless(by_hand, card, reported).work(stop))


async def _member(services: Services, role: DemoRole, member_id: str, number: int, stop: asyncio.Event) -> None:
    """One project after the other, each a little different, each step when the one before is done."""
    random = Random(member_id)
    await pause(stop, role.step_seconds * number / len(role.team.members))
    while not stop.is_set():
        for step in role.project:
            if stop.is_set():
                return
            services.report(
                step.service, role.team.id, step.feature, step.quantity(random),
                member=member_id, attributes=step.attributes,
            )  # fmt: skip
            await pause(stop, role.step_seconds * random.uniform(0.4, 1.6))


async def _storage(services: Services, cast: Sequence[DemoRole]) -> None:
    """What lay on the disks yesterday: one report per team and day, whose id is the date."""
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    for role in cast:
        services.report("storage", role.team.id, "storage.base", role.storage_gb, usage_id=yesterday.isoformat())


async def _second_thoughts(services: Services, stop: asyncio.Event) -> None:
    """A clip that nobody can use is made, and taken back some seconds later."""
    clip = services.report(CLIP.service, NORTHLIGHT, CLIP.feature, "6", member="mem_ada", attributes=CLIP.attributes)
    await pause(stop, VOID_AFTER_SECONDS)
    services.take_back(CLIP.service, clip, VOID_REASON)
