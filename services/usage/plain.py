"""The short way through the door: plain usage, which nearly every record is, becomes a fact with nothing asked twice.

`door.judge` stays the definition. Whatever is not plain, and whatever is wrong, is left to it, and a test tells random
batches both ways.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from schemas.facts import NewFact, UsageRecorded
from schemas.pricing import CompiledCard, KeptAttributes, NotPriced, RateCards
from schemas.usage import AnyUsage, FastUsage, UsageReported
from services.store.append import Ready, make_ready

FAST: type[UsageReported] = FastUsage  # type: ignore[assignment]  # it has the fields of the model


@dataclass(frozen=True, slots=True)
class PlainPricing:
    """Usage of one quantity that names no hold, of teams that are known, while one card has been in force.

    Attributes:
        teams: those that are known.
        card: the card in force now.
        since: from when it is.
        until: up to when usage may be ahead of our clock, and is priced as if it was now.
        attributes: which attributes are stored; usage that has others is not plain.
    """

    teams: frozenset[str]
    card: CompiledCard
    since: datetime
    until: datetime
    attributes: KeptAttributes

    @classmethod
    def at(cls, now: datetime, ahead_max: timedelta, teams: frozenset[str], cards: RateCards) -> Self | None:
        """For a batch that is judged now; None where no card is in force yet."""
        try:
            card = cards.in_force(now)
        except NotPriced:
            return None
        return cls(teams, card, card.effective_from, now + ahead_max, cards.attributes)

    def fact_of(self, event: AnyUsage) -> Ready | None:
        """The fact of a usage; None where there is more to it, or something wrong: the definition says what."""
        if type(event) is not FAST:
            return None
        team_id, at, data = event.subject, event.time, event.data
        quantity, attributes = data.quantity, data.attributes
        if quantity is None or data.hold_id is not None or team_id not in self.teams:
            return None
        if not self.since <= at <= self.until or (attributes and not self.attributes.keep_all(attributes)):
            return None
        try:
            credits = self.card.price_as_written(data.feature, quantity, attributes)
        except NotPriced:
            return None
        fact = UsageRecorded(
            feature=data.feature, quantity=quantity, credits=credits, rate_card=self.card.version,
            member_id=data.member_id, attributes=attributes or None,
        )  # fmt: skip
        return make_ready(tuple.__new__(NewFact, (team_id, event.source, event.id, at, fact)))
