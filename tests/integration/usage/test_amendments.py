"""One event says how much a usage really was: it is taken back and recorded anew, or neither."""

from datetime import timedelta

from schemas.credits import MICRO
from schemas.facts import CreditsGranted, UsageRecorded, UsageVoided
from services.audit.replay import ReplayScope, replay
from services.read_models.history import balance_as_of
from services.store.connect import Connection
from services.usage.receipts import read_receipt
from tests.support.calls import called, publish_chat
from tests.support.facts import new, now, store
from tests.support.holds import held
from tests.support.usage import SOURCE, amended, reported, structured, voided
from tests.support.world import ServiceWorld

PRO = 3_000 * MICRO
PAID = "SELECT paid FROM activity WHERE team_id = 'team_1' AND kind LIKE 'usage%' ORDER BY position"


async def differences(connection: Connection) -> list[str]:
    """What the audit finds in this team's log."""
    replayed = await replay(connection, ReplayScope(team_id="team_1", audit=True))
    return [str(one) for one in (*replayed.differences, *replayed.findings)]


async def test_an_amendment_takes_the_old_usage_back_and_records_the_new_one_behind_it_once(
    world: ServiceWorld,
) -> None:
    at = now() - timedelta(minutes=2)
    await publish_chat(world.connection)
    await world.team("team_1", anchor=now() - timedelta(days=1))
    fix = amended("team_1", "fix", of="a", quantity="3") | {"time": (now() + timedelta(minutes=1)).isoformat()}
    calls = amended("team_1", "calls", of="call", quantities={"input_token": 400, "output_token": "0"})
    async with world.recorder(), world.projector():
        # The second stands in one batch with what it takes back; the third says the first one's again, later.
        await world.send(structured(reported("team_1", "a", quantity="10", at=at)), structured(fix))
        await world.send(structured(called("team_1", "call", at=at)), structured(calls))
        await world.send(structured(fix | {"time": now().isoformat()}))
        await world.send(structured(amended("team_1", "fix", of="a", quantity="4")))
        await world.recorded()
        await world.projected()

    facts = [stored for stored in await world.facts("team_1") if stored.type.startswith("usage.")]
    assert [(stored.source, stored.id) for stored in facts if stored.id in ("a", "fix")] == [
        (SOURCE, "a"), (SOURCE, "fix")
    ]  # fmt: skip
    old = next(stored for stored in facts if stored.id == "a")
    at_fix = next(place for place, stored in enumerate(facts) if stored.id == "fix")
    void, anew = facts[at_fix - 1], facts[at_fix]
    fact, taken_back = anew.fact(), void.fact()
    assert isinstance(fact, UsageRecorded)
    assert isinstance(taken_back, UsageVoided)
    assert (void.source, taken_back.usage_position, taken_back.reason) == (
        "creditwell:amendments", old.position, "counted wrongly",
    )  # fmt: skip
    assert (fact.quantity, fact.credits, fact.attributes, fact.member_id) == ("3", 3 * MICRO, {"tier": "low"}, "mem_1")
    assert (fact.corrects, fact.corrects_id, fact.reason) == (old.position, "a", "counted wrongly")
    assert void.occurred_at == anew.occurred_at == old.occurred_at
    assert (await world.balance()).total == PRO - 3 * MICRO - 50_000  # 400 input tokens of the large model are 0.05
    then = await balance_as_of(world.connection, "team_1", at=now(), known_at=now())
    assert then is not None
    assert then.team.total == PRO - 3 * MICRO - 50_000, "at no instant of the past do both usages count"
    receipt = await read_receipt(world.connection, "team_1", SOURCE, "fix")
    assert (receipt.corrects, receipt.credits, receipt.duplicates, receipt.conflicts) == (old.place, -3 * MICRO, 1, 1)
    assert (await read_receipt(world.connection, "team_1", SOURCE, "a")).corrects is None
    assert await differences(world.connection) == []

    await world.connection.execute("ALTER TABLE facts DISABLE TRIGGER USER")
    other = "UPDATE facts SET body = convert_to(replace(convert_from(body, 'UTF8'), '\"tier\":\"low\"', '\"tier\":\"standard\"'), 'UTF8')"
    await world.connection.execute(f"{other} WHERE id = 'fix'")
    assert any("it changes more than the quantity" in one for one in await differences(world.connection))
    await world.connection.execute("UPDATE facts SET occurred_at = recorded_at WHERE source = 'creditwell:amendments'")
    assert any("it has not the time of the usage" in one for one in await differences(world.connection))


async def test_the_lots_that_paid_the_old_usage_pay_the_new_one_first(world: ServiceWorld) -> None:
    at = now() - timedelta(minutes=2)
    await world.team("team_1", anchor=now() - timedelta(days=1))
    async with world.recorder(), world.projector():
        await world.send(structured(reported("team_1", "a", quantity="2900", at=at)))
        await world.send(structured(reported("team_1", "b", quantity="100", at=at)))
        await world.recorded()
        # Came later and ends sooner: it would pay what is used now, and not what was used before it came.
        grant = CreditsGranted(credits=50 * MICRO, reason="sorry", expires_at=now() + timedelta(hours=1))
        await store(world.connection, new("team_1", "gift", grant))
        await world.send(structured(amended("team_1", "fix", of="a", quantity="2890")))
        await world.recorded()
        await world.projected()

    first, second, back, again = [row["paid"] for row in await world.connection.fetch(PAID)]
    assert (first[0], second[0], back) == (again[0], again[0], first)
    assert again == [first[0], 2_890 * MICRO]
    balance = await world.balance()
    assert (balance.included, balance.additional) == (10 * MICRO, 50 * MICRO)


async def test_what_can_not_be_amended_is_refused_with_its_reason_and_nothing_is_taken_back(
    world: ServiceWorld,
) -> None:
    await world.team("team_1", "team_2")
    await held(world.connection, "h", 1)
    under_hold = reported("team_1", "held")
    under_hold["data"] |= {"hold_id": "h"}
    refused = {
        "another source": (amended("team_1", "another source", of="a", quantity="2", source="/features/other"), "unknown_usage"),
        "another team": (amended("team_2", "another team", of="a", quantity="2"), "unknown_usage"),
        "nothing": (amended("team_1", "nothing", of="nobody", quantity="2"), "unknown_usage"),
        "void of amended": (voided("team_1", "void of amended", of="changed"), "already_taken_back"),
        "of a hold": (amended("team_1", "of a hold", of="held", quantity="2"), "usage_of_hold"),
        "taken back": (amended("team_1", "taken back", of="gone", quantity="2"), "already_taken_back"),
        "amended": (amended("team_1", "amended", of="changed", quantity="2"), "already_taken_back"),
        "to nothing": (amended("team_1", "to nothing", of="a", quantity="0"), "bad_quantity"),
        "no price": (amended("team_1", "no price", of="a", quantities={"token": "1"}), "unknown_quantity"),
        "without a reason": (amended("team_1", "without a reason", of="a", quantity="2", reason=None), "wrong_shape"),
    }  # fmt: skip
    async with world.recorder():
        await world.send(
            *(structured(reported("team_1", id)) for id in ("a", "gone", "changed")), structured(under_hold)
        )
        await world.send(structured(voided("team_1", "void", of="gone")))
        await world.send(structured(amended("team_1", "first", of="changed", quantity="5")))
        await world.send(*(structured(event) for event, _ in refused.values()))
        await world.send(structured(amended("team_1", "again", of="first", quantity="4")))
        await world.recorded()

    reasons = {row["event_id"]: row["reason"] for row in await world.refused()}
    assert reasons == {name: reason for name, (_, reason) in refused.items()}
    assert (await world.balance()).total == PRO - (1 + 1 + 4) * MICRO
