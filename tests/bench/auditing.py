"""What finance and auditors wait for: whole runs of their commands over a long log, from their start to their exit."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import psutil

from deploy.local.trouble import StackTrouble
from deploy.local.world import LocalWorld, connected
from tests.bench.throughput import HEADS

SINCE = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM')"
LOOK_SECONDS = 0.02
SAID_SHOWN = 400


class Ran(NamedTuple):
    """A command: facts per second of all its time, and the most memory that it took."""

    name: str
    facts_per_s: float
    rss_mb: float


@dataclass(frozen=True)
class Auditor:
    """Who runs the commands, with the login of finance."""

    environment: Mapping[str, str]
    facts: int

    async def run(self, name: str, *arguments: str) -> Ran:
        """One command.

        Raises:
            StackTrouble: it did not end with 0.
        """
        began, most_mb = perf_counter(), 0.0
        with tempfile.TemporaryFile() as output:
            command = [sys.executable, "-m", "services.cli", *arguments]
            child = psutil.Popen(command, env={**os.environ, **self.environment}, stdout=output, stderr=output)
            while (code := child.poll()) is None:
                most_mb = max(most_mb, _memory_mb(child))
                await asyncio.sleep(LOOK_SECONDS)
            seconds = perf_counter() - began
            output.seek(0)
            said = output.read().decode("utf-8", "replace")
        if code != 0:
            raise StackTrouble("Bench", f"creditwell {' '.join(arguments)} ended with {code}: {said[-SAID_SHOWN:]}")
        return Ran(name, self.facts / seconds, most_mb)


def _memory_mb(process: psutil.Process) -> float:
    """Of it and its workers together; pages that they share are counted once for each."""
    with suppress(psutil.NoSuchProcess):
        return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))) / 1e6
    return 0.0


async def audits(world: LocalWorld) -> AsyncIterator[Ran]:
    """The log verified, exported, and verified as an export; each balance of one moment; a month of the books."""
    async with connected(world.database) as owner:
        facts, month = await owner.fetchval(HEADS), await owner.fetchval(SINCE)
    auditor = Auditor({"CREDITWELL_DATABASE": world.logins["reader"], "CREDITWELL_LOG_FORMAT": "json"}, facts)
    with tempfile.TemporaryDirectory(prefix="creditwell-bench-") as folder:
        events, balances = str(Path(folder, "events")), str(Path(folder, "balances"))
        yield await auditor.run("verify", "verify", "--unsigned")
        yield await auditor.run("export", "export", "events", "--format", "parquet", "--out", events)
        yield await auditor.run("verify_export", "verify", events, "--unsigned")
        yield await auditor.run("balances_at", "export", "balances", "--out", balances)
        yield await auditor.run("revenue", "revenue", month)
