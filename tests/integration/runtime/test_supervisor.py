"""`creditwell serve all` keeps its processes running, and takes them along when it ends, however it ends."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest

from deploy.local.folders import ROOT, free_ports_in_a_row
from services.audit.checkpoints import new_key_pair
from services.runtime.health import Health
from services.runtime.settings import WrongSettings
from services.runtime.settings_loading import load_settings
from services.runtime.supervisor import supervise
from tests.support.waiting import until

SUPERVISOR = """
import sys
from functools import partial
from services.runtime.running import run_process
from services.runtime.settings_loading import load_settings
from services.runtime.supervisor import supervise
sys.exit(run_process("all", partial(supervise, ["signer"]), load_settings()))
"""


def signer_environment(database: str) -> dict[str, str]:
    return {
        "CREDITWELL_DATABASE": f"{database}?role=creditwell_signer",
        "CREDITWELL_SIGNING_KEY": new_key_pair()[0],
        "CREDITWELL_HEALTH_PORT": str(free_ports_in_a_row(2)),
    }


def children_of(process: psutil.Process) -> set[int]:
    found = set()
    for child in process.children():
        with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
            if "services.cli" in child.cmdline():
                found.add(child.pid)
    return found


async def one(look: Callable[[], set[int]]) -> int:
    async def found() -> set[int]:
        return look()

    return (await until(found, within=60, what="a child runs")).pop()


async def test_a_child_that_dies_is_started_again_and_all_stop_together(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in signer_environment(database).items():
        monkeypatch.setenv(name, value)
    stop, health, before = asyncio.Event(), Health("all"), children_of(psutil.Process())
    running = asyncio.create_task(supervise(["signer"], load_settings(), stop, health))

    async def ready() -> bool:
        return health.is_ready

    await until(ready, within=60, what="the signer is ready")
    first = await one(lambda: children_of(psutil.Process()) - before)
    os.kill(first, signal.SIGKILL)
    second = await one(lambda: children_of(psutil.Process()) - before - {first})

    stop.set()
    await running
    assert not psutil.pid_exists(second)


async def test_wrong_settings_of_a_child_end_everything(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (signer_environment(database) | {"CREDITWELL_SIGNING_KEY": "wrong"}).items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ExceptionGroup) as ended:
        await supervise(["signer"], load_settings(), asyncio.Event(), Health("all"))

    assert isinstance(ended.value.exceptions[0], WrongSettings)


async def test_children_end_when_their_supervisor_is_killed(database: str) -> None:
    environment = {**os.environ, **signer_environment(database)}
    supervisor = await asyncio.create_subprocess_exec(sys.executable, "-c", SUPERVISOR, env=environment, cwd=ROOT)
    child = psutil.Process(await one(lambda: children_of(psutil.Process(supervisor.pid))))

    supervisor.kill()
    await supervisor.wait()

    async def gone() -> bool:
        return not child.is_running() or child.status() == psutil.STATUS_ZOMBIE

    assert await until(gone, within=60, what="the child ends")
