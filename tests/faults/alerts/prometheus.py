"""Prometheus for the alerts: it scrapes real processes, and its own engine evaluates alerts.yaml over what they said.

Recorded time goes on as the clock does while anything is started or stopped. While something stays as it is and an alert
is waited for, each scrape counts for more (`pace`), so that "for 5m" and windows of an hour take seconds. Ages that a
process tells are its own and stay as they are. A time that it names lies where it lay in recorded time.
"""

import asyncio
import json
import os
import re
import time
from bisect import bisect_right
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from deploy.local.folders import ROOT
from deploy.local.processes import PLAIN_HTTP
from tests.support.waiting import until

CHECK, ALERTS = ROOT / "deploy/chart/check", ROOT / "deploy/monitoring/alerts.yaml"
EACH_SECONDS, ANSWER_SECONDS = 1.0, 5.0
HALF_A_MINUTE, TWO_MINUTES = 30.0, 120.0  # paces; a series that nobody adds to ends after five minutes
LINE_MAX = 64 * 2**20
TIMES = re.compile(r"^(creditwell_\w+_timestamp_seconds(?:\{[^}]*\})? )(\S+)$", re.MULTILINE)


@dataclass
class Prometheus:
    """What it knows.

    Attributes:
        targets: the addresses that are scraped, by instance, such as `recorder-2`.
        pace: for how many seconds of recorded time a scrape counts at least; 0: as the clock goes.
        firing: the alerts that fire now, with their summaries. `fired`: all that did since somebody forgot them.
        clock: what was recorded when: pairs of real and recorded time.
        silent: alerts that nobody hears, as Alertmanager has them.
    """

    engine: asyncio.subprocess.Process
    http: httpx2.AsyncClient
    targets: dict[str, str] = field(default_factory=dict)
    pace: float = 0.0
    firing: dict[str, list[str]] = field(default_factory=dict)
    fired: dict[str, list[str]] = field(default_factory=dict)
    clock: list[tuple[float, float]] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)
    scrapes: int = 0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self) -> None:
        """Scrape for ever."""
        while True:
            await self.scrape()
            await asyncio.sleep(EACH_SECONDS)

    async def scrape(self) -> None:
        """Once: what all say, and which alerts fire then."""
        said = await asyncio.gather(*(self._said(name, url) for name, url in self.targets.items()))
        now = time.time()
        real, recorded = self.clock[-1] if self.clock else (now, now)
        self.clock.append((now, recorded + max(now - real, self.pace, 0.001)))
        firing = (await self._ask(at=self.clock[-1][1], targets=[self._in_recorded_time(one) for one in said])).get(
            "firing", {}
        )
        self.firing = {name: summaries for name, summaries in firing.items() if name not in self.silent}
        self.fired = self.firing | self.fired
        self.scrapes += 1

    async def series(self, queries: Mapping[str, str]) -> dict[str, int]:
        """How many series each query has now."""
        found: dict[str, int] = (await self._ask(at=self.clock[-1][1], queries=dict(queries)))["series"]
        return found

    async def scrapes_more(self, count: int, *, within: float = 600) -> None:
        """Wait for so many more."""
        goal = self.scrapes + count

        async def look() -> bool:
            return self.scrapes >= goal

        await until(look, within=within, what=f"{count} more scrapes")

    async def _said(self, name: str, url: str) -> dict[str, Any]:
        target = {"instance": name, "job": f"creditwell-{name.partition('-')[0]}"}
        try:
            answer = await self.http.get(f"{url}/metrics")
        except httpx2.HTTPError:
            return {**target, "up": False}
        return {**target, "up": answer.is_success, "text": answer.text}

    def _in_recorded_time(self, target: dict[str, Any]) -> dict[str, Any]:
        if "text" not in target:
            return target
        text = TIMES.sub(lambda found: f"{found[1]}{self.recorded_at(float(found[2]))!r}", target["text"])
        return {**target, "text": text}

    def recorded_at(self, moment: float) -> float:
        """Where a moment of the clock lies in recorded time; 0 is none."""
        if not moment:
            return 0.0
        number = bisect_right(self.clock, (moment, float("inf")))
        if number == 0:
            return moment - self.clock[0][0] + self.clock[0][1]
        (real, recorded), after = self.clock[number - 1], self.clock[number : number + 1]
        faster = (after[0][1] - recorded) / (after[0][0] - real) if after else 1.0
        return recorded + (moment - real) * faster

    async def _ask(self, **request: Any) -> dict[str, Any]:
        assert self.engine.stdin is not None
        assert self.engine.stdout is not None
        async with self.asking:
            self.engine.stdin.write(json.dumps(request).encode() + b"\n")
            await self.engine.stdin.drain()
            answer: dict[str, Any] = json.loads(await self.engine.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer


@asynccontextmanager
async def a_prometheus() -> AsyncIterator[Prometheus]:
    """It scrapes nothing yet. Needs Go."""
    engine = await asyncio.create_subprocess_exec(
        "go", "run", "./watch", str(ALERTS), cwd=CHECK, env={**os.environ, "GOTOOLCHAIN": "local"},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE_MAX,
    )  # fmt: skip
    try:
        async with httpx2.AsyncClient(trust_env=False, verify=PLAIN_HTTP, timeout=ANSWER_SECONDS) as http:
            yield Prometheus(engine, http)
    finally:
        assert engine.stdin is not None
        engine.stdin.close()  # it ends with its input
        await engine.wait()
