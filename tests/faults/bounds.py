"""Times that are promised, measured one after the other on an otherwise idle machine and judged.

The tests of `make test` say that these things happen; how soon is said here, where nothing else runs.
"""

import asyncio
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from time import monotonic
from uuid import uuid4

import pytest
from playwright.async_api import expect
from rich.console import Console
from rich.table import Table

from deploy.local.stack import Stack
from schemas.emitter import Emitter
from schemas.facts import CreditsGranted
from services.money.stripe_client import Charges
from services.money.stripe_client.errors import Unknown
from services.read_models import projector
from services.runtime.health import Health
from services.runtime.settings import LEASE_SECONDS
from services.runtime.settings_loading import load_settings
from services.store.connect import Connection
from tests.faults import failover
from tests.faults.matrix import empty_database
from tests.support.api import Api, an_api, events
from tests.support.browser import a_browser
from tests.support.desk import KEY, a_desk
from tests.support.facts import granted, planned, store
from tests.support.page import visiting
from tests.support.serving import ROOT, plan, used
from tests.support.serving import store as tell
from tests.support.waiting import until
from tests.support.world import ServiceWorld, a_world

SWITCH_SECONDS, FORGOTTEN_SECONDS = 10, 5
NOWHERE = "127.0.0.1:9"
CONFIRM = "POST /v1/payment_intents/{id}/confirm"
ENDS = """
import sys
from pathlib import Path
from schemas.emitter import Emitter
emitter = Emitter(kafka=sys.argv[1], source="/features/video", spool=Path(sys.argv[2]), exit_timeout_seconds=1)
for number in range(200):
    emitter.report(team="team_42", feature="ai_image.generate", quantity=1)
"""
LOW_AFTER = """
    SELECT extract(epoch FROM low.recorded_at - used.recorded_at)::float8
    FROM facts AS low JOIN facts AS used USING (team_id)
    WHERE team_id = $1 AND low.type = 'balance.ran_low.v1' AND used.type = 'usage.recorded.v1'
"""


@dataclass(frozen=True)
class Measured:
    """What was promised, in seconds, and what was found; `seconds` is None where it could not be measured here."""

    what: str
    most: float
    seconds: float | None

    @property
    def is_broken(self) -> bool:
        """It took too long."""
        return self.seconds is not None and self.seconds > self.most


async def measure(stack: Stack) -> list[Measured]:
    """All of them."""
    database = await empty_database(stack.database)
    found = [
        Measured("2,000 reports of an emitter without Kafka", 1, _reports(NOWHERE, 2_000)),
        Measured(
            "20,000 reports of an emitter that delivers", 4, await asyncio.to_thread(_reports, stack.kafka, 20_000)
        ),
        Measured("a program with an emitter ends without Kafka", 10, await asyncio.to_thread(_ends)),
        Measured("an answer that drips in is given up, of a patience of 1 s", 4, await _drips()),
        Measured("a pool writes at a standby that was promoted", SWITCH_SECONDS, await failover.promoted()),
        Measured("a pool writes at the second host, the first frozen", SWITCH_SECONDS, await failover.frozen(database)),
        Measured("a pool writes where writes are taken again", SWITCH_SECONDS, await failover.writable_again(database)),
        Measured("a read whose idle session was forgotten", FORGOTTEN_SECONDS, await failover.forgotten(database)),
        Measured("a projector goes on after its sessions were ended", LEASE_SECONDS / 2, await _goes_on(stack)),
        Measured("a low balance is told, the middle of 7 teams", 0.25, await _low_is_told(stack)),
    ]
    async with an_api(stack, database) as api, _projecting(database):
        await api.begin()
        found += [
            Measured("a stream ends though nothing happens, of a token of 3 s", 6, await _stream_ends(api)),
            Measured("the page is usable, the best of 3 times", 1, await _page(api)),
            Measured("an API with an open stream stops", 8, await _stops(api)),
        ]
    return found


def report(found: list[Measured], console: Console) -> int:
    """A table, and the exit code."""
    table = Table(title="Times that are promised")
    for heading in ("what", "at most", "took", ""):
        table.add_column(heading, justify="right" if heading in {"at most", "took"} else "left")
    for one in found:
        took = "not here" if one.seconds is None else f"{one.seconds:.2f} s"
        table.add_row(one.what, f"{one.most:g} s", took, "[red]BROKEN[/]" if one.is_broken else "")
    console.print(table)
    return 1 if any(one.is_broken for one in found) else 0


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    began = monotonic()
    await work()
    return monotonic() - began


def _reports(kafka: str, count: int) -> float:
    """Handing them over; what the emitter delivers meanwhile is its own business."""
    with tempfile.TemporaryDirectory() as spool:
        emitter = Emitter(
            kafka=kafka, source="/features/bounds", spool=Path(spool), topic=f"bounds.{secrets.token_hex(4)}"
        )
        began = monotonic()
        for number in range(count):
            emitter.report(
                team=f"team_{number % 7}",
                feature="ai_video.generate",
                quantity="12.5",
                member="mem_7",
                attributes={"tier": "high"},
            )
        seconds = monotonic() - began
        emitter.close(0)
    return seconds


def _ends() -> float:
    with tempfile.TemporaryDirectory() as spool:
        began = monotonic()
        command = [sys.executable, "-c", ENDS, NOWHERE, spool]
        subprocess.run(command, cwd=ROOT, env={**os.environ}, capture_output=True, check=True)
        return monotonic() - began


async def _drips() -> float:
    async with a_desk() as desk, Charges(KEY, api_base=desk.url, timeout_seconds=1) as impatient:
        card = await desk.card("team_1", "pm_card_visa")
        attempt_id = uuid4()
        assert card.payment_method_id is not None
        intent = await desk.charges.create_intent(
            attempt_id=attempt_id, team_id="team_1", customer_id=card.customer_id,
            payment_method_id=card.payment_method_id, charge_cents=2_000, currency="usd",
        )  # fmt: skip
        await desk.order("faults", route=CONFIRM, do="drip", seconds=0.1)

        async def give_up() -> None:
            with suppress(Unknown):
                await impatient.confirm(intent.id, attempt_id=attempt_id, try_number=1)
                raise AssertionError("it was not given up")

        return await _timed(give_up)


async def _goes_on(stack: Stack) -> float:
    async with a_world(stack, await empty_database(stack.database)) as world, world.projector():
        await store(world.connection, *planned("team_1"))
        await world.projected()
        await _end_sessions(world)
        await store(world.connection, granted("team_1", "gift"))
        return await _timed(world.projected)


async def _low_is_told(stack: Stack) -> float:
    """After the usage that crosses the threshold, by the store's clock; some 0.04 s, with the projector's part."""
    async with a_world(stack, await empty_database(stack.database)) as world, world.projector():
        return median([await _told_low_after(world.connection, f"team_{n}") for n in range(7)])


async def _told_low_after(connection: Connection, team: str) -> float:
    await tell(connection, team, [plan(100, notice=50), CreditsGranted(credits=0, reason="opens the first cycle")])
    await tell(connection, team, [used(60)])
    return await until(lambda: connection.fetchval(LOW_AFTER, team), what=f"{team} is told low")


async def _end_sessions(world: ServiceWorld) -> None:
    await world.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'creditwell-projector' AND datname = current_database()"
    )


@asynccontextmanager
async def _projecting(database: str) -> AsyncIterator[None]:
    stop = asyncio.Event()
    serving = asyncio.create_task(projector.serve(load_settings(database=database), stop, Health("projector")))
    try:
        yield
    finally:
        stop.set()
        await serving


async def _stream_ends(api: Api) -> float:
    short = api.client("member", lasts=timedelta(seconds=3))

    async def to_its_end() -> None:
        async with short.stream("GET", f"{api.path}/stream") as response:
            told = [event.type async for event in events(response)]
        assert told[-1] == "end", told

    return await _timed(to_its_end)


async def _page(api: Api) -> float | None:
    try:
        async with a_browser() as browser, visiting(api, browser) as visit:
            await visit.open()

            async def anew() -> None:
                await visit.page.goto("about:blank")
                await visit.page.goto(visit.link())
                await expect(visit.entries.first).to_be_visible()

            return min([await _timed(anew) for _ in range(3)])
    except pytest.skip.Exception:
        return None


async def _stops(api: Api) -> float:
    async with api.member.stream("GET", f"{api.path}/stream") as response:
        await anext(response.aiter_lines())
        api.stop.set()

        async def stopped() -> None:
            await api.serving

        return await _timed(stopped)
