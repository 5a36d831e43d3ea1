"""Who else knows of a fact that was lost? What nobody knows comes back by a person's word alone.

What lies after the last note rests on the topic, and whoever may write there could add to it. So usage must stand in
the topic `usage` as well, with the same contents, and a payment at Stripe. What an anchor covers is proven. Some facts
follow from others, and are checked against those. The rest (grants, plans, settings, captures, limits) is listed.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from aiokafka import TopicPartition

from schemas.digests import is_made_of
from schemas.facts import (
    AMENDMENTS,
    OURS,
    BalanceRanLow,
    BalanceRanOut,
    BalanceRecovered,
    CreditsExpired,
    CreditsPurchased,
    CreditsRefilled,
    CreditsToppedUp,
    HoldExpired,
    HoldExtended,
    HoldPlaced,
    HoldReleased,
    PeriodSealed,
    PurchaseRequested,
    RateCardPublished,
    Stored,
    TopUpConfigured,
    TopUpFact,
    UsageRecorded,
    UsageVoided,
)
from schemas.pricing import KeptAttributes
from schemas.rates import RateCard, RateCardInvalid, parse_rate_card
from schemas.topics import USAGE
from schemas.usage import AnyUsage
from services.credits.rate_cards import load_rate_cards
from services.money.stripe_client import Charges, Missing
from services.publishing.beyond import a_consumer, places_of, records_of
from services.recovery.tail import Tail
from services.runtime.settings import Settings
from services.store.connect import Connection
from services.store.identities import Identity
from services.usage.cursors import read_cursors
from services.usage.door import ParsedUsage, parse

FOLLOWS = (
    CreditsRefilled, CreditsExpired, PeriodSealed, BalanceRanLow, BalanceRanOut, BalanceRecovered, HoldPlaced,
    HoldExtended, HoldReleased, HoldExpired, TopUpFact, PurchaseRequested,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Evidence:
    """What others know of the facts that were lost.

    Attributes:
        reported: by identity, the usage that stands in the topic.
        paid: the amount in minor units of each payment that Stripe calls succeeded.
        proven: the last position of each shard that an anchor covers.
        priced: the attributes that rate cards name: no fact leaves one out.
    """

    reported: Mapping[Identity, Sequence[AnyUsage]]
    paid: Mapping[str, int]
    proven: Mapping[int, int]
    priced: frozenset[tuple[str, str]] = frozenset()

    def unknown(self, tails: Iterable[Tail]) -> list[Stored]:
        """The facts that nobody else knows of."""
        return [
            stored
            for tail in tails
            for stored, behind in zip_longest(tail.facts, tail.facts[1:])
            if not (self._know(stored) or self._know_amendment(stored, behind))
        ]

    def _know_amendment(self, stored: Stored, behind: Stored | None) -> bool:
        """True for what takes a usage back because the one behind it replaces it, as the topic says."""
        if stored.source != AMENDMENTS or behind is None or behind.team_id != stored.team_id:
            return False
        void, usage = stored.fact(), behind.fact()
        return (
            isinstance(void, UsageVoided)
            and isinstance(usage, UsageRecorded)
            and (usage.corrects, usage.corrects_id) == (void.usage_position, void.usage_id)
            and self._know(behind)
        )

    def _know(self, stored: Stored) -> bool:
        if stored.position <= self.proven.get(stored.shard, 0):
            return True
        fact = stored.fact()
        match fact:
            case UsageRecorded() | UsageVoided():
                events = self.reported.get(Identity(stored.team_id, stored.source, stored.id), ())
                of = stored.team_id, stored.occurred_at, fact, self.priced
                return any(is_made_of(event, *of) for event in events)
            case CreditsToppedUp() | CreditsPurchased():
                return self.paid.get(fact.payment_intent_id) == fact.charge_cents
            case TopUpConfigured():
                return False
            case _:
                return isinstance(fact, FOLLOWS) and stored.source.startswith(OURS)


async def gather_evidence(
    settings: Settings,
    connection: Connection,
    tails: Sequence[Tail],
    charges: Charges | None,
    proven: Mapping[int, int],
) -> Evidence:
    """Ask the topic and Stripe; without `charges` Stripe says nothing.

    Raises:
        KafkaError, Unavailable: one of them does not answer.
    """
    identities = {
        Identity(stored.team_id, stored.source, stored.id)
        for tail in tails for stored in tail.facts if stored.type.startswith("usage.")
    }  # fmt: skip
    payments = {
        fact.payment_intent_id
        for tail in tails for stored in tail.facts
        if isinstance(fact := stored.fact(), CreditsToppedUp | CreditsPurchased)
    }  # fmt: skip
    reported = await _reported(settings, connection, identities) if identities else {}
    paid = {} if charges is None else await _paid(charges, payments)
    priced_before = (await load_rate_cards(connection)).attributes.priced if reported else frozenset()
    return Evidence(reported, paid, proven, priced_before | priced_in(tails))


def priced_in(tails: Iterable[Tail]) -> frozenset[tuple[str, str]]:
    """The attributes that rate cards name which are lost themselves: usage behind them was priced by them."""
    facts = [stored.fact() for tail in tails for stored in tail.facts if stored.type == RateCardPublished.type]
    cards: list[RateCard] = []
    for fact in facts:
        with suppress(RateCardInvalid):  # by that nothing was priced
            cards += [parse_rate_card(fact.card)] if isinstance(fact, RateCardPublished) else []
    return KeptAttributes(cards, ()).priced


async def _reported(
    settings: Settings, connection: Connection, identities: set[Identity]
) -> dict[Identity, list[AnyUsage]]:
    """Usage behind the cursors of the restored store: whatever was recorded since, was recorded from there."""
    cursors = await read_cursors(connection, USAGE)
    reported: dict[Identity, list[AnyUsage]] = {}
    async with a_consumer(settings) as consumer:
        places = await places_of(consumer, USAGE)
        starts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
        spans: dict[TopicPartition, tuple[int, int]] = {}
        for place in places:
            cursor = cursors.get(place.partition)
            since = max(starts[place], 0 if cursor is None else cursor.next_offset)
            if since < ends[place]:
                spans[place] = (since, ends[place])
        record: Any
        async for record in records_of(consumer, spans):
            usage = parse(record)
            if isinstance(usage, ParsedUsage) and usage.identity in identities:
                reported.setdefault(usage.identity, []).append(usage.event)
    return reported


async def _paid(charges: Charges, payments: Iterable[str]) -> dict[str, int]:
    paid: dict[str, int] = {}
    for payment in sorted(payments):
        try:
            intent = await charges.retrieve(payment)
        except Missing:
            continue
        if intent.state == "succeeded":
            paid[payment] = intent.amount_cents
    return paid
