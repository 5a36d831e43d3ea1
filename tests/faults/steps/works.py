"""What somebody dies over: each work of the API, the refill worker, the recorder, the projector, the watch and the signer.

A work is prepared once, and done three times: by who dies, by who comes after, and by who has nothing left to do. Those
that have to do with Stripe or the host product are in `outside`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from schemas.credits import MICRO
from schemas.facts import CreditsGranted
from schemas.topics import USAGE
from services.audit.signer import Signing
from services.credits.refill import expire_due, expire_holds_due, refill_due, seal_due
from services.publishing import relay
from services.read_models.low_balance import judge
from services.read_models.projecting import COPY_ROWS_MIN
from services.runtime.clock import system_clock
from services.runtime.health import Health
from services.store.append import AlreadyStored
from services.store.connect import Connection
from services.store.read import read_team
from services.store.shards import shard_of
from services.usage.cursors import claim_cursors
from services.usage.metrics import RecorderMetrics, RefusedShare
from services.usage.partitions import Owned, Partitions
from services.usage.recorder import Recorder
from tests.faults.steps.ground import Ground
from tests.faults.steps.outside import OUTSIDE
from tests.faults.steps.work import APPEND, Work, command, exists, holds
from tests.support.holds import held
from tests.support.honest import project
from tests.support.lives import settings_of
from tests.support.serving import as_role, leases_run_out, store, used
from tests.support.usage import reported
from tests.support.waiting import until

AT_ONCE = ("hold:decided", "hold:written")  # what is decided before the lock, and written by one statement
IMAGE = {"feature": "ai_image.generate", "quantity": "1", "attributes": {"tier": "low"}}
SOON = timedelta(seconds=1)
OVER = "SELECT clock_timestamp() > $1"
PUBLISHED = """
    INSERT INTO checkpoints (reader, shard, position) SELECT 'relay', shard, next - 1 FROM shard_heads
    ON CONFLICT (reader, shard) DO UPDATE SET position = excluded.position
"""
BEHIND = """
    SELECT EXISTS (
        SELECT FROM shard_heads h LEFT JOIN checkpoints c ON c.reader = 'relay' AND c.shard = h.shard
        WHERE h.next > 1 AND h.next - 1 IS DISTINCT FROM c.position
    )
"""
HOUR = timedelta(hours=1)
BATCH = 5


async def _place_under_the_lock(ground: Ground, team: str) -> object:
    with suppress(AlreadyStored):
        await held(ground.connection, "render", 2, team_id=team)
    return None


def _work_of_the_worker(do: Callable[[Connection], Awaitable[object]]) -> Callable[[Ground, str], Awaitable[object]]:
    async def act(ground: Ground, team: str) -> object:
        del team  # it looks for what is due
        await do(ground.worker)
        return None

    return act


async def _cycle_began(ground: Ground, team: str) -> None:
    await ground.team(team)


async def _lot_ended(ground: Ground, team: str) -> None:
    ends_at = datetime.now(UTC) + SOON
    await ground.team(team, CreditsGranted(credits=MICRO, reason="trial", expires_at=ends_at))
    await project(ground.connection)
    await until(lambda: ground.connection.fetchval(OVER, ends_at), what="the lot has ended")


async def _hold_ended(ground: Ground, team: str) -> None:
    await exists(ground, team)
    hold = await held(ground.connection, "render", 1, team_id=team, lasts=SOON)
    await until(lambda: ground.connection.fetchval(OVER, hold.expires_at), what="the hold has ended")


async def _cycle_over(ground: Ground, team: str) -> None:
    await ground.team(team, ago=timedelta(days=35))
    await refill_due(ground.connection)
    await ground.everything_passed()


async def _ran_low(ground: Ground, team: str) -> None:
    await ground.team(team, used(600), notice=500)


async def _judge(ground: Ground, team: str) -> object:
    await judge(ground.connection, team)
    return None


async def _much_used(ground: Ground, team: str) -> None:
    await ground.team(team)
    await store(
        ground.connection, team, [used(1)] * (2 * COPY_ROWS_MIN)
    )  # fewer are saved by a statement without a middle


async def _used_something(ground: Ground, team: str) -> None:
    await ground.team(team)
    await store(ground.connection, team, [used(1)] * 3)


async def _project(ground: Ground, team: str) -> object:
    del team
    await leases_run_out(ground.connection)  # of who died
    await project(ground.connection)
    return None


async def _reported(ground: Ground, team: str) -> None:
    await ground.team(team)
    for number in range(BATCH):
        ground.received(team.encode(), json.dumps(reported(team, f"use-{number}")).encode())


async def _record(ground: Ground, team: str) -> object:
    """A recorder of its own takes the partition over, and reads on from its cursor."""
    del team
    owner, health = f"recorder-{uuid4()}", Health("recorder")
    async with ground.recorders.acquire() as connection:
        (cursor,) = await claim_cursors(connection, USAGE, owner, {0: 0})
    settings = settings_of(ground.stack, ground.database)
    partitions = Partitions(USAGE, settings, ground.recorders, owner, health)
    begin = cursor.next_offset
    partitions.owned = {0: Owned(0, cursor.epoch, begin, begin, begin)}
    metrics = RecorderMetrics(health.registry)
    recorder = Recorder(
        ground.recorders, partitions, health, system_clock, metrics, RefusedShare(metrics.refused_share),
        settings.rate_cards_reload_seconds,
    )  # fmt: skip
    if records := ground.topic[begin:]:
        await recorder.receive(records)
        if recorder.storing is not None:
            await asyncio.wait({recorder.storing})
            recorder.storing.result()
        if recorder.failed.done():
            recorder.failed.result()
    return None


async def _published(ground: Ground, team: str) -> None:
    await ground.team(team)
    await ground.connection.execute(PUBLISHED)


async def _sign(ground: Ground, team: str) -> object:
    del team
    signing = Signing(ground.key, system_clock, ground.folder, timedelta(0), Health("signer"))
    await signing.round(ground.signers)
    return None


async def _relay(ground: Ground, team: str) -> object:
    """A relay of its own publishes until it has caught up."""
    del team
    await leases_run_out(ground.connection)  # of who died
    settings, stop = settings_of(ground.stack, as_role(ground.database, "worker")), asyncio.Event()
    serving = asyncio.create_task(relay.serve(settings, stop, Health("relay")))

    async def caught_up() -> bool:
        return serving.done() or not await ground.connection.fetchval(BEHIND)

    try:
        await until(caught_up, what="everything is published")
    finally:
        stop.set()
        await serving
    return None


async def _is_published(ground: Ground, team: str) -> list[str]:
    """Each fact of the team is in the topic, for the first time right after the one before."""
    positions = dict.fromkeys(event["position"] for event in await ground.published() if event["subject"] == team)
    stored = await read_team(ground.connection, shard_of(team), team, 0, 10_000)
    facts = [one.position for one in stored]
    return [] if list(positions) == facts else [f"published were {list(positions)} of {facts}"]


def _works() -> dict[str, Work]:
    amount: dict[str, Any] = {"credits": "2", "reason": "an outage"}
    seal = _work_of_the_worker(lambda connection: seal_due(connection, HOUR))
    return {
        "grant": Work(APPEND, exists, command("operator", "grants", amount), {"CreditsGranted": 1}),
        "adjustment": Work(APPEND, exists, command("operator", "adjustments", amount), {"CreditsAdjusted": 1}),
        "hold": Work(
            AT_ONCE, exists, command("service", "holds", {"credits": "2", "ttl_seconds": 3_600}), {"HoldPlaced": 1}
        ),
        "hold under the lock": Work((*APPEND, "hold:placed"), exists, _place_under_the_lock, {"HoldPlaced": 1}),
        "capture": Work(
            AT_ONCE, holds, command("service", "holds/render/capture", {"credits": "2"}),
            {"HoldPlaced": 1, "HoldCaptured": 1},
        ),
        "capture of two": Work(
            (*APPEND, "hold:moved"), holds, command("service", "holds/render/capture", {"items": [IMAGE, IMAGE]}),
            {"HoldPlaced": 1, "HoldCaptured": 2},
        ),
        "release": Work(
            AT_ONCE, holds, command("service", "holds/render/release", {}), {"HoldPlaced": 1, "HoldReleased": 1}
        ),
        "refill": Work(
            (*APPEND, "refill:refilled"), _cycle_began, _work_of_the_worker(refill_due), {"CreditsRefilled": 1}
        ),
        "end of a lot": Work(
            (*APPEND, "refill:expired"), _lot_ended, _work_of_the_worker(expire_due), {"CreditsExpired": 1}
        ),
        "end of a hold": Work(
            (*APPEND, "refill:holds_expired"), _hold_ended, _work_of_the_worker(expire_holds_due), {"HoldExpired": 1}
        ),
        "seal": Work((*APPEND, "refill:sealed"), _cycle_over, seal, {"PeriodSealed": 1}),
        "low balance": Work(("low:appended", *APPEND), _ran_low, _judge, {"BalanceRanLow": 1}),
        "usage": Work(
            (
                "recorder:fetched", "recorder:cursor_moved", *APPEND, "recorder:before_commit", "recorder:committed",
            ),
            _reported, _record, {"UsageRecorded": BATCH},
        ),
        "projections": Work(
            ("projector:folded", "projector:saved", "projector:committed"), _much_used, _project,
            {"UsageRecorded": 2 * COPY_ROWS_MIN},
        ),
        "publication": Work(
            ("relay:read", "relay:sent", "relay:acked", "relay:moved"), _used_something, _relay, {"UsageRecorded": 3},
            _is_published,
        ),
        "note": Work(("signer:kept", "signer:signed", "signer:anchor_written"), _published, _sign),
    }  # fmt: skip


WORKS = {**_works(), **OUTSIDE}
CELLS = tuple((name, step) for name, work in WORKS.items() for step in work.steps)
