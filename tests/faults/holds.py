"""Services that are killed amid their blocks: no hold outlives its time, and what each block used counts once.

A service runs forty blocks of the Python client at once, over a spool of its own, and dies by SIGKILL at a drawn moment:
before a hold is placed, while it runs, between the disk and the API, when all is done. The next one opens the same spool.
Each block uses another quantity, so that its entry says whose it is.
"""

import asyncio
import signal
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from rich.console import Console

from deploy.client.creditwell_client import AsyncClient
from deploy.client.creditwell_client.settling import Settlement
from deploy.local.stack import Stack
from schemas.credits import MICRO
from schemas.facts import CreditsGranted
from services.api.tokens import TokenRole, mint
from tests.conftest import begin_life
from tests.faults.matrix import empty_database
from tests.support.api import Api, an_api
from tests.support.waiting import until
from tests.support.world import ServiceWorld, a_world

ROOT = Path(__file__).parents[2]
SOURCE = "/features/images"
AT_ONCE, CREDITS_EACH = 40, 4  # an image of the standard tier
TTL_SECONDS, BLOCK_SECONDS, MOMENT_SECONDS = 2, 3.0, 0.1
LAST_END = "SELECT max(expires_at) FROM holds"
IS_OVER = "SELECT clock_timestamp() > $1"

SERVICE = f"""
import asyncio, sys
from random import Random
from deploy.client.creditwell_client import AsyncClient
url, token, spool, team, seed, first, blocks = sys.argv[1:]

async def block(credits, number):
    item = {{"feature": "ai_image.generate", "quantity": str(number), "attributes": {{"tier": "standard"}}}}
    async with credits.hold(team=team, items=[item], ttl={TTL_SECONDS}) as hold:
        print(f"placed {{number}}\\n", end="", flush=True)  # at one go: it may be killed at any moment
        await asyncio.sleep(Random(f"{{seed}}:{{number}}").random() * {BLOCK_SECONDS})
        hold.used(number)
    print(f"settled {{number}}\\n", end="", flush=True)

async def main():
    async with AsyncClient(url, token=token, source="{SOURCE}", spool=spool) as credits:
        await asyncio.gather(*(block(credits, int(first) + number) for number in range(int(blocks))))

asyncio.run(main())
"""


@dataclass
class Blocks:
    """What is known of all blocks: numbers of those whose holds were placed, that left their block, or were on disk."""

    placed: set[int] = field(default_factory=set)
    surely: set[int] = field(default_factory=set)  # what these used is counted, come what may
    kills: int = 0
    on_disk: int = 0


async def kill_amid_holds(stack: Stack, seed: int, blocks: int, console: Console) -> int:
    """The exit code, after so many blocks."""
    database = await empty_database(stack.database)
    await begin_life(database)
    random, seen = Random(seed), Blocks()
    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder)
        async with (
            a_world(stack, database) as world,
            an_api(stack, database) as api,
            world.recorder(),
            world.projector(),
        ):
            await api.begin()
            await api.tell(CreditsGranted(credits=CREDITS_EACH * blocks * blocks * MICRO, reason="for the images"))
            for first in range(1, blocks + 1, AT_ONCE):
                await _one_life(api, spool, random, seen, first, min(AT_ONCE, blocks + 1 - first))
            problems = await _afterwards(api, world, spool, seen)
    for problem in problems:
        console.print(f"        {problem}", markup=False)
    verdict = "[red]BROKEN[/]" if problems else "[green]ok[/]"
    console.print(
        f"{blocks} blocks, seed {seed}: {seen.kills} services killed with {len(seen.placed)} holds placed and "
        f"{seen.on_disk} settlements on disk, {len(seen.surely)} blocks done  {verdict}"
    )
    return 1 if problems else 0


async def _one_life(api: Api, spool: Path, random: Random, seen: Blocks, first: int, blocks: int) -> None:
    """A service that begins so many blocks, and is killed."""
    service = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVICE, api.url, _token(api), str(spool), api.team_id, str(random.random()),
        str(first), str(blocks), cwd=ROOT, stdout=PIPE,
    )  # fmt: skip
    reading = asyncio.create_task(_listen(service, seen))
    told = len(seen.placed) + len(seen.surely)
    dies_after = told + random.randrange(2 * blocks)  # holds placed and blocks done
    try:

        async def told_enough() -> bool:
            return service.returncode is not None or len(seen.placed) + len(seen.surely) >= dies_after

        await until(told_enough, what="so much is done")
        await asyncio.sleep(random.random() * MOMENT_SECONDS)
    finally:
        if service.returncode is None:
            service.send_signal(signal.SIGKILL)
        await service.wait()
        await reading
    seen.kills += 1
    waiting = [Settlement.load(path.read_bytes()) for path in spool.glob("*.json")]
    seen.on_disk += len(waiting)
    seen.surely |= {int(work.items[0]["quantity"]) for work in waiting}


async def _listen(service: Process, seen: Blocks) -> None:
    assert service.stdout is not None
    async for line in service.stdout:
        if not line.endswith(b"\n"):
            return  # half said
        what, number = line.split()
        (seen.placed if what == b"placed" else seen.surely).add(int(number))


async def _afterwards(api: Api, world: ServiceWorld, spool: Path, seen: Blocks) -> list[str]:
    """What is wrong once the spool is empty and the last hold has had its time."""
    async with AsyncClient(api.url, token=_token(api), source=SOURCE, spool=spool) as credits:

        async def nothing_waits() -> bool:
            return credits.captures is not None and not credits.captures.pending()

        await until(nothing_waits, what="the spool is empty")
        ends_at = await api.connection.fetchval(LAST_END)
        await until(lambda: api.connection.fetchval(IS_OVER, ends_at), what="the last hold has had its time")
        held = (await credits.balance(api.team_id))["held"]
    await world.recorded()
    token = mint(api.settings, team=api.team_id, member="mem_1", role=TokenRole.MEMBER)
    async with AsyncClient(api.url, token=token) as member:
        entries = [item async for item in member.activity(api.team_id, days=1) if item["type"] == "usage"]
    counted = Counter(-int(entry["credits"]) // CREDITS_EACH for entry in entries)
    return [
        *([f"{held} credits are held after their time"] if held != "0" else []),
        *(f"block {number} counted {times} times" for number, times in counted.items() if times != 1),
        *(f"block {number} was never begun" for number in counted.keys() - seen.placed),
        *(f"what block {number} used is lost" for number in sorted(seen.surely - counted.keys())),
        *(f"{path.name} remains" for path in spool.glob("*.json")),
        *(f"refused: {reason}" for reason in await world.reasons()),
    ]


def _token(api: Api) -> str:
    return mint(api.settings, team=api.team_id, member="images", role=TokenRole.SERVICE, sources=("/features/*",))
