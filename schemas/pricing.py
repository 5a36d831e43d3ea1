"""The price of a usage: rate cards made ready, and the one in force at an instant.

Usage is priced once, at the recorder's door, with the card in force at the usage's own time. That hot path,
`CompiledCard.price_as_written`, has whole numbers alone: a rate has nine places at most, so it is a whole number of
thousandths of a micro-credit. What a price is, `credits.credits_for` says.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, get_args

from .credits import ENTRY_MAX, EXACT, MICRO, MicroCredits, format_credits
from .rates import Category, Feature, Per, Rate, RateCard, Requires, shown

UnpricedReason = Literal["unknown_feature", "unknown_rate", "too_large", "before_first_rate_card"]


REASONS: tuple[str, ...] = get_args(UnpricedReason)
THOUSANDTHS = 1_000  # of a micro-credit
MEMO_MAX = 4_096  # attributes come from strangers
SHOWN_MAX = 12  # rates that an error lists
DETAIL_MAX = 500


class NotPriced(Exception):
    """A usage has no price: `reason` is a stable code, `detail` tells the feature team what would have one."""

    def __init__(self, reason: UnpricedReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Priced:
    """How a price came about, for the one who asks why."""

    rate_card: int
    feature: str
    name: str
    category: str
    per: Per
    unit: str | None
    quantity: Decimal
    rate_attributes: Mapping[str, str]
    rate_credits: str
    credits: MicroCredits
    formula: str


def _in_credits(micro: MicroCredits) -> str:
    return f"{format_credits(micro)} {'credit' if micro == MICRO else 'credits'}"


class CompiledFeature:
    """A feature made ready for pricing. Attributes that none of its rates names are a feature team's own affair."""

    def __init__(self, category: Category, feature: Feature) -> None:
        self.category = category
        self.feature = feature
        self.keys = tuple(sorted({name for rate in feature.rates for name in rate.attributes}))
        self.most_specific_first = sorted(feature.rates, key=lambda rate: -len(rate.attributes))
        self.memo: dict[tuple[str | None, ...], tuple[Rate, int]] = {}

    def rate(self, attributes: Mapping[str, str] | None) -> tuple[Rate, int]:
        """The rate of a usage, and its thousandths of a micro-credit per unit. Raises NotPriced, unknown_rate."""
        values = tuple([attributes.get(key) for key in self.keys]) if attributes else (None,) * len(self.keys)
        return self.memo.get(values) or self.search(values)

    def search(self, values: tuple[str | None, ...]) -> tuple[Rate, int]:
        """The same, for attributes that were not seen before.

        Raises:
            NotPriced: `unknown_rate`, no rate of the feature names these attributes.
        """
        usage = {name: value for name, value in zip(self.keys, values, strict=True) if value is not None}
        for rate in self.most_specific_first:
            if rate.attributes.items() <= usage.items():
                if len(self.memo) >= MEMO_MAX:
                    self.memo.clear()
                exact = EXACT.multiply(Decimal(rate.credits), Decimal(MICRO * THOUSANDTHS))
                self.memo[values] = match = rate, int(exact)
                return match
        possible = [shown(rate.attributes) for rate in self.feature.rates[:SHOWN_MAX]]
        more = " | …" if len(self.feature.rates) > SHOWN_MAX else ""
        detail = f"{self.feature.feature} has no rate for {shown(usage):.200}; it has: {' | '.join(possible)}{more}"
        raise NotPriced("unknown_rate", detail[:DETAIL_MAX])


class CompiledCard:
    """One rate card, ready to price. Safe to share between threads: what it remembers only saves time."""

    def __init__(self, card: RateCard) -> None:
        self.card = card
        self.version = card.version
        self.effective_from = card.effective_from
        self.features = {
            feature.feature: CompiledFeature(category, feature)
            for category in card.categories
            for feature in category.features
        }

    def price(self, feature: str, quantity: Decimal, attributes: Mapping[str, str] | None) -> int:
        """What a usage costs, in micro-credits, rounded half up once.

        Raises:
            NotPriced: unknown_feature, unknown_rate or too_large.
        """
        return self.price_as_written(feature, f"{quantity:f}", attributes)

    def price_as_written(self, feature: str, quantity: str, attributes: Mapping[str, str] | None) -> int:
        """As `price`, for a quantity as usage has it: digits, and perhaps a point and more digits.

        Raises:
            NotPriced: unknown_feature, unknown_rate or too_large.
        """
        compiled = self.features.get(feature)
        if compiled is None:
            raise self.unknown(feature)
        thousandths = compiled.rate(attributes)[1]
        whole, _, part = quantity.partition(".")
        one: int = THOUSANDTHS * 10 ** len(part)  # even, so that its half is whole, too
        micro = (thousandths * int(whole + part) + one // 2) // one
        if micro > ENTRY_MAX:
            raise NotPriced(
                "too_large",
                f"{format_credits(micro)} credits are more than one entry may have, {format_credits(ENTRY_MAX)}",
            )
        return micro

    def requirements(self, feature: str, attributes: Mapping[str, str] | None) -> Requires:
        """What a team needs for such a usage. Raises as `price` does."""
        compiled = self.find(feature)
        return compiled.feature.requires.and_also(compiled.rate(attributes)[0].requires)

    def explain(self, feature: str, quantity: Decimal, attributes: Mapping[str, str] | None) -> Priced:
        """The price of a usage with everything that it follows from. Raises as `price` does."""
        compiled = self.find(feature)
        micro = self.price(feature, quantity, attributes)
        rate = compiled.rate(attributes)[0]
        one, several = compiled.feature.units
        return Priced(
            rate_card=self.version,
            feature=feature,
            name=compiled.feature.name,
            category=compiled.category.id,
            per=compiled.feature.per,
            unit=compiled.feature.unit,
            quantity=quantity,
            rate_attributes=rate.attributes,
            rate_credits=rate.credits,
            credits=micro,
            formula=f"{quantity:f} {one if quantity == 1 else several} × {rate.credits} = {_in_credits(micro)}",
        )

    def find(self, feature: str) -> CompiledFeature:
        """A feature with its category, name and unit. Raises NotPriced, unknown_feature."""
        compiled = self.features.get(feature)
        if compiled is None:
            raise self.unknown(feature)
        return compiled

    def unknown(self, feature: str) -> NotPriced:
        """Why a feature has no price on this card."""
        return NotPriced("unknown_feature", f"{feature!r:.140} is not on rate card {self.version}")


class RateCards:
    """Every published card, by the time from which it is in force.

    Of two cards that begin at the same instant the later version counts: a mistake can be corrected before it begins.
    """

    def __init__(self, cards: Iterable[RateCard]) -> None:
        ordered = sorted(cards, key=lambda card: (card.effective_from, card.version))
        if not ordered:
            raise ValueError("there is no rate card: nothing can be priced before one is published")
        versions = {card.version for card in ordered}
        if len(versions) < len(ordered):
            raise ValueError(f"{len(ordered)} rate cards share {len(versions)} versions: each card needs its own")
        self.compiled = tuple(map(CompiledCard, ordered))
        self.begins = [card.effective_from for card in ordered]
        self.newest_version = max(versions)

    def in_force(self, at: datetime) -> CompiledCard:
        """The card whose prices hold at an instant.

        Raises:
            NotPriced: before_first_rate_card.
        """
        if at >= self.begins[-1]:
            return self.compiled[-1]
        index = bisect_right(self.begins, at)
        if index == 0:
            raise NotPriced(
                "before_first_rate_card",
                f"{at.isoformat()} is older than the first rate card, in force from {self.begins[0].isoformat()}",
            )
        return self.compiled[index - 1]

    def ever_in_force(self) -> tuple[CompiledCard, ...]:
        """The cards whose prices held once, hold or will hold, oldest first.

        One that was corrected before it began is not among them.
        """
        return tuple(
            card
            for card, following in zip(self.compiled, (*self.begins[1:], None), strict=True)
            if card.effective_from != following
        )

    def version(self, version: int) -> CompiledCard | None:
        """A card by its number, for explaining an old price."""
        return next((card for card in self.compiled if card.version == version), None)
