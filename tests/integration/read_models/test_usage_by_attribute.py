"""Usage by attribute: the same live, built anew and replayed; what is counted changes by a rebuild alone."""

from random import Random

import msgspec

from services.audit.replay import replay
from services.read_models.rebuild import begin, build, compare_shard, switch
from services.read_models.versions import live_versions
from services.store.connect import Connection
from services.store.shards import SHARDS
from tests.support.history import Histories
from tests.support.past import project
from tests.support.projections import every_row, folded_anew
from tests.support.world import ServiceWorld

ALL = list(range(SHARDS))
TEAMS = [f"team_{n}" for n in range(4)]
OF_TIERS = "SELECT team_id, day, member_id, features FROM {} ORDER BY 1, 2, 3"


async def count_by(connection: Connection, *names: str) -> int:
    """What `creditwell rebuild usage` does for a catalog that lists these; the version that is live afterwards."""
    version = await begin(connection, names)
    await build(connection, version, ALL, "test")
    for shard in ALL:
        assert await compare_shard(connection, version, shard, "test") == []
    await switch(connection, version, ["usage"], "test")
    return version


async def features(connection: Connection, table: str) -> dict[tuple[str, ...], dict[str, list[int]]]:
    """What a table has, added up over the values of attributes."""
    sums: dict[tuple[str, ...], dict[str, list[int]]] = {}
    for *key, text in await connection.fetch(OF_TIERS.format(table)):
        day = sums.setdefault(tuple(map(str, key)), {})
        for feature, (credits, uses) in msgspec.json.decode(text).items():
            before = day.get(feature, [0, 0])
            day[feature] = [before[0] + credits, before[1] + uses]
    return sums


async def differing(connection: Connection) -> set[str]:
    """Which tables of usage say something else than the log. Facts that were told by hand have no row of a hold."""
    tables = {difference.table for difference in (await replay(connection)).differences}
    return {table for table in tables if table.startswith("usage")}


async def test_usage_by_attribute_is_the_same_live_built_anew_and_replayed(world: ServiceWorld) -> None:
    connection, histories = world.connection, Histories(Random(31), TEAMS)
    await histories.begin(connection)
    await histories.go_on(connection, 60)
    await project(connection, batch=10, shards=ALL)
    assert (await every_row(connection))["usage_attributes"] == []  # no catalog lists one

    first = await count_by(connection, "tier")
    await histories.go_on(connection, 90)
    await project(connection, batch=7, shards=ALL)

    live = await every_row(connection)
    assert live["usage_attributes"]
    assert await folded_anew(connection) == live
    assert await differing(connection) == set()
    tiers, all_of_them = (
        await features(connection, "usage_attributes"),
        await features(connection, "usage_v" + str(first)),
    )
    images = {key: day for key, day in all_of_them.items() if "ai_image.generate" in day}
    assert {key: day["ai_image.generate"] for key, day in tiers.items()} == {
        key: day["ai_image.generate"] for key, day in images.items()
    }

    await connection.execute("UPDATE usage_attributes SET value = 'other' WHERE value = 'high'")
    assert await differing(connection) == {"usage_attributes"}


async def test_what_is_counted_stays_until_a_rebuild_that_names_another(world: ServiceWorld) -> None:
    connection, histories = world.connection, Histories(Random(32), TEAMS)
    await histories.begin(connection)
    await histories.go_on(connection, 40)
    await project(connection, batch=20, shards=ALL)
    await count_by(connection, "tier")
    counted = (await every_row(connection))["usage_attributes"]
    assert counted

    interrupted = await begin(connection, ("model",))
    assert await begin(connection, ("model",)) == interrupted  # goes on with the same tables
    version = await count_by(connection, "model", "tier")  # and another list begins anew

    assert version == interrupted
    assert (await live_versions(connection))["usage"] == version
    assert (await every_row(connection))["usage_attributes"] == counted

    await count_by(connection)
    assert (await every_row(connection))["usage_attributes"] == []
