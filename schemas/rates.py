"""What features cost: rate cards, which of them is in force, and the price of a usage.

A card lists features by category; a feature has one rate or several, told apart by attributes (`tier`, `resolution`).
The most specific rate counts: the one that names the most of a usage's attributes and contradicts none of them. A card
in which two rates could claim the same usage is invalid, so a price never depends on the order of rates.

Usage is priced once, at the recorder's door, with the card in force at the usage's own time: `CompiledCard.price` is
that hot path. Nothing here knows of teams: who may use a feature is decided where plans and balances are known.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from itertools import combinations
from typing import Annotated, Literal, Self, TypeVar, get_args

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from .credits import ENTRY_MAX, EXACT, MICRO, MicroCredits, format_credits
from .facts import Attributes
from .problems import problems_of

Per = Literal["use", "second", "character", "gb_day"]
UNITS: dict[str, tuple[str, str]] = {
    "use": ("use", "uses"),
    "second": ("second", "seconds"),
    "character": ("character", "characters"),
    "gb_day": ("GB-day", "GB-days"),
}
Slug = Annotated[str, StringConstraints(max_length=64, pattern=r"^[a-z][a-z0-9_]*$")]
FeatureId = Annotated[str, StringConstraints(max_length=128, pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
RATE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
UnpricedReason = Literal["unknown_feature", "unknown_rate", "too_large", "before_first_rate_card"]
REASONS: tuple[str, ...] = get_args(UnpricedReason)

T = TypeVar("T")

CARD_FEATURES_MAX = 1_000
FEATURE_RATES_MAX = 200  # every pair is compared when a card is published
MEMO_MAX = 4_096  # attributes come from strangers
SHOWN_MAX = 12  # rates that an error lists
DETAIL_MAX = 500


def rate_credits(value: object) -> object:
    """The credits of a unit as they were written, if they are a plain decimal."""
    match value:
        case str() if RATE.fullmatch(value):
            return value
        case str() if value.startswith("-"):
            raise ValueError(f"{value!r:.80} is negative: a rate is zero or more")
        case str():
            raise ValueError(
                f'{value!r:.80} is not a rate: write "0.5", at most nine digits on either side of the point'
            )
        case _:
            raise ValueError(f'{value!s:.80} is not in quotes: write "0.5", so that no digit is lost on the way')


RateCredits = Annotated[
    str,
    BeforeValidator(rate_credits),
    Field(pattern=f"^{RATE.pattern}$", description="Credits for one unit, a plain decimal."),
]


class RateCardInvalid(ValueError):
    """A rate card can't be published. `problems` has one sentence for each thing to change."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class NotPriced(Exception):
    """A usage has no price: `reason` is a stable code, `detail` tells the feature team what would have one."""

    def __init__(self, reason: UnpricedReason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Frozen(BaseModel):
    """A part of a card. Unknown keys are refused: a misspelt `requires` must not make a feature free for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Requires(Frozen):
    """What a team needs before it may use a feature: top-ups, a plan, both or nothing."""

    top_ups: bool = False
    plan: Slug | None = None

    def and_also(self, more: "Requires | None") -> "Requires":
        """Both requirements together; a plan named by `more` wins."""
        if more is None:
            return self
        return Requires(top_ups=self.top_ups or more.top_ups, plan=more.plan or self.plan)


NOTHING_REQUIRED = Requires()


class Rate(Frozen):
    """The credits of one unit, for usages with these attributes; what it requires comes on top of the feature's own."""

    attributes: Attributes = Field(default_factory=dict)
    credits: RateCredits
    # Most rates add no requirement; the member appears only where one does.
    requires: Annotated[Requires | None, Field(exclude_if=lambda requires: requires is None)] = None


class Feature(Frozen):
    """A feature with its unit and its rates. `unit` is what people call one use of it, say `image`."""

    feature: FeatureId
    name: Label
    per: Per
    # Few uses have a name; the member appears only where one does.
    unit: Annotated[Slug | None, Field(exclude_if=lambda unit: unit is None)] = None
    requires: Requires = NOTHING_REQUIRED
    rates: Annotated[tuple[Rate, ...], Field(min_length=1, max_length=FEATURE_RATES_MAX)]

    @model_validator(mode="after")
    def only_a_use_has_a_name_of_its_own(self) -> Self:
        """Seconds, characters and GB-days are called what they are."""
        if self.unit is not None and self.per != "use":
            raise ValueError(f"unit names what one use is, and this feature is priced per {self.per}: leave it out")
        return self

    @property
    def units(self) -> tuple[str, str]:
        """One of its unit, and several."""
        return (self.unit, f"{self.unit}s") if self.unit else UNITS[self.per]

    @model_validator(mode="after")
    def each_usage_has_at_most_one_rate(self) -> Self:
        """Two rates may overlap only if one is the other with more attributes, or if a third names all of both."""
        attribute_sets = [frozenset(rate.attributes.items()) for rate in self.rates]
        listed = set(attribute_sets)
        if len(listed) < len(attribute_sets):
            raise ValueError(f"two rates have the same attributes, {shown(dict(repeated(attribute_sets)))}: keep one")
        for one, other in combinations(attribute_sets, 2):
            both = one | other
            if both not in listed and len(dict(both)) == len(both):
                two = f"{shown(dict(one))} and {shown(dict(other))}"
                raise ValueError(f"a usage with {shown(dict(both))} fits two rates, {two}: add a rate for it")
        return self


class Category(Frozen):
    """A heading of the rate card."""

    id: Slug
    name: Label
    features: Annotated[tuple[Feature, ...], Field(min_length=1)]


class RateCard(Frozen):
    """What every feature costs from an instant on. Publishing a new version is the only way to change a price."""

    version: Annotated[int, Field(strict=True, ge=1, lt=2**31)]
    effective_from: Annotated[AwareDatetime, AfterValidator(lambda instant: instant.astimezone(UTC))]
    categories: Annotated[tuple[Category, ...], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def each_name_is_used_once(self) -> Self:
        """A feature is in one category, a category once on the card."""
        ids = [category.id for category in self.categories]
        if len(set(ids)) < len(ids):
            raise ValueError(f"category {repeated(ids)} is listed twice: give one of them another id")
        features = [feature.feature for category in self.categories for feature in category.features]
        if len(set(features)) < len(features):
            again = repeated(features)
            homes = [
                category.id for category in self.categories for feature in category.features if feature.feature == again
            ]
            raise ValueError(
                f"feature {again} is listed {len(homes)} times, in {', '.join(homes)}: list it once, with all its rates"
            )
        if len(features) > CARD_FEATURES_MAX:
            raise ValueError(f"{len(features)} features are more than a card may have, {CARD_FEATURES_MAX}")
        return self


def parse_rate_card(data: object) -> RateCard:
    """A rate card from parsed JSON or TOML.

    Raises:
        RateCardInvalid: naming the category, feature and rate of each problem, and what to write instead.
    """
    try:
        return RateCard.model_validate(data)
    except ValidationError as error:
        raise RateCardInvalid(problems_of(data, error)) from error


def repeated(names: Sequence[T]) -> T:
    """The first name that comes again."""
    return next(name for index, name in enumerate(names) if name in names[:index])


def shown(attributes: Mapping[str, str]) -> str:
    """Attributes as people write them: `resolution=4k, tier=high`."""
    return ", ".join(f"{name}={value}" for name, value in sorted(attributes.items())) or "no attributes"


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
        self.memo: dict[tuple[str | None, ...], tuple[Rate, Decimal]] = {}

    def rate(self, attributes: Mapping[str, str] | None) -> tuple[Rate, Decimal]:
        """The rate of a usage, and its micro-credits per unit. Raises NotPriced, unknown_rate."""
        values = tuple([attributes.get(key) for key in self.keys]) if attributes else (None,) * len(self.keys)
        return self.memo.get(values) or self.search(values)

    def search(self, values: tuple[str | None, ...]) -> tuple[Rate, Decimal]:
        """The same, for attributes that were not seen before.

        Raises:
            NotPriced: `unknown_rate`, no rate of the feature names these attributes.
        """
        usage = {name: value for name, value in zip(self.keys, values, strict=True) if value is not None}
        for rate in self.most_specific_first:
            if rate.attributes.items() <= usage.items():
                if len(self.memo) >= MEMO_MAX:
                    self.memo.clear()
                self.memo[values] = match = rate, EXACT.multiply(Decimal(rate.credits), Decimal(MICRO))
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
        compiled = self.features.get(feature)
        if compiled is None:
            raise self.unknown(feature)
        # The micro-credits of a unit are exact, so this product is the one that `credits_for` rounds.
        exact = EXACT.multiply(compiled.rate(attributes)[1], quantity)
        micro = int(exact.to_integral_value(ROUND_HALF_UP, EXACT))
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
