"""Two APIs, the recorder's appends and the clock move the holds of one team, in an order that nobody chose.

Nothing is asked of the order. Whatever it was, the log has promised nothing twice, and a key has one answer.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from deploy.local.stack import Stack
from projections.balance.fold import evolve
from projections.balance.state import TeamBalance
from schemas.facts import HoldPlaced, Stored
from services.audit.verify import verify
from services.credits.holds.settlement import expire_holds
from services.store.connect import Connection
from services.store.read import read_team
from services.store.shards import shard_of
from tests.support.api import NO_LIMITS, Api, an_api, key
from tests.support.facts import granted, planned, store, usage
from tests.support.serving import as_role, connected

TEAM = "team_1"
PATH = f"/v1/teams/{TEAM}/holds"
ROWS = "SELECT hold_id, state FROM holds"
COMMANDS, CALLERS = 25, 8


@dataclass
class Callers:
    """What they were answered: of each command, by its path and its key, every answer that was no refusal."""

    apis: Sequence[Api]
    answers: dict[tuple[str, str], set[bytes]] = field(default_factory=lambda: defaultdict(set))
    holds: list[str] = field(default_factory=list)

    async def call(self, random: Random) -> None:
        """One command after the other, now and then the same again, by the other API or by both at once."""
        for _ in range(COMMANDS):
            path, body = self._next(random)
            name = f"key {random.randrange(60)}"
            apis = random.choice(((self.apis[0],), (self.apis[1],), self.apis))
            await asyncio.gather(*(self._ask(api, path, body, name) for api in apis))

    def _next(self, random: Random) -> tuple[str, Mapping[str, Any] | None]:
        if not self.holds or random.random() < 0.4:
            return PATH, {"credits": str(random.choice((1, 3, 9))), "ttl_seconds": random.choice((1, 1, 600))}
        hold = f"{PATH}/{random.choice(self.holds[-8:])}"
        match random.choice(("extend", "extend", "capture", "capture", "release")):
            case "extend":
                return f"{hold}/extend", {"ttl_seconds": random.choice((1, 2, 600))}
            case "capture":
                return f"{hold}/capture", {"credits": str(random.choice((1, 2))), "final": random.random() < 0.5}
            case _:
                return f"{hold}/release", None

    async def _ask(self, api: Api, path: str, body: Mapping[str, Any] | None, name: str) -> None:
        answer = await api.client("service", TEAM).post(path, json=body, headers=key(name))
        assert answer.status_code < 500, answer.text
        if answer.is_success:
            self.answers[path, name].add(answer.content)
            if path == PATH:
                self.holds.append(answer.json()["id"])


async def others(database: str, seed: int, callers: "asyncio.Future[Any]") -> None:
    """Until the callers are done, holds end by the clock, and the recorder and whoever gives append."""
    random, number = Random(seed), 0
    async with connected(as_role(database, "worker")) as worker, connected(database) as giver:
        while not callers.done():
            number += 1
            ends_after = random.choice((None, timedelta(seconds=1)))
            fact = granted(TEAM, f"gift {number}", 2, ends_after=ends_after)
            await store(giver, random.choice((fact, usage(TEAM, f"usage {number}", random.randint(0, 3)))))
            async with worker.transaction():
                await expire_holds(worker, TEAM, 100)


def promised_twice(facts: Sequence[Stored]) -> list[str]:
    """The holds that were placed for more than there was, by the definition of a balance."""
    team, wrong = TeamBalance(TEAM), []
    for stored in facts:
        fact = stored.fact()
        evolve(team, stored, fact)
        if isinstance(fact, HoldPlaced) and team.available(stored.recorded_at) < 0:
            wrong.append(str(stored.place))
    return wrong


@pytest.mark.parametrize("seed", range(2))
async def test_whoever_comes_first_nothing_is_promised_twice_and_a_key_has_one_answer(
    stack: Stack, database: str, connection: Connection, seed: int
) -> None:
    await store(connection, *planned(TEAM, credits=40))
    async with an_api(stack, database, **NO_LIMITS) as one, an_api(stack, database, **NO_LIMITS) as other:
        callers = Callers((one, other))
        calling = asyncio.gather(*(callers.call(Random(f"{seed} {number}")) for number in range(CALLERS)))
        await asyncio.gather(calling, others(database, seed, calling))

    facts = await read_team(connection, shard_of(TEAM), TEAM, 0, 1_000_000)
    placed = {fact.hold_id for stored in facts if isinstance(fact := stored.fact(), HoldPlaced)}
    ends = Counter(stored.id for stored in facts if stored.id.startswith("end:"))
    rows = {row["hold_id"]: row["state"] for row in await connection.fetch(ROWS)}
    assert promised_twice(facts) == []
    assert {path: len(said) for path, said in callers.answers.items() if len(said) > 1} == {}
    assert placed == set(callers.holds) == set(rows)
    assert ends == {f"end:{hold_id}": 1 for hold_id, state in rows.items() if state != "open"}
    assert (await verify(connection)).problems == []
