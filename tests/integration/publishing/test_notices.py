"""The host product is told: once per crossing, in order within a team, by signed webhooks, whatever fails on the way."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.testing import capture_logs
from typer.testing import CliRunner, Result

from deploy.local.receiver import Receiver
from deploy.local.stack import Stack
from schemas.credits import MICRO
from schemas.facts import (
    AnyFact,
    BalanceRanLow,
    BalanceRanOut,
    BalanceRecovered,
    CreditsGranted,
    TopUpSuspended,
)
from services.cli import app as cli
from services.publishing import notices, relay
from services.read_models import projector
from services.read_models.rebuild import rebuild
from services.runtime.health import Health
from services.runtime.http_server import listen
from services.runtime.settings import Settings, WrongSettings
from services.store.connect import Connection
from tests.support.api import free_port
from tests.support.serving import as_role, connected, leases_run_out, plan, serving, store, used
from tests.support.waiting import PATIENCE_SECONDS, until

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEW_SECRET = "whsec_" + b64encode(b"the key that comes after the one").decode()

LOW = BalanceRanLow(
    available_credits=40 * MICRO, threshold_credits=50 * MICRO, crossed_at_position=1, top_up_enabled=False
)
OUT = BalanceRanOut(available_credits=0, crossed_at_position=2)
RECOVERED = BalanceRecovered(available_credits=60 * MICRO, threshold_credits=50 * MICRO, crossed_at_position=3)
SUSPENDED = TopUpSuspended(cause="declines", reason="the card was declined three times", declines=3)
LOW_TYPE, OUT_TYPE, RECOVERED_TYPE = LOW.type, OUT.type, RECOVERED.type


@asynccontextmanager
async def host(
    port: int = 0, secret: str = SECRET, *, around: Callable[[ASGIApp], ASGIApp] = lambda app: app
) -> AsyncIterator[tuple[Receiver, str]]:
    """A host product that takes notices, and its address."""
    receiver, stop, started = Receiver(secret), asyncio.Event(), asyncio.Event()
    port = port or free_port()
    app = around(receiver.app())
    serve = asyncio.create_task(
        listen(app, host="127.0.0.1", port=port, port_setting="notice_url", stop=stop, started=started)
    )
    await started.wait()
    try:
        yield receiver, f"http://127.0.0.1:{port}/notices"
    finally:
        stop.set()
        await serve


def settings(database: str, url: str, secret: str = SECRET, **more: Any) -> Settings:
    return Settings(
        database=SecretStr(as_role(database, "worker")), notice_url=url, notice_secret=SecretStr(secret), insecure_dev=True,
        usage_page="https://app.example.com/teams/{team}/usage", **more,
    )  # fmt: skip


@asynccontextmanager
async def telling(database: str, url: str, secret: str = SECRET, **waits: float) -> AsyncIterator[Health]:
    """The relay's notices, in this process; from now on facts are told."""
    stop, health = asyncio.Event(), Health("relay")
    notify = asyncio.create_task(notices.notify(settings(database, url, secret), stop, health, **waits))
    async with connected(database) as connection:
        await until(
            lambda: connection.fetchval(
                "SELECT count(*) = 64 FROM checkpoints WHERE reader = 'notices' AND owner <> ''"
            )
        )
    try:
        yield health
    finally:
        stop.set()
        await asyncio.wait_for(notify, PATIENCE_SECONDS)


def new_team() -> str:
    return f"team_{uuid4().hex}"


async def happen(connection: Connection, team: str, *facts: AnyFact) -> None:
    await store(connection, team, facts)


async def has(receiver: Receiver, count: int) -> list[dict[str, Any]]:
    """The notices of a host, when it has so many."""

    async def there() -> bool:
        return len(receiver.notices) >= count

    await until(there)
    return list(receiver.notices.values())


async def states(connection: Connection, team: str) -> list[tuple[str, str, int]]:
    """What became of a team's notices, in order."""
    rows = await connection.fetch("SELECT type, state, tries FROM notices WHERE team_id = $1 ORDER BY position", team)
    return [tuple(row) for row in rows]


async def tried(connection: Connection, team: str, tries: int) -> None:
    """Wait until a team's first notice was tried so often."""
    await until(
        lambda: connection.fetchval("SELECT tries >= $2 FROM notices WHERE team_id = $1 ORDER BY position LIMIT 1", team, tries),
    )  # fmt: skip


async def rest(connection: Connection) -> None:
    """Whatever fails from now on is tried again when the test says so, or an hour later than it would be."""
    await connection.execute("""
        CREATE FUNCTION an_hour_later() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN NEW.due_at := NEW.due_at + interval '1 hour'; RETURN NEW; END
        $$
    """)
    await connection.execute("""
        CREATE TRIGGER rest BEFORE UPDATE ON notices FOR EACH ROW
        WHEN (NEW.tries > OLD.tries) EXECUTE FUNCTION an_hour_later()
    """)


async def hurry(connection: Connection) -> None:
    """The time of the next try comes now."""
    await connection.execute("UPDATE notices SET due_at = clock_timestamp() WHERE state = 'waiting'")


def types(told: Iterable[dict[str, Any]], team: str | None = None) -> list[str]:
    return [notice["type"] for notice in told if team is None or notice["data"]["team_id"] == team]


async def test_a_crossing_is_told_once_however_often_usage_follows_and_however_often_projections_are_built_anew(
    database: str,
) -> None:
    team = new_team()
    stop = asyncio.Event()
    async with connected(database) as connection, host() as (receiver, url), telling(database, url):

        async def project() -> None:
            await projector.serve(
                Settings(database=SecretStr(as_role(database, "projector"))), stop, Health("projector")
            )

        projecting = asyncio.create_task(project())
        await store(connection, team, [plan(100, notice=50), CreditsGranted(credits=0, reason="opens the cycle")])
        for _ in range(5):
            await store(connection, team, [used(15) for _ in range(4)])
        assert sorted(types(await has(receiver, 2))) == [LOW_TYPE, OUT_TYPE]
        for _ in range(5):
            await store(connection, team, [used(1), used(1)])
        stop.set()
        await projecting
        await connection.execute("TRUNCATE balance_v1, lots_v1, activity_rows_v1, activity_runs_v1, usage_v1")
        await connection.execute("UPDATE checkpoints SET position = 0 WHERE reader LIKE 'projector_of_%'")
        stop.clear()
        projecting = asyncio.create_task(project())
        await rebuild(as_role(database, "projector"), ["balance"], shadow=True)
        await store(connection, team, [CreditsGranted(credits=500 * MICRO, reason="rescue")])

        assert types(await has(receiver, 3)) == [LOW_TYPE, OUT_TYPE, RECOVERED_TYPE]
        stop.set()
        await projecting
        assert len(receiver.tries) == 3
        low = next(iter(receiver.notices.values()))
        assert low["data"]["url"] == f"https://app.example.com/teams/{team}/usage"
        assert low["data"]["threshold"] == "50"
        assert receiver.forged == 0


async def test_what_fails_is_tried_again_with_the_same_id_and_the_same_bytes(
    database: str,
) -> None:
    team, answering = new_team(), asyncio.Event()

    def hanging(app: ASGIApp) -> ASGIApp:
        async def hang(scope: Scope, receive: Receive, send: Send) -> None:
            async def late(message: Message) -> None:
                await answering.wait()
                await send(message)

            await app(scope, receive, late)

        return hang

    port = free_port()
    url = f"http://127.0.0.1:{port}/notices"
    failed = 0.0
    with capture_logs() as lines:
        async with connected(database) as connection:
            await rest(connection)
            async with telling(database, url) as health:
                await happen(connection, team, LOW)
                await tried(connection, team, 1)  # nobody listens
                assert await connection.fetchval("SELECT due_at - noticed_at > interval '1 hour 5 s' FROM notices")
            failed += failures(health)
            async with host(port, around=hanging) as (receiver, _):
                async with telling(database, url, timeout_seconds=3) as health:
                    await hurry(connection)
                    await tried(connection, team, 2)  # it came and was not answered
                failed += failures(health)
                receiver.notices.clear()  # as if it had gone down before it wrote it down
                answering.set()
                receiver.answers.extend([500, 302])
                async with telling(database, url) as health:
                    for tries in (3, 4):
                        await hurry(connection)
                        await tried(connection, team, tries)
                    assert "redirects are not followed" in await connection.fetchval("SELECT last_answer FROM notices")
                    assert not receiver.notices
                    await hurry(connection)
                    await has(receiver, 1)
                    await until(lambda: connection.fetchval("SELECT state = 'delivered' AND tries = 5 FROM notices"))

            assert len({name for name, _, _ in receiver.tries}) == len(receiver.bodies) == 1
            assert [status for _, status, _ in receiver.tries] == [204, 500, 302, 204]
            assert [len(bodies) for bodies in receiver.bodies.values()] == [1]
            assert failed + failures(health) == 4
            assert not health.absent  # a host that is away is no reason to be unready
    assert [line["event"] for line in lines].count("notice failed") == 4
    for secret in (SECRET, SECRET.removeprefix("whsec_"), "/notices"):
        assert secret not in repr(lines)


def failures(health: Health) -> float:
    """How many tries of this relay have failed."""
    return health.registry.get_sample_value("creditwell_notice_tries_total", {"outcome": "failed"}) or 0.0


async def test_a_teams_notices_come_in_order_and_one_that_fails_holds_back_no_other_team(database: str) -> None:
    stuck, other = new_team(), new_team()
    async with connected(database) as connection, host() as (receiver, url), telling(database, url):
        await rest(connection)
        receiver.answers.append(500)
        await happen(connection, stuck, LOW)
        await tried(connection, stuck, 1)
        await happen(connection, stuck, OUT, RECOVERED, SUSPENDED)
        await happen(connection, other, LOW, RECOVERED)

        assert types(await has(receiver, 2)) == [LOW_TYPE, RECOVERED_TYPE]
        assert types(receiver.notices.values(), other) == [LOW_TYPE, RECOVERED_TYPE]
        receiver.answers.append(500)
        await hurry(connection)
        await tried(connection, stuck, 2)
        assert [state for _, state, _ in await states(connection, stuck)] == ["waiting"] * 4
        await hurry(connection)
        told = await has(receiver, 6)

        assert types(told, stuck) == [LOW_TYPE, OUT_TYPE, RECOVERED_TYPE, SUSPENDED.type]
        assert len({name for name, _, _ in receiver.tries}) == len(receiver.tries) - 2 == 6


@pytest.mark.parametrize("step", ["notices:kept", "notices:sent"])
async def test_a_relay_that_is_killed_loses_no_notice_and_repeats_with_the_same_id(
    step: str, stack: Stack, database: str
) -> None:
    team = new_team()
    async with connected(database) as connection, host() as (receiver, url):
        environment = {
            "CREDITWELL_KAFKA": stack.kafka, "CREDITWELL_DATABASE": as_role(database, "worker"),
            "CREDITWELL_NOTICE_URL": url, "CREDITWELL_NOTICE_SECRET": SECRET,
        }  # fmt: skip
        async with serving("relay", environment, crash_at=f"{step}:1") as killed:
            await until(
                lambda: connection.fetchval(
                    "SELECT count(*) = 64 FROM checkpoints WHERE reader = 'notices' AND owner <> ''"
                )
            )
            await happen(connection, team, LOW, OUT)
            assert await killed.ended() == -9
        repeated = step == "notices:sent"
        assert await states(connection, team) == [(LOW_TYPE, "waiting", 0), (OUT_TYPE, "waiting", 0)]
        assert len(receiver.tries) == repeated
        await leases_run_out(connection)

        async with serving("relay", environment):
            assert types(await has(receiver, 2)) == [LOW_TYPE, OUT_TYPE]
            await until(lambda: connection.fetchval("SELECT every(state = 'delivered') FROM notices"))

        ids = [name for name, _, _ in receiver.tries]
        assert ids[repeated:] == list(receiver.notices)
        assert ids[:repeated] == ids[repeated : 2 * repeated]
        assert all(len(bodies) == 1 for bodies in receiver.bodies.values())


async def test_while_secrets_rotate_a_host_that_knows_either_believes_the_notice(database: str) -> None:
    team = new_team()
    async with connected(database) as connection, host(secret=NEW_SECRET) as (receiver, url):
        async with telling(database, url, f"{SECRET},{NEW_SECRET}"):
            await happen(connection, team, LOW)
            await has(receiver, 1)

        ((_, _, signatures),) = receiver.tries
        assert len(signatures.split(" ")) == 2
        async with telling(database, url, SECRET):
            await happen(connection, team, OUT)
            await tried(connection, team, 1)
            await until(lambda: connection.fetchval("SELECT count(*) = 1 FROM notices WHERE last_answer = '401'"))
        assert receiver.forged == 1


async def test_a_host_that_is_told_from_today_on_is_not_told_of_last_year(database: str) -> None:
    team = new_team()
    async with connected(database) as connection:
        await happen(connection, team, LOW, OUT)
        async with host() as (receiver, url), telling(database, url):
            await happen(connection, team, RECOVERED)
            assert types(await has(receiver, 1)) == [RECOVERED_TYPE]

        assert len(await states(connection, team)) == 1


async def test_news_that_is_found_days_late_is_not_sent_by_itself_but_stays_visible(
    database: str,
) -> None:
    team = new_team()
    async with connected(database) as connection, host() as (receiver, url):
        async with telling(database, url):
            pass
        await happen(connection, team, LOW)  # while the relay is down, for three days
        await connection.execute("ALTER TABLE facts DISABLE TRIGGER facts_append_only")
        await connection.execute("UPDATE facts SET recorded_at = recorded_at - interval '3 days'")

        async with telling(database, url):
            await until(lambda: connection.fetchval("SELECT count(*) = 1 FROM notices"))

        assert await states(connection, team) == [(LOW_TYPE, "given_up", 0)]
        assert await connection.fetchval("SELECT last_answer FROM notices") == "found too late"
    assert not receiver.tries


async def test_what_is_given_up_is_listed_and_counted_and_can_be_sent_again(
    database: str,
) -> None:
    gone, unlucky = new_team(), new_team()
    async with (
        connected(database) as connection,
        host() as (receiver, url),
        telling(database, url, count_seconds=0.05) as health,
    ):

        async def given_up(team: str) -> bool:
            return [state for _, state, _ in await states(connection, team)] == ["given_up"]

        await rest(connection)
        receiver.answers.append(410)
        await happen(connection, gone, LOW)
        await until(lambda: given_up(gone))
        receiver.answers.extend([500, 500])
        await happen(connection, unlucky, LOW)
        await tried(connection, unlucky, 1)
        await connection.execute("UPDATE notices SET tries = 9 WHERE team_id = $1", unlucky)
        await hurry(connection)
        await until(lambda: given_up(unlucky))
        assert await states(connection, unlucky) == [(LOW_TYPE, "given_up", 10)]

        async def gauge() -> bool:
            return health.registry.get_sample_value("creditwell_notices", {"state": "given_up"}) == 2

        await until(gauge)
        listed = json.loads((await creditwell(database, "list", "--json")).output)
        assert listed["states"] == {"given_up": 2}
        (item,) = [item for item in listed["items"] if item["team_id"] == gone]
        assert (item["type"], item["tries"], item["last_answer"]) == (LOW_TYPE, 1, "410")

        retried = await creditwell(database, "retry", item["id"], "--json")
        assert json.loads(retried.output) == {"retried": [item["id"]], "not_found": []}
        assert types(await has(receiver, 1), gone) == [LOW_TYPE]
        await until(lambda: connection.fetchval("SELECT state = 'delivered' FROM notices WHERE team_id = $1", gone))
        assert (await creditwell(database, "retry", "--all")).output == "1 notices are due now\n"
        await has(receiver, 2)
        await until(lambda: connection.fetchval("SELECT every(state = 'delivered') FROM notices"))

        again = await creditwell(database, "retry", item["id"])
        assert (again.exit_code, again.output.splitlines()[1]) == (
            1,
            f"{item['id']}: no such notice, or it is delivered",
        )
        assert (await creditwell(database, "retry")).exit_code == 2
        assert "delivered" in (await creditwell(database, "list")).output


async def creditwell(database: str, *arguments: str) -> Result:
    """`creditwell notices …` as a worker."""
    environment = {"CREDITWELL_DATABASE": as_role(database, "worker"), "CREDITWELL_INSECURE_DEV": "1"}
    return await asyncio.to_thread(CliRunner().invoke, cli, ["notices", *arguments], env=environment)


async def test_a_host_that_never_answers_keeps_nothing_from_kafka(stack: Stack, database: str) -> None:
    stop, asked = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()  # until the relay gives up on it
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/notices"
    async with server, connected(database) as connection:
        serve = asyncio.create_task(relay.serve(settings(database, url, kafka=stack.kafka), stop, Health("relay")))
        await until(
            lambda: connection.fetchval(
                "SELECT count(*) = 64 FROM checkpoints WHERE reader = 'notices' AND owner <> ''"
            )
        )
        for _ in range(notices.SENDING_MAX + 4):
            await happen(connection, new_team(), LOW, OUT)
        await asyncio.wait_for(asked.wait(), PATIENCE_SECONDS)

        await until(lambda: connection.fetchval(
            "SELECT every(c.position = h.next - 1) FROM checkpoints c JOIN shard_heads h USING (shard) WHERE c.reader = 'relay'"
        ))  # fmt: skip

        assert await connection.fetchval("SELECT every(state = 'waiting' AND tries = 0) FROM notices")
        stop.set()
        await asyncio.wait_for(serve, PATIENCE_SECONDS)


async def test_an_address_without_a_secret_ends_the_relay_and_says_what_to_write(database: str) -> None:
    with pytest.raises(WrongSettings, match="CREDITWELL_NOTICE_SECRET is not set"):
        await notices.notify(Settings(notice_url="https://app.example.com/hook"), asyncio.Event(), Health("relay"))


async def test_what_ended_a_month_ago_is_forgotten_and_what_waits_is_not(database: str) -> None:
    team = new_team()
    async with connected(database) as connection, host() as (receiver, url):
        async with telling(database, url):
            await happen(connection, team, LOW, OUT)
            await has(receiver, 2)
            await until(lambda: connection.fetchval("SELECT every(state = 'delivered') FROM notices"))
        await connection.execute(
            "UPDATE notices SET ended_at = ended_at - interval '31 days' WHERE type = $1", LOW_TYPE
        )

        async with telling(database, url):
            await until(lambda: connection.fetchval("SELECT count(*) = 1 FROM notices"))
            await happen(connection, team, RECOVERED)
            await has(receiver, 3)
            await until(lambda: connection.fetchval("SELECT every(state = 'delivered') FROM notices"))
        assert await states(connection, team) == [(OUT_TYPE, "delivered", 1), (RECOVERED_TYPE, "delivered", 1)]
        assert len(receiver.tries) == 3


async def test_two_relays_at_once_share_the_teams_and_tell_everything_in_order(database: str) -> None:
    teams = [new_team() for _ in range(12)]
    async with (
        connected(database) as connection, host() as (receiver, url), telling(database, url), telling(database, url),
    ):  # fmt: skip
        for team in teams:
            await happen(connection, team, LOW, OUT, RECOVERED)
        told = await has(receiver, 3 * len(teams))
        await until(lambda: connection.fetchval("SELECT every(state = 'delivered') FROM notices"))

    assert len(told) == 3 * len(teams)
    for team in teams:
        assert types(told, team) == [LOW_TYPE, OUT_TYPE, RECOVERED_TYPE]
    assert all(len(bodies) == 1 for bodies in receiver.bodies.values())
