"""Facts that are committed wake who waits for them, whichever process appended them."""

from services.store.connect import Pool, connect_pool
from services.store.read import heads
from tests.support.facts import planned, store

END_WATCHING = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'creditwell-listener' AND datname = current_database() AND pid <> pg_backend_pid()
"""
HEARD_SECONDS = 60


async def stored(pool: Pool, team_id: str) -> None:
    async with pool.acquire() as connection, connection.transaction():
        await store(connection, *planned(team_id))


async def hears(pool: Pool) -> bool:
    return await pool.heard.wait(HEARD_SECONDS)


async def test_who_listens_hears_of_facts_when_everybody_can_see_them(database: str) -> None:
    async with (
        await connect_pool(database, process="listener", size=1, projections=False, listens=True) as listener,
        await connect_pool(database, process="writer", size=1, projections=False) as writer,
    ):
        assert await hears(listener)  # once, for what came before it listened
        for team_id in ("team_1", "team_2"):
            async with listener.acquire() as connection:
                before = await heads(connection)
            await stored(writer, team_id)

            assert await hears(listener)
            async with listener.acquire() as connection:
                assert await heads(connection) != before


async def test_who_keeps_a_session_tells_by_itself(database: str) -> None:
    async with await connect_pool(database, process="listener", size=1, projections=False, listens=True) as pool:
        assert await hears(pool)
        async with pool.acquire() as connection:
            async with connection.transaction():
                await store(connection, *planned("team_1"))
            pool.tell(connection)

            assert await hears(pool)


async def test_it_listens_again_after_its_session_was_ended(database: str) -> None:
    async with await connect_pool(database, process="listener", size=1, projections=False, listens=True) as pool:
        assert await hears(pool)
        assert await pool.fetchval(f"SELECT count(*) FROM ({END_WATCHING}) AS ended") == 1

        assert await hears(pool)
        assert pool.heard.is_heard
        await stored(pool, "team_1")
        assert await hears(pool)
