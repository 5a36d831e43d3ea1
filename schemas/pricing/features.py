"""A feature made ready for pricing: which of its rates a usage has, and why a usage has no price."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, get_args

from ..credits import EXACT, MICRO
from ..rates import Category, Feature, Rate, shown

UnpricedReason = Literal["unknown_feature", "unknown_rate", "unknown_quantity", "too_large", "before_first_rate_card"]


REASONS: tuple[str, ...] = get_args(UnpricedReason)
THOUSANDTHS = 1_000  # of a micro-credit
MEMO_MAX = 4_096  # attributes come from strangers
SHOWN_MAX = 12  # rates or names that an error lists
DETAIL_MAX = 500


class NotPriced(Exception):
    """A usage has no price: `reason` is a stable code, `detail` tells the feature team what would have one."""

    def __init__(self, reason: UnpricedReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class CompiledFeature:
    """A feature made ready for pricing. Attributes that none of its rates names are a feature team's own affair."""

    def __init__(self, category: Category, feature: Feature) -> None:
        self.category = category
        self.feature = feature
        self.keys = tuple(sorted({name for rate in feature.rates for name in rate.attributes}))
        self.most_specific_first = sorted(feature.rates, key=lambda rate: -len(rate.attributes))
        self.thousandths = THOUSANDTHS * feature.for_units  # what the whole numbers below are divided by
        self.memo: dict[tuple[str | None, ...], tuple[Rate, int]] = {}
        self.memo_by_quantity: dict[tuple[str | None, ...], tuple[Rate, dict[str, int]]] = {}

    def rate(self, attributes: Mapping[str, str] | None) -> tuple[Rate, int]:
        """The rate of a usage of one quantity, and its thousandths of a micro-credit for `for_units`.

        Raises NotPriced, unknown_rate or unknown_quantity.
        """
        keys = self.keys
        if attributes and len(keys) == 1:  # the usual feature: a comprehension takes twice as long
            values: tuple[str | None, ...] = (attributes.get(keys[0]),)
        else:
            values = tuple([attributes.get(key) for key in keys]) if attributes else (None,) * len(keys)
        return self.memo.get(values) or self.search(values)

    def search(self, values: tuple[str | None, ...]) -> tuple[Rate, int]:
        """The same, for attributes that were not seen before."""
        rate = self.most_specific(values)
        if rate.credits is None:
            raise self.not_one(rate)
        if len(self.memo) >= MEMO_MAX:
            self.memo.clear()
        self.memo[values] = match = rate, _thousandths(rate.credits)
        return match

    def rate_by_quantity(self, attributes: Mapping[str, str] | None) -> tuple[Rate, Mapping[str, int]]:
        """The rate of a usage of several quantities, and the same as `rate` for each.

        Raises NotPriced, unknown_rate or unknown_quantity.
        """
        values = tuple([(attributes or {}).get(key) for key in self.keys])
        if (match := self.memo_by_quantity.get(values)) is not None:
            return match
        rate = self.most_specific(values)
        if rate.credits_by_quantity is None:
            one = self.feature.units[1]
            raise NotPriced(
                "unknown_quantity", f"{self.feature.feature} is priced by one quantity, its {one}: send that"
            )
        if len(self.memo_by_quantity) >= MEMO_MAX:
            self.memo_by_quantity.clear()
        each = {name: _thousandths(credits) for name, credits in rate.credits_by_quantity.items()}
        self.memo_by_quantity[values] = match = rate, each
        return match

    def not_one(self, rate: Rate) -> NotPriced:
        """A usage reports one quantity, and the feature prices several."""
        detail = f"{self.feature.feature} is priced by quantities, {_names(rate)}: send those"
        return NotPriced("unknown_quantity", detail[:DETAIL_MAX])

    def no_price_for(self, name: str, rate: Rate) -> NotPriced:
        """A usage reports a quantity that its rate does not price."""
        detail = f"{self.feature.feature} has no price for {name}; for {shown(rate.attributes):.200} it prices {_names(rate)}"
        return NotPriced("unknown_quantity", detail[:DETAIL_MAX])

    def rate_for(self, attributes: Mapping[str, str] | None) -> Rate:
        """The rate of a usage, whichever quantities it has. Raises NotPriced, unknown_rate."""
        return self.rate_by_quantity(attributes)[0] if self.feature.by_quantity else self.rate(attributes)[0]

    def most_specific(self, values: tuple[str | None, ...]) -> Rate:
        """The rate that names most of these attributes.

        Raises:
            NotPriced: `unknown_rate`, no rate of the feature names these attributes.
        """
        usage = {name: value for name, value in zip(self.keys, values, strict=True) if value is not None}
        for rate in self.most_specific_first:
            if rate.attributes.items() <= usage.items():
                return rate
        possible = [shown(rate.attributes) for rate in self.feature.rates[:SHOWN_MAX]]
        more = " | …" if len(self.feature.rates) > SHOWN_MAX else ""
        detail = f"{self.feature.feature} has no rate for {shown(usage):.200}; it has: {' | '.join(possible)}{more}"
        raise NotPriced("unknown_rate", detail[:DETAIL_MAX])


def _thousandths(credits: str) -> int:
    return int(EXACT.multiply(Decimal(credits), Decimal(MICRO * THOUSANDTHS)))


def _names(rate: Rate) -> str:
    names = sorted(rate.credits_by_quantity or ())
    return ", ".join(names[:SHOWN_MAX]) + (" …" if len(names) > SHOWN_MAX else "")
