"""The usage that the bench reports: 500 teams of a video product, and what their members do."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from random import Random
from typing import NamedTuple

from aiokafka.partitioner import murmur2
from confluent_kafka import Producer

from schemas.credits import MICRO
from schemas.facts import RATE_CARD_TEAM, CreditsGranted, NewFact, RateCardPublished
from schemas.rates import RateCard
from schemas.topics import PARTITIONS
from services.credits.grants import grant
from services.credits.rate_cards import CARDS
from services.store.append import append
from services.store.connect import Connection
from services.store.numbered import numbered

TEAMS = 500
MEMBERS_MAX = 6
GIFT_CREDITS = 10**9 * MICRO  # nobody runs dry: what a top-up costs is not measured here
EVENTS_PER_MS = 50

# What is used, how often, and how much: (weight, source, feature, attributes, least, most, places after the point). The
# quantities are drawn from a wide range, so that whoever remembers prices gains nothing.
FEATURES = (
    (10, "/features/export", "video_export.render", {"resolution": "1080p"}, 5, 1_800, 2),
    (3, "/features/export", "video_export.render", {"resolution": "4k"}, 5, 600, 2),
    (6, "/features/video", "ai_video.generate", {"tier": "standard"}, 2, 60, 1),
    (3, "/features/video", "ai_video.generate", {"tier": "high", "model": "cinema"}, 2, 60, 1),
    (22, "/features/image", "ai_image.generate", {"tier": "low"}, 1, 40, 0),
    (16, "/features/image", "ai_image.generate", {"tier": "standard"}, 1, 40, 0),
    (14, "/features/audio", "ai_audio.voiceover", {"voice": "cloned"}, 20, 12_000, 0),
    (6, "/features/audio", "ai_audio.music", None, 10, 400, 1),
    (5, "/features/audio", "ai_audio.transcribe", None, 10, 7_200, 2),
    (6, "/features/effects", "ai_effects.remove_image_background", None, 1, 40, 0),
    (5, "/features/effects", "ai_effects.upscale_image", {"scale": "4x"}, 1, 40, 0),
    (4, "/features/effects", "ai_effects.remove_filler_words", None, 30, 3_600, 1),
)


TOKENS = ("input_token", "cached_input_token", "output_token")
CALLS_OF_MODELS = {
    "id": "bench", "name": "Calls of models", "features": [
        {"feature": "bench.tokens", "name": "Tokens", "per": "token", "for_units": 1_000_000,
         "rates": [{"attributes": {"model": "large"}, "credits": "125"}]},
        {"feature": "bench.call", "name": "Call", "per": "token", "for_units": 1_000_000,
         "rates": [{"attributes": {"model": "large"},
                    "credits_by_quantity": {"input_token": "125", "cached_input_token": "12.5", "output_token": "1000"}}]},
    ],
}  # fmt: skip


class Event(NamedTuple):
    """A record for the topic `usage`."""

    partition: int
    key: bytes
    value: bytes


class Use(NamedTuple):
    """One thing that a member did."""

    team: "BenchTeam"
    member_id: str
    source: str
    feature: str
    quantity: str
    attributes: dict[str, str] | None
    quantities: dict[str, str] | None = None  # in place of the quantity


@dataclass(frozen=True)
class BenchTeam:
    """A team with 1 to 6 members."""

    id: str
    members: tuple[str, ...]

    @cached_property
    def partition(self) -> int:
        """By Kafka's default partitioner."""
        return int((murmur2(self.id.encode()) & 0x7FFFFFFF) % PARTITIONS)


def bench_teams(count: int = TEAMS, prefix: str = "team") -> list[BenchTeam]:
    """The same teams in every run."""
    random = Random(prefix)
    return [
        BenchTeam(
            f"{prefix}_{number:04d}",
            tuple(f"mem_{number:04d}_{one}" for one in range(1, random.randint(1, MEMBERS_MAX) + 1)),
        )
        for number in range(count)
    ]


def uses(teams: Sequence[BenchTeam], count: int, random: Random) -> Iterable[Use]:
    """What members do; a team with more members does more."""
    somebody = random.choices([(team, one) for team in teams for one in team.members], k=count)
    something = random.choices(FEATURES, [weight for weight, *_ in FEATURES], k=count)
    for (team, member_id), (_, source, feature, attributes, *range_) in zip(somebody, something, strict=True):
        yield Use(team, member_id, source, feature, quantity(random, *range_), attributes)


def quantity(random: Random, least: int, most: int, places: int) -> str:
    """Any of that range, as a feature service writes it: without zeros that say nothing."""
    scale = 10**places
    whole, part = divmod(random.randint(least * scale, most * scale), scale)
    return f"{whole}.{part:0{places}d}".rstrip("0") if part else str(whole)


def usage_events(
    teams: Sequence[BenchTeam], count: int, seed: object, *, ordered_ids: bool = True, until: datetime | None = None
) -> list[Event]:
    """So many CloudEvents that happened just before `until` (now), with UUIDv7 as ids, or UUIDv4."""
    random = Random(str(seed))
    end = until or datetime.now(UTC)
    return [
        usage_event(use, new_id(random, at if ordered_ids else None), at)
        for number, use in enumerate(uses(teams, count, random))
        for at in (end - timedelta(milliseconds=(count - number) / EVENTS_PER_MS),)
    ]


def model_calls(teams: Sequence[BenchTeam], count: int, seed: object, *, several: bool) -> list[Event]:
    """So many calls of a model that happened just before now, each of its tokens a quantity, or all of them one."""
    random, end = Random(str(seed)), datetime.now(UTC)
    somebody = random.choices([(team, one) for team in teams for one in team.members], k=count)
    events = []
    for number, (team, member_id) in enumerate(somebody):
        tokens = [quantity(random, 1, most, 0) for most in (20_000, 8_000, 4_000)]
        feature, quantities = (
            ("bench.call", dict(zip(TOKENS, tokens, strict=True))) if several else ("bench.tokens", None)
        )
        use = Use(team, member_id, "/features/chat", feature, tokens[0], {"model": "large"}, quantities)
        at = end - timedelta(milliseconds=(count - number) / EVENTS_PER_MS)
        events.append(usage_event(use, new_id(random, at), at))
    return events


async def price_model_calls(owner: Connection, first: RateCard) -> None:
    """The second rate card, in force since long ago, prices tokens: of each kind, or all alike."""
    since = first.effective_from + timedelta(days=1)
    card = first.model_dump(mode="json") | {"version": 2, "effective_from": since.isoformat()}
    card["categories"].append(CALLS_OF_MODELS)
    fact = RateCardPublished(
        version=2, effective_from=since, card=RateCard.model_validate(card).model_dump(mode="json")
    )
    async with owner.transaction():
        await append(owner, [NewFact(RATE_CARD_TEAM, CARDS, numbered("card", 2), since, fact)])


def usage_event(use: Use, event_id: str, at: datetime) -> Event:
    """A structured CloudEvent, as the emitter writes it."""
    data: dict[str, object] = {"feature": use.feature, "quantity": use.quantity, "member_id": use.member_id}
    if use.quantities is not None:
        data["quantities"] = use.quantities
        del data["quantity"]
    if use.attributes is not None:
        data["attributes"] = use.attributes
    value = (
        f'{{"specversion":"1.0","type":"usage.reported.v1","source":"{use.source}","id":"{event_id}",'
        f'"subject":"{use.team.id}","time":"{at.isoformat(timespec="microseconds")[:26]}Z",'
        f'"datacontenttype":"application/json","data":{json.dumps(data, separators=(",", ":"))}}}'
    )
    return Event(use.team.partition, use.team.id.encode(), value.encode())


def new_id(random: Random, at: datetime | None) -> str:
    """A UUIDv7 of an instant; a UUIDv4 without one."""
    bits = random.getrandbits(128)
    high, version = (int(at.timestamp() * 1000) << 80, 7) if at else (bits >> 80 << 80, 4)
    number = high | version << 76 | (bits & 0xFFF << 64) | 0b10 << 62 | (bits & (1 << 62) - 1)
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


async def give_credits(owner: Connection, teams: Iterable[str]) -> None:
    """Enough credits for everything, as a second lot beside the included one."""
    for team_id in teams:
        async with owner.transaction():
            await grant(owner, team_id, "gift:bench", CreditsGranted(credits=GIFT_CREDITS, reason="for the bench"))


def producer(kafka: str, *, linger_ms: float = 5) -> Producer:
    """librdkafka: it costs the least of the cores that are being measured. Idempotent, as emitters should be."""
    return Producer(
        {
            "bootstrap.servers": kafka,
            "enable.idempotence": True,
            "linger.ms": linger_ms,
            "log_level": 2,  # it repeats what fails, and `flush` says what was never acknowledged
            "queue.buffering.max.messages": 2_000_000,
            "queue.buffering.max.kbytes": 2_000_000,
        }
    )


def produce(to: Producer, events: Iterable[Event]) -> None:
    """Hand events to the producer, which sends them in the background."""
    for event in events:
        to.produce("usage", event.value, event.key, event.partition)
    to.poll(0)


def lay_in_kafka(kafka: str, events: Sequence[Event]) -> None:
    """A backlog: returns when Kafka has acknowledged all of it."""
    to = producer(kafka)
    produce(to, events)
    if left := to.flush(120):
        raise TimeoutError(f"Kafka has not acknowledged {left} of {len(events)} events")
