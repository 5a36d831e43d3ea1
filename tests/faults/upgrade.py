"""A release under load, and the way back: every process is replaced by the next build's, one after the other, and again.

The next build is a copy of the source tree with another fold, another column, a migration and another function
(`tests/support/next_build.py`). Balances are read all the time, from whichever API is there.
"""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from time import monotonic

import httpx2
from rich.console import Console

from deploy.local.folders import ROOT, free_ports
from deploy.local.processes import Processes
from deploy.local.stack import Stack
from services.api.tokens import TokenRole, mint
from services.runtime.settings_loading import load_settings
from tests.faults.matrix import empty_database
from tests.faults.scene import ALWAYS, TEAMS, Scene, a_scene
from tests.support.fleet import Fleet
from tests.support.next_build import creditwell, next_build

REFUSED_SECONDS_MAX, PATIENCE_SECONDS = 1.0, 30.0
READ_EVERY_SECONDS = 0.02
FACTS_BETWEEN = 300
API = "api"


@dataclass
class Reading:
    """Reads balances at any API that answers, and keeps the longest time for which all of them refused."""

    ports: list[int] = field(default_factory=list)
    reads: int = 0
    refused_since: float | None = None
    longest_seconds: float = 0.0
    refusals: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Until it is cancelled."""
        settings = load_settings(insecure_dev=True)
        token = mint(settings, team="*", member="upgrade", role=TokenRole.SERVICE)
        headers = {"authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=PATIENCE_SECONDS) as client:
            while True:
                began, path = monotonic(), f"/v1/teams/{TEAMS[self.reads % len(TEAMS)]}/balance"
                for port in tuple(self.ports):
                    if await self._answers(client, f"http://127.0.0.1:{port}{path}"):
                        self.longest_seconds = max(self.longest_seconds, began - (self.refused_since or began))
                        self.refused_since, self.reads = None, self.reads + 1
                        break
                else:
                    self.refused_since = self.refused_since or began
                await asyncio.sleep(READ_EVERY_SECONDS)

    async def _answers(self, client: httpx2.AsyncClient, url: str) -> bool:
        try:
            answer = await client.get(url)
        except httpx2.TransportError as error:
            self.refusals[type(error).__name__] += 1
            return False
        if answer.status_code != HTTPStatus.OK:
            self.refusals[answer.text[:200]] += 1
        return answer.status_code == HTTPStatus.OK


async def upgrade(stack: Stack, seed: int, console: Console) -> list[str]:
    """What went wrong; nothing where all was well."""
    with tempfile.TemporaryDirectory() as folder:
        after = await asyncio.to_thread(next_build, Path(folder) / "after")
        async with a_scene(stack, await empty_database(stack.database), seed=seed) as scene:
            with Processes(stack, say=lambda line: None) as processes:
                old, new = scene.fleet, Fleet(processes, stack, scene.fleet.database, scene.fleet.common, root=after)
                async with _reading(scene, old) as reading:
                    problems = await _step(scene, reading, old, new, after)
                    console.print(f"{'; '.join(problems) or 'all well'} with the next build", markup=False)
                    problems += await _step(scene, reading, new, old, ROOT)
                    console.print(f"{'; '.join(problems) or 'all well'} with the build before", markup=False)
                problems += [f"{died.name} of the next build ended with code {died.code}" for died in processes.died]
                await scene.processes.stop(API)
    console.print(
        f"{reading.reads} reads, refused {dict(reading.refusals)}; for {reading.longest_seconds:.2f} s at most by all",
        markup=False,
    )
    if reading.longest_seconds > REFUSED_SECONDS_MAX:
        problems.append(f"every read was refused for {reading.longest_seconds:.2f} s")
    return problems


@asynccontextmanager
async def _reading(scene: Scene, fleet: Fleet) -> AsyncIterator[Reading]:
    reading = Reading()
    reading.ports.append(await _start_api(fleet))
    task = asyncio.create_task(reading.run())
    try:
        await scene.more_facts(FACTS_BETWEEN)
        yield reading
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _start_api(fleet: Fleet) -> int:
    (port,) = free_ports(1)
    fleet.start(API, api_port=str(port))
    await fleet.ready(API)
    return port


async def _step(scene: Scene, reading: Reading, here: Fleet, there: Fleet, root: Path) -> list[str]:
    """From one build to the other, as docs/upgrade.md has it; what is wrong afterwards."""
    code, said = await creditwell(root, scene.database, "migrate")
    if code:
        return [f"migrate ended with code {code}: {said}"]
    there.start("projector-1")
    await there.ready("projector-1")
    reading.ports.append(await _start_api(there))
    reading.ports.pop(0)
    problems = await _stopped(here, [API])
    for name in ALWAYS:
        if name != "projector-1":
            there.start(name)
            await there.ready(name)
            problems += await _stopped(here, [name])
            await scene.more_facts(FACTS_BETWEEN // 10)
    problems += await _stopped(here, ["projector-1"])
    await creditwell(root, scene.database, "migrate")  # people see what this build's projector fills
    await scene.more_facts(FACTS_BETWEEN)
    return problems + await scene.problems()


async def _stopped(fleet: Fleet, names: Sequence[str]) -> list[str]:
    """Stop these; who does not end with 0."""
    codes = {name: await fleet.processes.stop(name) for name in names}
    return [f"{name} ended with code {code} when asked to stop" for name, code in codes.items() if code]
