"""`creditwell serve all`: every process as a child of one, for a small installation or a first look.

Children and not tasks of one loop: each keeps a core, a memory and a fate of its own. One that fails is started again,
later each time; one whose settings are wrong ends everything, because starting it again would not help. A child's
standard input is a pipe that we hold: when we die, however we die, it ends.
"""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import httpx2

from services.runtime.clock import pause, until_stopped
from services.runtime.health import Health
from services.runtime.logs import get_log
from services.runtime.processes import PROCESSES
from services.runtime.running import DRAIN_SECONDS
from services.runtime.settings import Settings, WrongSettings, variable
from services.runtime.settings_loading import USED_WRONGLY

STOP_SECONDS = DRAIN_SECONDS + 5
RESTART_SECONDS = (0.5, 1, 2, 5, 10, 30)  # by how often it failed in a row
LONG_SECONDS = 60  # whoever ran so long begins anew with the first of them
READY_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class SupervisedProcess:
    """A process to keep running; its health is on `health_port`, 0 for none."""

    name: str
    health_port: int

    def command(self) -> list[str]:
        """The program and its arguments."""
        return [sys.executable, "-m", "services.cli", "serve", self.name, "--stop-at-eof"]

    def environment(self) -> Mapping[str, str]:
        """Ours, with its own port for health."""
        return {**os.environ, variable("health_port"): str(self.health_port)}


def children_of(names: Sequence[str], health_port: int) -> list[SupervisedProcess]:
    """The supervisor's health is on `health_port`, the children's on the ports after it."""
    return [SupervisedProcess(name, health_port + number if health_port else 0) for number, name in enumerate(names, 1)]


async def supervise(names: Sequence[str], settings: Settings, stop: asyncio.Event, health: Health) -> None:
    """Keep every process running until `stop`.

    Raises:
        WrongSettings: one of them misses a setting; it names all that are missing, of all of them.
    """
    settings.require(*dict.fromkeys(needed for name in names for needed in PROCESSES[name].needed(settings)))
    children = children_of(names, settings.health_port)
    async with asyncio.TaskGroup() as group:
        for child in children:
            group.create_task(_keep_running(child, stop, health))
        group.create_task(_ready_when_all_are(children, settings.health_host, stop, health))


async def _keep_running(child: SupervisedProcess, stop: asyncio.Event, health: Health) -> None:
    failures, loop = 0, asyncio.get_running_loop()
    while not stop.is_set():
        began = loop.time()
        code = await _run(child, stop)
        if stop.is_set():
            return
        if code == USED_WRONGLY:
            raise WrongSettings(f"{child.name} can't start with these settings.")
        failures = 1 if loop.time() - began > LONG_SECONDS else failures + 1
        wait_seconds = RESTART_SECONDS[min(failures, len(RESTART_SECONDS)) - 1]
        health.away(child.name, ChildProcessError(f"ended with code {code}"))
        get_log().error("child ended", child=child.name, code=code, again_in_seconds=wait_seconds)
        await pause(stop, wait_seconds)
        health.back(child.name)


async def _run(child: SupervisedProcess, stop: asyncio.Event) -> int:
    running = await asyncio.create_subprocess_exec(
        *child.command(), env=child.environment(), stdin=asyncio.subprocess.PIPE, start_new_session=True
    )
    try:
        if not await until_stopped(running.wait(), stop):
            running.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await running.wait()
    finally:
        if running.returncode is None:
            running.kill()
    return await running.wait()


async def _ready_when_all_are(
    children: Sequence[SupervisedProcess], host: str, stop: asyncio.Event, health: Health
) -> None:
    """Ask each child until it has been ready once; without health ports, running is all that can be known."""
    async with httpx2.AsyncClient(timeout=5, trust_env=False) as client:
        for child in children:
            while child.health_port and not stop.is_set() and not await _is_ready(client, host, child.health_port):
                await pause(stop, READY_LOOK_SECONDS)
    health.ready(not stop.is_set())


async def _is_ready(client: httpx2.AsyncClient, host: str, port: int) -> bool:
    try:
        return (await client.get(f"http://{host}:{port}/readyz")).is_success
    except httpx2.TransportError:
        return False
