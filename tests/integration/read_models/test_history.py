"""Balances of the past begin at snapshots: that changes what they cost, and never what they say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import asyncpg
import pytest

from projections.balance.amending import earlier_usage
from projections.balance.fold import evolve
from projections.balance.lots import end_lots
from projections.balance.snapshots import Cadence
from projections.balance.state import ActivityKind, LotPayment, TeamBalance
from schemas.credits import MICRO
from schemas.cycles import cycle_at
from schemas.facts import CreditsGranted, HoldCaptured, HoldPlaced, PlanAssigned, Stored, UsageRecorded
from services.read_models.balances import ExactBalance, fold_due
from services.read_models.history import PAGE, balance_as_of
from services.read_models.snapshots import FACTS
from services.store.connect import Connection
from services.store.cycles import refill
from tests.support.facts import usage, void
from tests.support.past import BEGIN, TEAM, Past, lay, project
from tests.support.projections import every_row, folded_anew
from tests.support.world import ServiceWorld

Asked = tuple[datetime, datetime]


def plain(log: Sequence[Stored], at: datetime, known_at: datetime) -> ExactBalance | None:
    """The meaning: a fold over what had occurred by `at` and was recorded by `known_at`, from the team's first fact."""
    team, paid, plan = TeamBalance(TEAM), dict[int, tuple[LotPayment, ...]](), None
    for stored in log:
        fact = stored.fact()
        if stored.recorded_at > known_at or stored.occurred_at > at:
            continue
        earlier = earlier_usage(fact)
        if earlier is not None and earlier not in paid:
            continue
        timely = stored._replace(recorded_at=min(stored.recorded_at, at))
        who = () if earlier is None else paid[earlier]
        entries = evolve(team, timely, fact, who, team.changed)
        if isinstance(fact, UsageRecorded | HoldCaptured):
            paid[stored.position] = next(entry.paid for entry in entries if entry.kind is ActivityKind.USAGE)
        if isinstance(fact, PlanAssigned):
            plan = (stored.id, fact)
    if plan is None:
        return None
    if team.cycle_ends_at <= at:
        id, assigned = plan
        first, last = (cycle_at(assigned.anchor, assigned.zone, instant) for instant in (team.cycle_ends_at, at))
        fold_due(team, log[0].shard, [refill(assigned, id, TEAM, k) for k in range(first, last + 1)], at)
    end_lots(team, at, [])
    return ExactBalance(team, log[0].shard, team.position, at)


def said(exact: ExactBalance | None) -> object:
    """What anybody is told of a balance."""
    if exact is None:
        return None
    team = exact.team
    return (
        exact.position, team.included, team.additional, team.debt, team.held(exact.at), team.plan, team.allowance,
        team.cycle_ends_at, team.top_up.enabled, tuple(team.debt_payers),
    )  # fmt: skip


def questions(random: Random, log: Sequence[Stored], count: int) -> list[Asked]:
    """Instants at, just before and between those at which something happened; most know everything."""
    instants = [instant for stored in log for instant in (stored.occurred_at, stored.recorded_at)]
    ends = [lot.ends_at for lot in told_by(log).changed.values() if lot.ends_at < log[-1].recorded_at]

    def instant() -> datetime:
        chosen = random.choice(random.choice((instants, ends or instants)))
        return chosen + random.choice((timedelta(0), timedelta(microseconds=-1), timedelta(hours=random.random() * 9)))

    return [(instant(), random.choice((log[-1].recorded_at, log[-1].recorded_at, instant()))) for _ in range(count)]


def told_by(log: Sequence[Stored]) -> TeamBalance:
    """The state at the end of the log."""
    exact = plain(log, log[-1].recorded_at + timedelta(minutes=10), log[-1].recorded_at)
    assert exact is not None
    return exact.team


async def assert_told(connection: Connection, expected: Mapping[Asked, object], *, page: int = PAGE) -> None:
    for (at, known_at), told in expected.items():
        exact = await balance_as_of(connection, TEAM, at=at, known_at=known_at, page=page)
        assert said(exact) == told, f"at {at}, known at {known_at}"


@pytest.mark.parametrize("seed", [1, 3, 9])
async def test_a_balance_of_the_past_is_the_plain_fold_whichever_snapshots_are_there(
    world: ServiceWorld, seed: int
) -> None:
    random = Random(seed)
    cadence = Cadence(every=random.choice((3, 5, 8)), late_max=random.choice((1, 2, 100)))
    page = random.choice((1, 4, 500))
    log = Past(random).tell(250)
    projected = log[: -random.choice((1, 2, 40))]
    await lay(world.connection, projected)
    await project(world.connection, batch=random.choice((1, 10, 1_000)), cadence=cadence)
    await lay(world.connection, log[len(projected) :])
    expected = {asked: said(plain(log, *asked)) for asked in questions(random, log, 100)}

    await assert_told(world.connection, expected, page=page)

    await world.connection.execute("DELETE FROM balance_snapshots_v1 WHERE position % 3 = $1", seed % 3)
    await assert_told(world.connection, expected, page=page)

    await world.connection.execute("DELETE FROM balance_snapshots_v1")
    await assert_told(world.connection, expected, page=page)


def minutes(count: float) -> datetime:
    """After the team's begin."""
    return BEGIN + timedelta(minutes=count)


def expired_hold(past: Past) -> None:
    """Usage that settled a hold, recorded when the hold had expired: it was settled only for whoever asks of the time before."""
    past.then("held", HoldPlaced(hold_id="h", credits=5 * MICRO, expires_at=minutes(60)), minutes(1))
    past.then("used", usage(TEAM, "used", 3, hold_id="h").fact, minutes(300), occurred=minutes(30))


def lot_that_came_back(past: Past) -> None:
    """A gift was used up and forgotten, a void gave it back, then it expired: the void came before the expiry, whoever reads later."""
    past.then("gift", CreditsGranted(credits=9 * MICRO, reason="test", expires_at=minutes(60)), minutes(1))
    used = past.then("used", usage(TEAM, "used", 69).fact, minutes(2))
    taken_back = void(TEAM, "void", of="used", position=used.position, at=used.occurred_at, credits=69)
    past.then("void", taken_back.fact, minutes(30))
    past.then("later", usage(TEAM, "later", 1).fact, minutes(90))


@pytest.mark.parametrize("story", [expired_hold, lot_that_came_back])
async def test_a_snapshot_is_not_used_for_instants_at_which_its_facts_meant_something_else(
    world: ServiceWorld, story: Callable[[Past], None]
) -> None:
    past = Past(Random(0))
    past.tell(2)
    story(past)
    await lay(world.connection, past.log)
    await project(world.connection, batch=100, cadence=Cadence(every=1))
    # Each fact alone leaves a snapshot: of all sets of them, these leave a read to begin at each one.
    for kept in range(len(past.log), 0, -1):
        asked = [(minutes(at), past.log[-1].recorded_at) for at in (1, 2, 10, 29, 30, 31, 40, 59, 60, 61, 100, 400)]
        await assert_told(world.connection, {one: said(plain(past.log, *one)) for one in asked})
        await world.connection.execute("DELETE FROM balance_snapshots_v1 WHERE position = $1", kept)


async def test_snapshots_are_the_same_whatever_batches_their_facts_come_in(world: ServiceWorld) -> None:
    cadence = Cadence(every=7)
    await lay(world.connection, Past(Random(5)).tell(300))
    await project(world.connection, batch=2, cadence=cadence)
    taken = (await every_row(world.connection))["balance_snapshots"]

    again = (await folded_anew(world.connection, cadence))["balance_snapshots"]

    assert len(taken) == 300 // 7
    assert again == taken


@dataclass
class Watching:
    """Reads, and remembers how many positions of the log the facts were looked for in."""

    connection: Connection
    end: int
    looked_at: list[int] = field(default_factory=list)

    async def fetch(self, query: str, /, *args: Any) -> list[asyncpg.Record]:
        """All rows."""
        if query == FACTS:
            self.looked_at.append(sum(min(until, self.end) - after for after, until in zip(*args[2:4], strict=True)))
        return await self.connection.fetch(query, *args)

    async def fetchrow(self, query: str, /, *args: Any) -> asyncpg.Record | None:
        """The first row."""
        return await self.connection.fetchrow(query, *args)


async def test_a_balance_of_the_past_reads_two_stretches_and_what_was_late_however_long_the_log_is(
    world: ServiceWorld,
) -> None:
    past = Past(Random(0))
    past.tell(2)
    for n in range(2_000):
        late = timedelta(days=2) if n % 100 == 99 else timedelta(seconds=n % 3)
        recorded = minutes(10 * n + 1)
        past.then(f"used-{n}", usage(TEAM, f"used-{n}").fact, recorded, occurred=max(recorded - late, BEGIN))
    await lay(world.connection, past.log)
    await project(world.connection, batch=500, cadence=Cadence(every=50))
    end = past.log[-1].recorded_at

    for at in (minutes(10 * n) for n in range(0, 2_000, 97)):
        reading = Watching(world.connection, past.log[-1].position)
        exact = await balance_as_of(reading, TEAM, at=at, known_at=end)
        assert said(exact) == said(plain(past.log, at, end))
        # Beside the facts since the last snapshot of all: what is two days late is so by three hundred facts, and every hundredth is.
        assert len(reading.looked_at) == 1
        assert reading.looked_at[0] <= 2 * 50 + 3 + len(past.log) % 50
