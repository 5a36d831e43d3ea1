"""Creditwell's processes as child processes: started, killed, frozen and asked how they are, by name."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from deploy.local.folders import ROOT, free_ports
from deploy.local.processes import PLAIN_HTTP, Process, Processes, service_command
from deploy.local.stack import Stack
from services.runtime.processes import PROCESSES
from tests.conftest import url_of
from tests.support.waiting import PATIENCE_SECONDS, until

SESSION_TIMEOUT_MS = 3_000  # how long Kafka waits for a recorder that was killed


@dataclass
class Fleet:
    """Any number of processes over one database; a name such as `recorder-2` says which program it is."""

    processes: Processes
    stack: Stack
    database: str  # a superuser's URL
    common: dict[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    root: Path = ROOT  # of the source tree that they run

    def start(self, name: str, **env: str) -> Process:
        """Start `name`; `crash_at="append:written:2"` becomes CREDITWELL_CRASH_AT."""
        program = name.partition("-")[0]
        (port,) = free_ports(1)
        self.ports[name] = port
        fixed = {
            "CREDITWELL_KAFKA": self.stack.kafka,
            "CREDITWELL_DATABASE": self.url(program),
            "CREDITWELL_KAFKA_SESSION_TIMEOUT_MS": str(SESSION_TIMEOUT_MS),
            "CREDITWELL_HEALTH_PORT": str(port),
            "CREDITWELL_INSECURE_DEV": "1",
            "CREDITWELL_LOG_FORMAT": "json",
        }
        own = {f"CREDITWELL_{key.upper()}": value for key, value in env.items()}
        env = fixed | self.common | own
        return self.processes.start(name, service_command(program), env, cwd=self.root, may_end=bool(own))

    def url(self, program: str) -> str:
        """The database as this program's role sees it."""
        return url_of(self.database, self.database.rpartition("/")[2], role=PROCESSES[program].role)

    async def ready(self, *names: str, within: float = 60) -> None:
        """These processes can do their work."""
        for name in names:
            await self.processes.wait_ready(name, f"http://127.0.0.1:{self.ports[name]}/readyz", timeout_seconds=within)

    async def health(self, name: str) -> dict[str, Any]:
        """What a process says of itself."""
        async with httpx2.AsyncClient(trust_env=False, verify=PLAIN_HTTP, timeout=PATIENCE_SECONDS) as client:
            said: dict[str, Any] = (await client.get(f"http://127.0.0.1:{self.ports[name]}/healthz")).json()
        return said

    async def metrics(self, name: str) -> str:
        """All that a process shows."""
        async with httpx2.AsyncClient(trust_env=False, verify=PLAIN_HTTP, timeout=PATIENCE_SECONDS) as client:
            return (await client.get(f"http://127.0.0.1:{self.ports[name]}/metrics")).text

    async def metric(self, name: str, metric: str) -> float:
        """A number that a process shows; 0 while it does not."""
        lines = (await self.metrics(name)).splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(f"{metric} ")), 0.0)

    async def ended(self, name: str, *, within: float = 60) -> int:
        """Wait for the end of a process; its exit code, -9 where it was killed."""
        return await self.processes.ended(name, timeout_seconds=within)

    async def frozen(self, name: str, *, within: float = 60) -> None:
        """Wait until a process has stopped itself at a crash point."""

        async def look() -> bool:
            with open(f"/proc/{self.processes[name].pid}/stat") as stat:
                return stat.read().rpartition(")")[2].split()[0] == "T"

        await until(look, within=within, what=f"{name} stops itself")

    def said(self, name: str, *, level: str | None = None) -> Iterator[dict[str, Any]]:
        """The log lines of a process, over all its restarts."""
        for line in self.processes[name].log.read_text("utf-8", "replace").splitlines():
            said = json.loads(line) if line.startswith("{") else {"event": line, "level": "unstructured"}
            if level in (None, said.get("level")):
                yield said
