"""Times to place and to capture holds over HTTP while usage arrives, and whether a thousand at once stay within a balance.

The timetable is that of `reading`: a request that had to wait for the one before it is timed from when it was due.
"""

import http.client
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from time import perf_counter, sleep
from typing import Any
from urllib.parse import urlsplit

from deploy.local.trouble import StackTrouble, tail
from deploy.local.world import LocalWorld, at_free_ports, connected
from schemas.catalog import load_catalog
from services.api.tokens import TokenRole
from services.credits.plans import assign_plan
from services.read_models.balances import PROJECTOR
from tests.bench.ground import SETTLE, WARM_SECONDS, Ground
from tests.bench.reading import STARTS_SECONDS, fed
from tests.bench.throughput import CURSORS, RECORDERS, catch_up, in_worker, worker
from tests.bench.workload import BenchTeam, usage_events

PER_SECOND = 100  # half of them place a hold, half capture the one placed before
CALLERS = 10
SECONDS = 20
STORM = 1_000
STORM_CREDITS = 4  # each; the team has 3,000
STORM_FITS = 750
STORM_CALLERS = 50
KEYS = count(1)


@dataclass(frozen=True)
class Holds:
    """What placing and capturing took, in milliseconds, and how fast usage was stored meanwhile."""

    placed_ms: list[float]
    captured_ms: list[float]
    stored_per_s: float


Caller = tuple[str, str]  # a team and a token of a service


async def hold_times(ground: Ground, world: LocalWorld, teams: Sequence[BenchTeam], usage_per_s: int) -> Holds:
    """A hundred requests a second while so much usage arrives; then a thousand holds at once, of which 750 fit."""
    events = usage_events(teams, usage_per_s * (SECONDS + WARM_SECONDS + STARTS_SECONDS), "holds")
    names = (*RECORDERS, "projector", "api")
    world = at_free_ports(world)
    await world.serve(*names)
    async with connected(world.database) as owner:
        async with owner.transaction():
            await assign_plan(owner, load_catalog(), "storm", "pro")
        await catch_up(world, owner, PROJECTOR)
        await owner.execute(SETTLE)
        callers = [(team.id, world.token(team.id, "bench", TokenRole.SERVICE)) for team in teams]
        with worker() as caller:
            async with fed(world, events, usage_per_s):
                await in_worker(caller, hold_in_worker, world.api, callers, "warm", WARM_SECONDS)
                before, began = await owner.fetchval(CURSORS), perf_counter()
                placed, captured, failures = await in_worker(
                    caller, hold_in_worker, world.api, callers, "timed", SECONDS
                )
                stored = (await owner.fetchval(CURSORS) - before) / (perf_counter() - began)
            storm = await in_worker(
                caller, storm_in_worker, world.api, ("storm", world.token("storm", "bench", TokenRole.SERVICE))
            )
    if failures or storm != {201: STORM_FITS, 402: STORM - STORM_FITS}:
        what = failures[0] if failures else f"of {STORM} holds at once, where {STORM_FITS} fit, were answered: {storm}"
        raise StackTrouble("Bench", f"holds failed: {what}", way_out=tail(world.processes["api"].log))
    await ground.stop(*names)
    return Holds(placed, captured, stored)


class Service:
    """A feature service with a connection of its own."""

    def __init__(self, api: str, name: str) -> None:
        address = urlsplit(api)
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        self._name = name

    def post(self, caller: Caller, action: str, body: dict[str, Any]) -> tuple[int, Any]:
        """A command about holds, under a key of its own."""
        team_id, token = caller
        headers = {
            "Authorization": f"Bearer {token}", "Content-Type": "application/json",
            "Idempotency-Key": f"{self._name} {next(KEYS)}",
        }  # fmt: skip
        self._connection.request("POST", f"/v1/teams/{team_id}/holds{action}", json.dumps(body), headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())


def hold_in_worker(
    api: str, callers: Sequence[Caller], name: str, seconds: float
) -> tuple[list[float], list[float], list[str]]:
    """In a process of its own: times of placing and of capturing, and what failed."""
    placed: list[float] = []
    captured: list[float] = []
    failures: list[str] = []
    began = perf_counter() + 0.5

    def call(number: int) -> None:
        random, service, free_at = Random(f"{name} {number}"), Service(api, f"{name} {number}"), 0.0
        held: tuple[Caller, str] | None = None
        for turn in range(int(seconds * PER_SECOND / CALLERS)):
            due = began + (turn + number / CALLERS) * CALLERS / PER_SECOND
            if (late := perf_counter() - due) > 0 and due + late > began + seconds:
                (placed if held is None else captured).append(late * 1000)
                continue
            sleep(max(0.0, due - perf_counter()))
            sent_at = perf_counter()
            if held is None:
                caller = random.choice(callers)
                status, said = service.post(
                    caller, "", {"credits": "12.5", "ttl_seconds": 600, "member_id": "mem_bench"}
                )
                held, times, right = (caller, str(said.get("id"))), placed, 201
            else:
                status, said = service.post(held[0], f"/{held[1]}/capture", {"credits": "11"})
                held, times, right = None, captured, 200
            since, free_at = due if free_at > due else sent_at, perf_counter()
            times.append((free_at - since) * 1000)
            if status != right:
                failures.append(f"{status} {said}")
                return

    _all(threading.Thread(target=call, args=(number,)) for number in range(CALLERS))
    return placed, captured, failures


def storm_in_worker(api: str, caller: Caller) -> dict[int, int]:
    """A thousand holds of one team at once: how many got which answer."""
    answers: list[int] = []

    def call(number: int) -> None:
        service = Service(api, f"storm {number}")
        asked = {"credits": str(STORM_CREDITS)}
        answers.extend(service.post(caller, "", asked)[0] for _ in range(STORM // STORM_CALLERS))

    _all(threading.Thread(target=call, args=(number,)) for number in range(STORM_CALLERS))
    return {status: answers.count(status) for status in set(answers)}


def _all(threads: Any) -> None:
    started = list(threads)
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()
