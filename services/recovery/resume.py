"""A store that went back in time goes on, with everything of the tail that was published.

All of it in one transaction, with every head locked: facts, blocks, heads, the tables that follow, the relay's place,
the new life of the server and the fact that says so. So whoever is killed has done nothing, and whoever runs it again
after it was done finds nothing to do.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.facts import RATE_CARD_TEAM, NewFact, ResumedShard, Stored, StoreResumed
from services.audit.sign_log import LOG, Signed
from services.credits.rate_cards import load_rate_cards
from services.money.stripe_client import Charges
from services.publishing.beyond import Beyond, Compared, compare, keep_offsets, read_beyond
from services.recovery.anchored import lost_notes, proven
from services.recovery.evidence import gather_evidence
from services.recovery.tables import make_tables
from services.recovery.tail import Head, Tail, tails_of
from services.runtime.crashpoints import crashpoint
from services.runtime.errors import Refused
from services.runtime.settings import Settings
from services.store.append import append
from services.store.connect import Connection
from services.store.lives import Life, LifeStanding, admit, read_standing

RESUMED = "creditwell:store"
PAGE = 2_000

LOCK = "SELECT shard, next - 1 AS last, head, recorded_at FROM shard_heads ORDER BY shard FOR UPDATE"
HEADS = LOCK.removesuffix(" FOR UPDATE")
FACTS = """
    INSERT INTO facts (shard, position, recorded_at, occurred_at, team_id, source, id, type, body, leaf)
    SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::text[],
                         $7::text[], $8::text[], $9::bytea[], $10::bytea[])
"""
BLOCKS = """
    INSERT INTO blocks (shard, first, last, root, hash)
    SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bytea[])
"""
MOVE = "UPDATE shard_heads SET next = $2 + 1, head = $3, recorded_at = $4 WHERE shard = $1"
# Whoever published this shard before is fenced: its next move matches no row.
RELAYED = """
    INSERT INTO checkpoints (reader, shard, position) VALUES ('relay', $1, $2)
    ON CONFLICT (reader, shard) DO UPDATE
    SET position = greatest(checkpoints.position, excluded.position), epoch = checkpoints.epoch + 1
"""


class Orders(NamedTuple):
    """What a person has said.

    `accept`: what nobody but the topic knows of may come back. `as_it_is`: nothing comes back, and what was
    lost is given up. `apply`: do it, and do not only say it.
    """

    by: str
    accept: bool = False
    as_it_is: bool = False
    apply: bool = False


@dataclass(slots=True)
class Resumed:
    """What was found and done.

    Attributes:
        went_back: the store is not the newest, or nobody can tell.
        lost: of each shard, the first and the last published position that the log lacks or contradicts.
        tails: what comes back, by shard.
        unknown: of that, what nobody but the topic knows of.
        in_the_way: why nothing can come back.
        lost_notes: the first and the last signed note that the store lacks, as far as an anchor tells.
        done: the log goes on.
    """

    standing: LifeStanding
    went_back: bool
    lost: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    tails: Mapping[int, Tail] = field(default_factory=dict)
    unknown: list[Stored] = field(default_factory=list)
    in_the_way: list[str] = field(default_factory=list)
    lost_notes: tuple[int, int] | None = None
    done: bool = False

    @property
    def waits(self) -> bool:
        """Nobody goes on with the log."""
        return not self.done and (self.went_back or self.standing.life in (Life.PROMOTED, Life.ELSEWHERE))

    @property
    def facts(self) -> list[Stored]:
        """What comes back, in order."""
        return [stored for _, tail in sorted(self.tails.items()) for stored in tail.facts]


async def resume(
    connection: Connection,
    settings: Settings,
    orders: Orders,
    *,
    charges: Charges | None = None,
    anchored: Sequence[Signed] = (),
) -> Resumed:
    """Say what was lost and what comes back, and with `apply` bring it back.

    `anchored` are signed notes that lie outside the database.

    Raises:
        Refused: `not_resumed`: a person has to say more, or a fact that would come back does not follow from the log.
        KafkaError, Unavailable: the topic or Stripe can't be asked now.
    """
    stands = await read_standing(connection)
    if stands.life is Life.SAME and stands.looked:
        return Resumed(stands, went_back=False)
    beyond = await read_beyond(settings, connection)
    report = await _find(connection, beyond, stands)
    report.lost_notes = await lost_notes(connection, anchored)
    if report.tails:
        tails = list(report.tails.values())
        covered = proven(anchored, await connection.fetchval(LOG), report.tails)
        evidence = await gather_evidence(settings, connection, tails, charges, covered)
        report.unknown = evidence.unknown(tails)
    if orders.apply and report.waits:
        async with connection.transaction():
            await _apply(connection, beyond, report, orders)
        report.done = True
    return report


async def _find(connection: Connection, beyond: Beyond, stands: LifeStanding) -> Resumed:
    heads = {shard: Head(last, hash_, at) for shard, last, hash_, at in await connection.fetch(HEADS)}
    compared = await compare(connection, beyond.published)
    report = Resumed(stands, went_back=stands.life is Life.WENT_BACK or compared.why(beyond.gone) is not None)
    report.lost = _spans({*compared.lost, *((one.stored.shard, one.stored.position) for one in compared.contradicted)})
    report.tails, wrong = tails_of(compared.lost, heads)
    report.in_the_way = [*beyond.gone, *_contradictions(compared), *wrong]
    return report


def _spans(places: set[tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """Of each shard the first and the last."""
    spans: dict[int, tuple[int, int]] = {}
    for shard, position in sorted(places):
        first, _ = spans.get(shard, (position, position))
        spans[shard] = first, position
    return spans


def _contradictions(compared: Compared) -> list[str]:
    places = sorted({(one.stored.shard, one.stored.position) for one in compared.contradicted})
    if not places:
        return []
    first = ", ".join(f"{shard}:{position}" for shard, position in places[:10])
    return [
        f"the log went on without what was published: it holds something else at {len(places)} places, from {first}"
    ]


async def _apply(connection: Connection, beyond: Beyond, report: Resumed, orders: Orders) -> None:
    heads = {shard: Head(last, hash_, at) for shard, last, hash_, at in await connection.fetch(LOCK)}
    now = await read_standing(connection)
    if (now.number, now.went_back) != (report.standing.number, report.standing.went_back):
        raise Refused("not_resumed", "somebody else was quicker, or the store changed meanwhile: look again")
    if report.in_the_way and not orders.as_it_is:
        raise Refused("not_resumed", f"{report.in_the_way[0]}; with --as-it-is the log goes on as it is")
    if report.unknown and not (orders.accept or orders.as_it_is):
        raise Refused(
            "not_resumed",
            f"nobody but the topic knows of {len(report.unknown)} facts, the first at {report.unknown[0].place}: look at them, "
            "then say --accept",
        )
    tails: Mapping[int, Tail] = {} if orders.as_it_is else report.tails
    for shard, tail in tails.items():
        if tail.facts[0].position != heads[shard].last + 1:
            raise Refused("not_resumed", f"shard {shard} has grown meanwhile: look again")
        await _bring_back(connection, shard, tail)
    crashpoint("resume:facts")
    await _make_tables(connection, tails)
    crashpoint("resume:tables")
    life = await admit(connection, "resumed", orders.by)
    await connection.execute("DELETE FROM published_offsets")
    await keep_offsets(connection, beyond.ends)
    given_up = report.lost if orders.as_it_is else {}
    came_back = {shard: (tail.facts[0].position, tail.head.last) for shard, tail in tails.items()}
    ends = heads | {shard: tail.head for shard, tail in tails.items()}
    await _say(connection, StoreResumed(
        life=life or 0, came_back=_shards(came_back, ends), given_up=_shards(given_up, ends),
        accepted=0 if orders.as_it_is else len(report.unknown), resumed_by=orders.by, lost_notes=report.lost_notes,
        why="; ".join([report.standing.went_back or str(report.standing.life), *report.in_the_way])[:500],
    ))  # fmt: skip
    crashpoint("resume:said")


async def _bring_back(connection: Connection, shard: int, tail: Tail) -> None:
    for begin in range(0, len(tail.facts), PAGE):
        page = [(*stored, leaf) for stored, leaf in zip(tail.facts, tail.leaves, strict=True)][begin : begin + PAGE]
        await connection.execute(FACTS, *map(list, zip(*page, strict=True)))
    await connection.execute(BLOCKS, *map(list, zip(*tail.blocks, strict=True)))
    await connection.execute(MOVE, shard, tail.head.last, tail.head.hash, tail.head.recorded_at)
    await connection.execute(RELAYED, shard, tail.head.last)


async def _make_tables(connection: Connection, tails: Mapping[int, Tail]) -> None:
    if not tails:
        return
    cards = await load_rate_cards(connection)
    for shard, tail in tails.items():
        if wrong := await make_tables(connection, shard, tail.facts, cards):
            raise Refused(
                "not_resumed",
                f"{len(wrong)} of the facts that would come back do not follow from the log: {wrong[0]}; somebody wrote them "
                "to the topic. With --as-it-is the log goes on without any",
            )


def _shards(spans: Mapping[int, tuple[int, int]], ends: Mapping[int, Head]) -> tuple[ResumedShard, ...]:
    return tuple(
        ResumedShard(shard=shard, first=first, last=last, head=ends[shard].hash.hex())
        for shard, (first, last) in sorted(spans.items()) if shard in ends
    )  # fmt: skip


async def _say(connection: Connection, resumed: StoreResumed) -> None:
    """The fact that names the stretch: the first that this life appends."""
    now = await connection.fetchval("SELECT clock_timestamp()")
    await append(connection, [NewFact(RATE_CARD_TEAM, RESUMED, f"resumed:{resumed.life}", now, resumed)])
