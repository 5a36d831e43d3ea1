"""Balances of the past begin at snapshots: that changes what they cost, and never what they say."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from random import Random

import pytest

from projections import snapshots
from projections.balance import Kind, Paid, TeamBalance, end_lots, evolve
from schemas.cycles import cycle_at
from schemas.facts import PlanAssigned, Stored, UsageRecorded, UsageVoided
from services.store import history
from services.store.balances import ExactBalance, fold_due
from services.store.connect import Connection
from services.store.cycles import refill
from services.store.history import balance_as_of
from tests.support.past import TEAM, Past, lay, project
from tests.support.world import World

Asked = tuple[datetime, datetime]


def plain(log: Sequence[Stored], at: datetime, known_at: datetime) -> ExactBalance | None:
    """The meaning: a fold over what had occurred by `at` and was recorded by `known_at`, from the team's first fact."""
    team, paid, plan = TeamBalance(TEAM), dict[int, tuple[Paid, ...]](), None
    for stored in log:
        fact = stored.fact()
        if stored.recorded_at > known_at or stored.occurred_at > at:
            continue
        if isinstance(fact, UsageVoided) and fact.usage_position not in paid:
            continue
        timely = stored._replace(recorded_at=min(stored.recorded_at, at))
        who = paid[fact.usage_position] if isinstance(fact, UsageVoided) else ()
        entries = evolve(team, timely, fact, who, team.changed)
        if isinstance(fact, UsageRecorded):
            paid[stored.position] = next(entry.paid for entry in entries if entry.kind is Kind.USAGE)
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
        team.cycle_ends_at, team.top_up.enabled,
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


async def assert_told(connection: Connection, expected: Mapping[Asked, object]) -> None:
    for (at, known_at), told in expected.items():
        exact = await balance_as_of(connection, TEAM, at=at, known_at=known_at)
        assert said(exact) == told, f"at {at}, known at {known_at}"


@pytest.mark.parametrize(
    "seed", range(int(__import__("os").environ.get("S0", "0")), int(__import__("os").environ.get("S1", "4")))
)
async def test_a_balance_of_the_past_is_the_plain_fold_whichever_snapshots_are_there(
    world: World, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    random = Random(seed)
    monkeypatch.setattr(snapshots, "EVERY", random.choice((3, 5, 8)))
    monkeypatch.setattr(snapshots, "LATE_MAX", random.choice((1, 2, 100)))
    monkeypatch.setattr(history, "PAGE", random.choice((1, 4, 500)))
    log = Past(random).tell(250)
    projected = log[: -random.choice((1, 2, 40))]
    await lay(world.connection, projected)
    await project(world.connection, batch=random.choice((1, 10, 1_000)))
    await lay(world.connection, log[len(projected) :])
    expected = {asked: said(plain(log, *asked)) for asked in questions(random, log, 100)}

    await assert_told(world.connection, expected)

    await world.connection.execute("DELETE FROM balance_snapshots_v1 WHERE position % 3 = $1", seed % 3)
    await assert_told(world.connection, expected)

    await world.connection.execute("DELETE FROM balance_snapshots_v1")
    await assert_told(world.connection, expected)
