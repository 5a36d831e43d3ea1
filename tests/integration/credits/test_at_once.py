"""Holds in two round trips: what was decided without the lock is written only where it would be decided so under it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any, cast

import pytest

from projections.entitlement import Limit, Permission
from schemas.credits import MICRO
from schemas.facts import HoldPlaced, NewFact
from schemas.places import Place
from services.api.context import QuickRead
from services.credits.deciding import lock_to_decide
from services.credits.holds.at_once import (
    NEWER_MAX,
    PLACE,
    AnswerParts,
    AtOnce,
    CommandKey,
    KeptAnswer,
    move_at_once,
    place_at_once,
)
from services.credits.holds.hold import (
    HOLDS,
    CapturedPart,
    CurrentHold,
    Decide,
    HoldState,
    capturing,
    extension,
    release,
)
from services.credits.holds.moving import move
from services.credits.holds.placing import HoldRequest, NotPermitted, permitted
from services.credits.limits import set_limit
from services.runtime.errors import Refused
from services.runtime.tracing.context import NO_TRAIL, Trail, carrying
from services.store.append import lock_shard
from services.store.beside.traces import trail_of_fact
from services.store.connect import Connection, Pool, connect_pool
from services.store.copying import microseconds
from services.store.identities import Identity
from services.store.proofs import block_hash, pack_known, rows_and_leaves
from services.store.shards import shard_of
from tests.support.api import Api, key
from tests.support.facts import granted, now, planned, store, usage, zone_at_midday
from tests.support.heads import heads_unguarded, it_is
from tests.support.holds import held, request_for, state_of
from tests.support.serving import as_role, connected
from tests.support.waiting import until
from tests.support.world import ServiceWorld

CREDIT = MICRO
TEAM = "team_1"
KILL = """
    SELECT bool_or(pg_terminate_backend(pid)) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
ANSWERS = "SELECT key, answer FROM command_answers ORDER BY key"

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
AHEAD = timedelta(minutes=30)

Done = tuple[CurrentHold, Place] | KeptAnswer | None
Meanwhile = Callable[[], Awaitable[None]]


@dataclass
class Overtaken:
    """A pool whose user is overtaken: before it gets a session to write by, somebody else does something."""

    pool: Pool
    meanwhile: Meanwhile

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Connection]:
        await self.meanwhile()
        async with self.pool.acquire() as connection:
            yield connection


async def nothing() -> None:
    """Nobody does anything."""


@dataclass
class Desk:
    """Where commands about holds come in."""

    world: ServiceWorld
    pool: Pool

    def command(self, name: str, meanwhile: Meanwhile, team_id: str) -> AtOnce[tuple[CurrentHold, Place]]:
        command = CommandKey(shard_of(team_id), team_id, "svc", "POST", name, b"sha")
        pool = cast(Pool, Overtaken(self.pool, meanwhile))
        return AtOnce(QuickRead(self.pool, team_id), pool, command, lambda _: AnswerParts(200, b"at ", b"."))

    async def place(
        self,
        name: str,
        request: HoldRequest,
        meanwhile: Meanwhile = nothing,
        *,
        team_id: str = TEAM,
        key: str | None = None,
    ) -> Done:
        """A hold of this name, asked for with a key of its own."""

        def answered(hold: CurrentHold, _: Permission, at: Place) -> tuple[CurrentHold, Place]:
            return hold, at

        return await place_at_once(self.command(key or name, meanwhile, team_id), name, request, answered)

    async def move(self, name: str, decide: Decide, meanwhile: Meanwhile = nothing) -> Done:
        """A command about the hold `h`."""
        return await move_at_once(self.command(name, meanwhile, TEAM), "h", decide, lambda hold, at: (hold, at))

    async def answers(self) -> dict[str, bytes]:
        """What is kept, by its key."""
        return {row["key"]: row["answer"] for row in await self.world.connection.fetch(ANSWERS)}

    async def moment(self, moment: datetime) -> None:
        """The shard of the team has reached this moment."""
        async with heads_unguarded(self.world.connection):
            await self.world.connection.execute(
                "UPDATE shard_heads SET recorded_at = $2 WHERE shard = $1", shard_of(TEAM), moment
            )


@pytest.fixture
async def desk(world: ServiceWorld) -> AsyncIterator[Desk]:
    """In a store whose shards have all reached a moment ahead: no time passes there, however slow the machine is."""
    async with heads_unguarded(world.connection):
        await world.connection.execute("UPDATE shard_heads SET recorded_at = clock_timestamp() + $1", AHEAD)
    pool = await connect_pool(world.database, process="test", size=1, projections=False)
    try:
        yield Desk(world, pool)
    finally:
        await pool.close()


def done(answer: Done) -> tuple[CurrentHold, Place]:
    """A command that was carried out at once."""
    assert isinstance(answer, tuple)
    assert not isinstance(answer, KeptAnswer)
    return answer


async def test_a_hold_and_its_capture_take_two_statements_each_and_no_transaction(desk: Desk) -> None:
    await store(desk.world.connection, *planned(TEAM, credits=10))
    done(await desk.place("warm", request_for(1)))  # the session asks about types once
    asked: list[str] = []
    async with desk.pool.acquire() as session:
        session.add_query_logger(lambda logged: asked.append(logged.query))

    placed, at = done(await desk.place("h", request_for(4)))
    captured, _ = done(await desk.move("c", capturing("c", [CapturedPart(CREDIT)], final=True)))
    await asyncio.sleep(0)  # the last of them is told in the next turn of the loop

    assert (placed.state, captured.state) == (HoldState.OPEN, HoldState.SETTLED)
    assert len(asked) == 4, asked
    assert ["place_hold" in asked[1], "move_hold" in asked[3]] == [True, True]
    assert (await desk.answers())["h"] == f"at {at.position}.".encode()
    assert (await desk.world.balance()).total == 9 * CREDIT


async def test_what_the_database_appends_has_the_leaf_and_the_block_that_everybody_else_would_make(desk: Desk) -> None:
    team = "Zoë·团队"
    await store(desk.world.connection, *planned(team, credits=10))

    done(await desk.place("Größe 🙂", request_for(4, member_id="mem·ü"), team_id=team))

    connection = desk.world.connection
    fact = await connection.fetchrow("SELECT * FROM facts WHERE type = 'hold.placed.v1'")
    before, block = await connection.fetch("SELECT * FROM blocks WHERE shard = $1 ORDER BY last", shard_of(team))
    head = await connection.fetchrow("SELECT next, head, recorded_at FROM shard_heads WHERE shard = $1", shard_of(team))
    assert fact is not None
    packed = pack_known(fact["occurred_at"], team, fact["source"], fact["id"], fact["type"], fact["body"])
    _, (leaf,) = rows_and_leaves(fact["shard"], fact["position"], microseconds(fact["recorded_at"]), [packed])
    assert (fact["leaf"], block["root"], block["first"], block["last"]) == (leaf, leaf, *2 * [fact["position"]])
    assert block["hash"] == block_hash(fact["shard"], block["first"], block["last"], before["hash"], leaf)
    assert tuple(head or ()) == (fact["position"] + 1, block["hash"], fact["recorded_at"])


async def test_work_that_came_since_the_read_does_no_harm_where_the_hold_still_fits(desk: Desk) -> None:
    await store(desk.world.connection, *planned(TEAM, credits=10))

    async def somebody_else() -> None:
        await store(desk.world.connection, usage(TEAM, "u1", 2))
        await held(desk.world.connection, "theirs", 3)

    _, at = done(await desk.place("ours", request_for(5), somebody_else))

    assert at.position == 5
    assert (await desk.world.balance()).available(now()) == 0


async def too_much(desk: Desk) -> None:
    await store(desk.world.connection, usage(TEAM, "u1", 6))


async def a_gift(desk: Desk) -> None:
    await store(desk.world.connection, granted(TEAM, "gift"))


async def much_work(desk: Desk) -> None:
    await store(desk.world.connection, *(usage(TEAM, f"u{number}", 0) for number in range(NEWER_MAX + 1)))


async def two_seconds(desk: Desk) -> None:
    await desk.moment(now() + AHEAD + timedelta(seconds=2))


async def the_same_command(desk: Desk) -> None:
    done(await desk.place("ours", request_for(5)))


@pytest.mark.parametrize("meanwhile", [too_much, a_gift, much_work, two_seconds])
async def test_whatever_else_came_since_the_read_is_decided_on_under_the_lock(desk: Desk, meanwhile: Any) -> None:
    await store(desk.world.connection, *planned(TEAM, credits=10))

    assert await desk.place("ours", request_for(5), lambda: meanwhile(desk)) is None

    assert await desk.world.facts(TEAM, type="hold.placed.v1") == []
    assert await desk.answers() == {}


async def test_a_lot_that_ends_between_the_read_and_the_lock_pays_for_no_hold(desk: Desk) -> None:
    await store(desk.world.connection, *planned(TEAM, credits=1))
    await store(desk.world.connection, granted(TEAM, "gift", 9, ends_after=timedelta(hours=1)))
    end = (await desk.world.balance()).next_end

    async with it_is(desk.world.connection, end - timedelta(milliseconds=300), TEAM):
        assert await desk.place("late", request_for(5), lambda: desk.moment(end)) is None
    async with it_is(desk.world.connection, end - timedelta(milliseconds=300), TEAM):
        done(await desk.place("right", request_for(5), lambda: desk.moment(end - timedelta(milliseconds=100))))


async def test_what_a_hold_had_is_not_promised_again_where_it_was_made_longer_before_the_read_could_see_it(
    desk: Desk,
) -> None:
    """It was extended in time, and the COMMIT of that came after the read, to which its time was over."""
    connection = desk.world.connection
    await store(connection, *planned(TEAM, credits=10))
    theirs = await held(connection, "theirs", 8)

    async def extended() -> None:
        await desk.moment(theirs.expires_at - timedelta(milliseconds=1))
        async with connection.transaction():
            await move(connection, TEAM, "theirs", extension("theirs", timedelta(hours=1)))
        await desk.moment(theirs.expires_at)

    async with it_is(connection, theirs.expires_at, TEAM):
        assert await desk.place("ours", request_for(5), extended) is None

    assert (await desk.world.balance()).available(theirs.expires_at) == 2 * CREDIT


FAR = 2**40
MISSING = [{"seen": FAR}, *({name: None} for name in ("seen", "decided_at", "true_until", "newer_max"))]


@pytest.mark.parametrize(
    "wrong", MISSING, ids=["behind what was read", "seen", "decided_at", "true_until", "newer_max"]
)
async def test_in_a_log_that_has_gone_back_and_where_an_argument_is_missing_nothing_is_written(
    desk: Desk, wrong: dict[str, Any]
) -> None:
    """As the API's role calls it: a server may have gone back in time between the read and the lock."""
    connection = desk.world.connection
    last = (await store(connection, *planned(TEAM, credits=10))).places[-1].position
    await store(connection, usage(TEAM, "u", 0))
    at = await connection.fetchval("SELECT recorded_at FROM shard_heads WHERE shard = $1", shard_of(TEAM))
    right = {"seen": last, "decided_at": at, "true_until": at + timedelta(seconds=1), "spare": 0, "newer_max": 1}
    fact = HoldPlaced(hold_id="h", credits=CREDIT, expires_at=at + timedelta(hours=1))

    async def call(**decided: Any) -> Any:
        return await api.fetchrow(
            PLACE, shard_of(TEAM), TEAM, "svc", "POST", "k", b"sha", *decided.values(),
            "h", None, fact.credits, fact.expires_at, HOLDS, "hold:h", fact.type, fact.body(), None, None, 201, b"", b"",
        )  # fmt: skip

    async with connected(as_role(desk.world.database, "api")) as api:
        assert await call(**(right | wrong)) is None
        assert await desk.answers() == {}
        assert await call(**right) is not None


async def test_for_a_member_with_a_limit_any_newer_fact_decides_anew(desk: Desk) -> None:
    connection = desk.world.connection
    await store(connection, *planned(TEAM, credits=10, zone=zone_at_midday()))
    async with connection.transaction():
        await set_limit(connection, TEAM, "mem_1", Limit(daily=6 * CREDIT), limited_by=None)

    async def somebody_else() -> None:
        await store(connection, usage(TEAM, "u", 1, member_id="mem_2"))

    assert await desk.place("overtaken", request_for(5, member_id="mem_1"), somebody_else) is None
    done(await desk.place("first", request_for(5, member_id="mem_1")))
    with pytest.raises(NotPermitted, match="member_limit"):
        await desk.place("second", request_for(2, member_id="mem_1"))


async def test_of_two_requests_with_one_key_one_is_carried_out_and_the_other_finds_its_answer(desk: Desk) -> None:
    await store(desk.world.connection, *planned(TEAM, credits=10))

    assert await desk.place("ours", request_for(5), lambda: the_same_command(desk)) is None
    again = await desk.place("ours", request_for(5))

    assert again == KeptAnswer(b"sha", 200, (await desk.answers())["ours"])
    assert len(await desk.world.facts(TEAM, type="hold.placed.v1")) == 1


async def test_many_at_once_never_pass_the_balance_and_one_key_is_one_hold(desk: Desk) -> None:
    """Without the API's lanes, as from several processes."""
    await store(desk.world.connection, *planned(TEAM, credits=10))
    pool = await connect_pool(desk.world.database, process="test", size=8, projections=False)
    try:
        many = Desk(desk.world, pool)
        same = await asyncio.gather(*(many.place("same", request_for(1)) for _ in range(16)))
        others = [many.place(f"h{number}", request_for(2)) for number in range(16)]
        answers = await asyncio.gather(*others, return_exceptions=True)
    finally:
        await pool.close()

    assert sum(isinstance(one, tuple) and not isinstance(one, KeptAnswer) for one in same) == 1
    assert {type(one) for one in answers} <= {tuple, type(None), NotPermitted}
    assert 1 <= sum(isinstance(one, tuple) for one in answers) <= 4
    assert len(await desk.world.facts(TEAM, type="hold.placed.v1")) == len(await desk.answers())
    assert (await desk.world.balance()).available(now()) >= CREDIT


async def test_a_hold_that_the_log_has_is_left_to_the_definition_and_keeps_no_key(desk: Desk) -> None:
    await store(desk.world.connection, *planned(TEAM, credits=10))
    done(await desk.place("ours", request_for(1), key="one"))

    assert await desk.place("ours", request_for(1), key="another") is None
    assert set(await desk.answers()) == {"one"}


async def test_a_hold_that_moved_since_it_was_read_is_decided_on_under_the_lock(desk: Desk) -> None:
    connection = desk.world.connection
    await store(connection, *planned(TEAM, credits=100))
    hold = await held(connection, "h", 20)
    use_all = capturing("all", [CapturedPart(CREDIT)], final=True)
    parts = {name: capturing(name, [CapturedPart(CREDIT)], final=False) for name in ("theirs", "ours")}

    async def moved(by: Decide) -> None:
        async with connection.transaction():
            await move(connection, TEAM, "h", by)

    assert await desk.move("part", parts["ours"], lambda: moved(parts["theirs"])) is None
    assert await desk.move("longer", release, lambda: moved(extension("theirs", timedelta(hours=3)))) is None
    assert await desk.move("over", use_all, lambda: desk.moment(hold.expires_at + timedelta(hours=4))) is None
    assert await desk.answers() == {}
    async with it_is(connection, hold.placed_at, TEAM):
        assert done(await desk.move("ours", parts["ours"]))[0].credits == 18 * CREDIT
        assert await desk.move("all", use_all, lambda: moved(release)) is None
    assert await state_of(connection, "h") is HoldState.RELEASED
    with pytest.raises(Refused, match="hold_released"):
        await desk.move("late", use_all)


def what_came(random: Random, team: str, number: int) -> list[NewFact]:
    """Some facts of a team, most of them work."""
    facts: list[NewFact] = []
    for n in range(random.randrange(4)):
        name, at = f"{number}-{n}", now() - timedelta(days=random.choice((0, 0, 40)))
        match random.randrange(5):
            case 0:
                facts.append(granted(team, name, 3, ends_after=random.choice((None, timedelta(hours=1)))))
            case 1:
                facts.append(usage(team, name, random.randint(1, 6), at=at, hold_id=random.choice((None, "old"))))
            case _:
                facts.append(usage(team, name, random.randint(0, 3), at=at))
    return facts


async def test_what_is_written_at_once_would_have_been_decided_so_under_the_lock(desk: Desk) -> None:
    """Random histories: before the read, between read and lock; the definition is asked at the same place of the log."""
    connection, outcomes = desk.world.connection, set[tuple[bool, bool]]()
    for seed in range(60):
        random, team = Random(seed), f"team_{seed}"
        anchor = now() - timedelta(days=random.choice((0, 10)))
        await store(connection, *planned(team, credits=random.randint(5, 20), anchor=anchor))
        await held(connection, "old", random.randint(1, 5), team_id=team)
        request, agreed = request_for(random.randint(1, 12)), False

        async def meanwhile(random: Random = random, team: str = team, request: HoldRequest = request) -> None:
            nonlocal agreed
            if facts := what_came(random, team, 2):
                await store(connection, *facts)
            agreed = await is_permitted(connection, team, request)

        await store(connection, *what_came(random, team, 1), usage(team, "last", 0))
        try:
            written = await desk.place(f"hold {seed}", request, meanwhile, team_id=team) is not None
        except NotPermitted:
            written, agreed = False, await is_permitted(connection, team, request)
            assert not agreed
        assert agreed >= written, f"seed {seed}: written, and not permitted"
        outcomes.add((written, agreed))

    assert outcomes == {(True, True), (False, True), (False, False)}


async def is_permitted(connection: Connection, team: str, request: HoldRequest) -> bool:
    """What the definition says of a hold now; nothing is written."""
    async with connection.transaction():
        state = await lock_to_decide(connection, team, ())
        assert state is not None
        try:
            permitted(request, state.balance, state.spending)
        except NotPermitted:
            return False
    return True


async def test_a_session_that_dies_within_the_call_leaves_nothing_and_the_same_key_places_the_hold(api: Api) -> None:
    async def ask() -> Any:
        return await api.service.post(f"{api.path}/holds", json={"credits": "7"}, headers=key("dies"))

    async with api.connection.transaction():
        await lock_shard(api.connection, api.team_id)
        asking = asyncio.create_task(ask())
        await until(lambda: api.connection.fetchval(KILL), what="the session that waits for the head is ended")
        died = await asking
    first, again = await ask(), await ask()

    assert (died.status_code, died.json()["code"]) == (503, "unavailable")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    held_now = await api.service.get(f"{api.path}/balance")
    assert held_now.json()["held"] == "7"


async def test_an_answer_that_is_repeated_has_the_bytes_of_the_first_whatever_the_member_is_called(api: Api) -> None:
    body = {"credits": "7", "member_id": '"position":"1:0"'}

    first, again = [await api.service.post(f"{api.path}/holds", json=body, headers=key("odd")) for _ in range(2)]

    assert (first.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert (first.json()["member_id"], first.content) == (body["member_id"], again.content)


async def test_the_trail_of_a_command_lies_beside_its_fact(desk: Desk) -> None:
    await store(desk.world.connection, *planned(TEAM, credits=10))

    with carrying(Trail(TRACE, "req-1")):
        await desk.place("h", request_for(4))
        await desk.move("c", capturing("c", [CapturedPart(3 * CREDIT)], final=True))
    with carrying(Trail(None, "req-2")):
        await desk.place("named", request_for(1))
    await desk.place("untraced", request_for(1))

    trails = {
        "hold:h": Trail(TRACE, "req-1"), "end:h": Trail(TRACE, "req-1"), "hold:named": Trail(None, "req-2"),
        "hold:untraced": NO_TRAIL,
    }  # fmt: skip
    for fact_id, trail in trails.items():
        assert await trail_of_fact(desk.world.connection, Identity(TEAM, HOLDS, fact_id)) == trail
