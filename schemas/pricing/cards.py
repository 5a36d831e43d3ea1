"""Rate cards made ready, and the one in force at an instant."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal

from ..credits import ENTRY_MAX, MicroCredits, format_credits
from ..rates import RateCard, Requires
from .attributes import KeptAttributes
from .features import CompiledFeature, NotPriced

BILLIONTHS = 10**9  # of a unit: the smallest part of one that is told apart


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
            NotPriced: unknown_feature, unknown_rate, unknown_quantity or too_large.
        """
        return self.price_as_written(feature, f"{quantity:f}", attributes)

    def price_as_written(self, feature: str, quantity: str, attributes: Mapping[str, str] | None) -> int:
        """As `price`, for a quantity as usage has it: digits, and perhaps a point and more digits.

        Raises:
            NotPriced: unknown_feature, unknown_rate, unknown_quantity or too_large.
        """
        compiled = self.features.get(feature)
        if compiled is None:
            raise self.unknown(feature)
        thousandths = compiled.rate(attributes)[1]
        whole, _, part = quantity.partition(".")
        one: int = compiled.thousandths * 10 ** len(part)  # even, so that its half is whole, too
        micro = (thousandths * int(whole + part) + one // 2) // one
        if micro > ENTRY_MAX:
            raise _too_large(micro)
        return micro

    def price_quantities(
        self, feature: str, quantities: Mapping[str, str], attributes: Mapping[str, str] | None
    ) -> MicroCredits:
        """What a usage of several quantities costs: the sum of what each costs, rounded half up once.

        Raises:
            NotPriced: unknown_feature, unknown_rate, unknown_quantity or too_large.
        """
        compiled = self.find(feature)
        rate, thousandths = compiled.rate_by_quantity(attributes)
        total = 0
        for name, quantity in quantities.items():
            if name not in thousandths:
                raise compiled.no_price_for(name, rate)
            whole, _, part = quantity.partition(".")
            total += thousandths[name] * int(whole + part.ljust(9, "0"))
        one = compiled.thousandths * BILLIONTHS
        micro = (total + one // 2) // one
        if micro > ENTRY_MAX:
            raise _too_large(micro)
        return micro

    def price_used(
        self,
        feature: str,
        quantity: str | None,
        quantities: Mapping[str, str] | None,
        attributes: Mapping[str, str] | None,
    ) -> MicroCredits:
        """What a usage costs that has a quantity, or several. Raises as `price` does."""
        if quantities is not None:
            return self.price_quantities(feature, quantities, attributes)
        return self.price_as_written(feature, quantity or "0", attributes)

    def requirements(self, feature: str, attributes: Mapping[str, str] | None) -> Requires:
        """What a team needs for such a usage. Raises as `price` does."""
        compiled = self.find(feature)
        return compiled.feature.requires.and_also(compiled.rate_for(attributes).requires)

    def find(self, feature: str) -> CompiledFeature:
        """A feature with its category, name and unit. Raises NotPriced, unknown_feature."""
        compiled = self.features.get(feature)
        if compiled is None:
            raise self.unknown(feature)
        return compiled

    def unknown(self, feature: str) -> NotPriced:
        """Why a feature has no price on this card."""
        return NotPriced("unknown_feature", f"{feature!r:.140} is not on rate card {self.version}")


def _too_large(micro: MicroCredits) -> NotPriced:
    return NotPriced(
        "too_large", f"{format_credits(micro)} credits are more than one entry may have, {format_credits(ENTRY_MAX)}"
    )


class RateCards:
    """Every published card, by the time from which it is in force.

    Of two cards that begin at the same instant the later version counts: a mistake can be corrected before it begins.
    Attributes go into the log where a card prices by their name, or where the catalog lists it (`listed`).
    """

    def __init__(self, cards: Iterable[RateCard], listed: Iterable[str] = ()) -> None:
        ordered = sorted(cards, key=lambda card: (card.effective_from, card.version))
        if not ordered:
            raise ValueError("there is no rate card: nothing can be priced before one is published")
        versions = {card.version for card in ordered}
        if len(versions) < len(ordered):
            raise ValueError(f"{len(ordered)} rate cards share {len(versions)} versions: each card needs its own")
        self.compiled = tuple(map(CompiledCard, ordered))
        self.begins = [card.effective_from for card in ordered]
        self.newest_version = max(versions)
        self.attributes = KeptAttributes(ordered, listed)

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
