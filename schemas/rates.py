"""What features cost: rate cards.

A card lists features by category; a feature has one rate or several, told apart by attributes (`tier`, `resolution`).
The most specific rate counts: the one that names the most of a usage's attributes and contradicts none of them. A card
in which two rates could claim the same usage is invalid, so a price never depends on the order of rates.

A rate has one price, or one for each quantity of which a use may take some: input tokens, cached ones, output tokens.

`schemas.pricing` prices usage by them. Nothing here knows of teams: who may use a feature is decided where plans and
balances are known.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Annotated, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    model_validator,
)

from .facts import QUANTITIES_MAX, Attributes, QuantityName
from .instants import GivenInstant
from .problems import problems_of

Per = Literal["use", "second", "character", "token", "gb_day"]
UNITS: dict[str, tuple[str, str]] = {
    "use": ("use", "uses"),
    "second": ("second", "seconds"),
    "character": ("character", "characters"),
    "token": ("token", "tokens"),
    "gb_day": ("GB-day", "GB-days"),
}
Slug = Annotated[str, StringConstraints(max_length=64, pattern=r"^[a-z][a-z0-9_]*$")]
FeatureId = Annotated[str, StringConstraints(max_length=128, pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$")]
Label = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
RATE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)

T = TypeVar("T")

ForUnits = Literal[1, 1_000, 1_000_000]
CARD_FEATURES_MAX = 1_000
FEATURE_RATES_MAX = 200  # every pair is compared when a card is published


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
    Field(pattern=f"^{RATE.pattern}$", description="Credits for one unit, or for `for_units`: a plain decimal."),
]
CreditsByQuantity = Annotated[
    dict[QuantityName, RateCredits],
    Field(
        min_length=1, max_length=QUANTITIES_MAX, description="Credits for each quantity of which a use may take some."
    ),
]


class RateCardInvalid(ValueError):
    """A rate card can't be published. `problems` has one sentence for each thing to change."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


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


ONE_PRICE: list[JsonValue] = [{"required": ["credits"]}, {"required": ["credits_by_quantity"]}]


class Rate(Frozen):
    """The credits of one unit, for usages with these attributes; what it requires comes on top of the feature's own.

    A rate has `credits`, or `credits_by_quantity` for usage that reports several quantities; the other is absent.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": ONE_PRICE})

    attributes: Attributes = Field(default_factory=dict)
    credits: Annotated[RateCredits | None, Field(exclude_if=lambda credits: credits is None)] = None
    credits_by_quantity: Annotated[CreditsByQuantity | None, Field(exclude_if=lambda credits: credits is None)] = None
    # Most rates add no requirement; the member appears only where one does.
    requires: Annotated[Requires | None, Field(exclude_if=lambda requires: requires is None)] = None

    @model_validator(mode="after")
    def it_has_one_price_or_one_for_each_quantity(self) -> Self:
        """Never both: which of them counts would be a guess."""
        if (self.credits is None) == (self.credits_by_quantity is None):
            raise ValueError("write either credits, or credits_by_quantity for usage that reports several quantities")
        return self


class Feature(Frozen):
    """A feature with its unit and its rates. `unit` is what people call one use of it, say `image`.

    `for_units` says for how many units the credits of its rates are: a price for a million tokens is written as such.
    """

    feature: FeatureId
    name: Label
    per: Per
    # Few uses have a name; the member appears only where one does.
    unit: Annotated[Slug | None, Field(exclude_if=lambda unit: unit is None)] = None
    for_units: Annotated[ForUnits, Field(exclude_if=lambda units: units == 1)] = 1
    requires: Requires = NOTHING_REQUIRED
    rates: Annotated[tuple[Rate, ...], Field(min_length=1, max_length=FEATURE_RATES_MAX)]

    @model_validator(mode="after")
    def only_a_use_has_a_name_of_its_own(self) -> Self:
        """Seconds, characters, tokens and GB-days are called what they are."""
        if self.unit is not None and self.per != "use":
            raise ValueError(f"unit names what one use is, and this feature is priced per {self.per}: leave it out")
        return self

    @property
    def units(self) -> tuple[str, str]:
        """One of its unit, and several."""
        return (self.unit, f"{self.unit}s") if self.unit else UNITS[self.per]

    @property
    def by_quantity(self) -> bool:
        """True where usage reports several quantities, each with a price of its own."""
        return self.rates[0].credits_by_quantity is not None

    @model_validator(mode="after")
    def all_rates_are_alike(self) -> Self:
        """Whether usage reports a quantity or several is said by the feature, and not by attributes."""
        if len({rate.credits is None for rate in self.rates}) > 1:
            raise ValueError(
                "some rates have credits, others credits_by_quantity: usage of a feature reports one or the other"
            )
        return self

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
    effective_from: GivenInstant
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
