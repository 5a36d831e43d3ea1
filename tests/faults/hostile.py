"""What a storm does that comes with usage itself: a batch too large, a transaction left open, a row that can't be read."""

from random import Random

from aiokafka import AIOKafkaProducer

from tests.faults.scene import RECORDERS, TEAMS, TOPPED_UP, Scene
from tests.support.load import just_now
from tests.support.packed import CODECS, bomb, send_batch
from tests.support.usage import Message, reported, structured
from tests.support.waiting import until

BOMB_MEGABYTES = 24  # half as much again as is unpacked
LEFT_MS = 30_000  # after so long the broker ends what its producer has left
WITHOUT_TOP_UPS = TEAMS[len(TOPPED_UP) :]


async def packed_batch(scene: Scene, random: Random) -> None:
    """Some kilobytes that unpack to more than anybody reads; it is refused as one, and nobody loses a partition."""
    name, partition = random.choice(list(CODECS)), random.choice(sorted(scene.oracle.begin))
    scene.say(f"{BOMB_MEGABYTES} MB in {name} on partition {partition}")
    before, claimed = await scene.refused("batch_too_big"), await scene.claims_made()
    async with AIOKafkaProducer(bootstrap_servers=scene.stack.kafka) as producer:
        batch = bomb(CODECS[name], megabytes=BOMB_MEGABYTES)
        base = await send_batch(producer, batch, partition=partition)
    scene.oracle.refused_as_one(partition, base, BOMB_MEGABYTES)
    await scene.more_refused(before + 1, "batch_too_big")
    await scene.more_facts(20)
    assert await scene.claims_made() == claimed, "a recorder has lost its partitions over it"


async def open_transaction(scene: Scene, random: Random) -> None:
    """A producer leaves a transaction open: what lies behind it waits, is said to wait, and is recorded in the end."""
    end, team = random.choice(("committed", "aborted", "left to the broker")), random.choice(TEAMS)
    scene.say(f"a transaction with usage of {team}, open for a while, then {end}")
    name = f"storm-{random.getrandbits(64)}"
    timeout_ms = LEFT_MS if end == "left to the broker" else 600_000
    producer = AIOKafkaProducer(
        bootstrap_servers=scene.stack.kafka, transactional_id=name, transaction_timeout_ms=timeout_ms
    )
    async with producer:
        await producer.begin_transaction()
        inside = usage(team, f"{name}-inside")
        await producer.send_and_wait("usage", inside.value, key=inside.key, headers=list(inside.headers))
        await until(lambda: held_up(scene), what="a recorder says that a transaction is open")
        if end == "committed":
            await producer.commit_transaction()
        elif end == "aborted":
            await producer.abort_transaction()
    # Kafka's marker is no record: the cursor passes it with the next one.
    await scene.pressure.send_these([usage(team, f"{name}-behind")])

    async def goes_on() -> bool:
        return not await held_up(scene)

    await until(goes_on, what="no recorder is held up any more")


async def poison(scene: Scene, random: Random) -> None:
    """A row of one team can't be read: that team halts and is named, the others go on, and it goes on when it is mended."""
    team = random.choice(WITHOUT_TOP_UPS)
    scene.say(f"the balance of {team} can't be read, then it can again")
    await scene.killed("projector-1")
    good = await scene.replace_holds(team, '{"h": "no hold"}')
    await scene.leases_run_out("projector")
    scene.fleet.start("projector-1")
    await scene.pressure.send_these([usage(team, f"poison-{random.getrandbits(64)}")])

    async def halted() -> bool:
        return await scene.halted() == {team}

    await until(halted, what=f"{team} is halted, and nobody else")
    await scene.others_are_projected(team)
    await scene.killed("projector-1")
    await scene.replace_holds(team, good)
    await scene.leases_run_out("projector")
    scene.fleet.start("projector-1")

    async def mended() -> bool:
        return not await scene.halted()

    await until(mended, what="nobody is halted any more")


def usage(team: str, name: str) -> Message:
    return structured(reported(team, name, at=just_now()))


async def held_up(scene: Scene) -> bool:
    """One of the recorders waits for somebody else's transaction."""
    return any([(await scene.fleet.health(name))["held_up"] for name in RECORDERS])
