"""Plain usage in runs, many entries to a row: whoever reads the activity reads what single rows would say."""

from random import Random

import pytest

from projections.balance.state import ActivityKind
from projections.versions import TABLES
from services.audit.replay import replay
from services.audit.replays.outcome import ReplayDifference
from services.read_models import activity_runs, projecting
from services.read_models.activity import Filter, read_activity, read_all, read_entries, who_paid
from services.read_models.rebuild import begin, build, switch
from services.store.shards import SHARDS
from tests.support.facts import granted, store, usage
from tests.support.history import Histories, Usage
from tests.support.projections import every_row, folded_anew
from tests.support.world import ServiceWorld

TEAMS = ["team_1", "team_2"]
MEMBERS: list[str | None] = [None, "member_1", "member_2"]
NEVER = 10**9


@pytest.fixture
async def histories(world: ServiceWorld, monkeypatch: pytest.MonkeyPatch) -> Histories:
    """Two teams with a past, each entry of which has a row; of one they used much, in peace."""
    monkeypatch.setattr(projecting, "COPY_ROWS_MIN", NEVER)
    monkeypatch.setattr(activity_runs, "RUN_LENGTH_MAX", 5)
    histories = Histories(Random(61), TEAMS)
    await histories.begin(world.connection)
    async with world.projector():
        await histories.go_on(world.connection, 100)
        for team_id in TEAMS:
            await store(world.connection, granted(team_id, "much", 1_000_000))
        for number in range(60):
            team_id, member_id = TEAMS[number % 2], MEMBERS[number // 7 % 3]
            used = usage(team_id, f"usage-{number}", number + 1, member_id=member_id)
            appended = await store(world.connection, used)
            (place,) = appended.places
            histories.usages.append(Usage(team_id, used.id, place.position, used.occurred_at, number + 1))
        await histories.go_on(world.connection, 100)
        await world.projected()
    assert await world.connection.fetchval("SELECT count(*) FROM activity_runs") == 0
    return histories


async def rebuilt_in_runs(world: ServiceWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projecting, "COPY_ROWS_MIN", 1)
    version = await begin(world.connection)
    await build(world.connection, version, list(range(SHARDS)), "test")
    await switch(world.connection, version, list(TABLES), "test")
    assert await world.connection.fetchval("SELECT count(*) FROM activity_runs") > 10
    assert await world.connection.fetchval("SELECT max(cardinality(positions)) FROM activity_runs") > 3


async def differences(world: ServiceWorld) -> list[ReplayDifference]:
    """Of the activity alone: a random history has no directory and no cycles."""
    return [one for one in (await replay(world.connection)).differences if one.table == "activity"]


async def everything_read(world: ServiceWorld) -> list[object]:
    """All that a team is told of its activity: pages of each size and filter, a download, each entry with who paid."""
    connection, told = world.connection, list[object]()
    for team_id in TEAMS:
        entries = [row for page in [page async for page in read_all(connection, team_id, Filter())] for row in page]
        members = {row.entry.member_id for row in entries if row.entry.member_id}
        middle = entries[len(entries) // 2].entry
        selections = [
            Filter(), Filter(since=middle.recorded_at), Filter(kinds=frozenset({ActivityKind.USAGE})),
            Filter(kinds=frozenset({ActivityKind.PURCHASE, ActivityKind.GRANT})),
            Filter(since=middle.recorded_at, kinds=frozenset({ActivityKind.USAGE})),
            *[Filter(member_id=member) for member in sorted(members)], Filter(member_id="nobody"),
        ]  # fmt: skip
        told.append(entries)
        for selection in selections:
            wanted = [row for row in entries if selection.wants(row.entry)]
            for place in (entries[0].entry[:2], middle[:2], entries[-1].entry[:2]):
                page = await read_activity(connection, team_id, selection, before=place, limit=7)
                assert page == [row for row in wanted if row.entry[:2] < place][:7]
        for position in sorted({row.entry.position for row in entries}):
            rows, unfolded = await read_entries(connection, team_id, position)
            assert rows == [row for row in reversed(entries) if row.entry.position == position]
            told.append([await who_paid(connection, team_id, row.entry.paid, unfolded) for row in rows])
    return told


async def test_whatever_is_read_of_runs_is_what_single_rows_say(
    world: ServiceWorld, histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    del histories
    rows, told = await every_row(world.connection), await everything_read(world)

    await rebuilt_in_runs(world, monkeypatch)

    assert await every_row(world.connection) == rows
    assert await everything_read(world) == told
    assert await differences(world) == []


async def test_usage_in_a_run_is_taken_back_from_the_lot_that_paid(
    world: ServiceWorld, histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rebuilt_in_runs(world, monkeypatch)

    async with world.projector():
        await histories.go_on(world.connection, 150)  # voids among it
        await world.projected()

    assert await every_row(world.connection) == await folded_anew(world.connection)
    assert await differences(world) == []


async def test_an_entry_that_was_changed_within_a_run_is_named(
    world: ServiceWorld, histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    del histories
    await rebuilt_in_runs(world, monkeypatch)
    place = await world.connection.fetchrow(
        "UPDATE activity_runs_v2 r SET balances[2] = 7 FROM (SELECT shard, team_id, min(first) AS first "
        "FROM activity_runs_v2 GROUP BY shard, team_id LIMIT 1) AS one "
        "WHERE (r.shard, r.team_id, r.first) = (one.shard, one.team_id, one.first) RETURNING r.team_id, positions[2]"
    )
    assert place is not None

    (difference,) = await differences(world)

    assert (difference.team_id, difference.table, difference.column) == (place[0], "activity", "balance_after")
    assert f":{place[1]} " in difference.row
