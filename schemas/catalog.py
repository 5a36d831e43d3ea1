"""What Creditwell sells: plans, packs, the price of top-ups and the first rate card, from one TOML file.

`catalog.toml` beside this file is the default; CREDITWELL_CATALOG names another. Read once, when a process starts:
whatever a fact needs of it is written into the fact, so a changed catalog changes tomorrow and never yesterday.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from decimal import ROUND_CEILING, Decimal
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, model_validator

from .credits import EXACT, MICRO, MicroCredits, UnsignedMicroCredits, parse_credits
from .facts import Cents, Currency
from .money import MOST, digits_of, format_money, not_taken, rounded_up
from .pricing.attributes import SHORT_CODE
from .problems import problems_of
from .rates import Frozen, Label, RateCard, Slug

LISTED_MAX = 100  # names of attributes
COUNTED_MAX = 10  # of them, each of which the projector counts beside the rest
UNIT_PRICE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


class CatalogInvalid(Exception):
    """A catalog can't be used. `problems` has one sentence for each key to change."""

    def __init__(self, file: str, problems: list[str]) -> None:
        super().__init__("\n  ".join([f"the catalog {file} can't be used:", *problems]))
        self.file = file
        self.problems = tuple(problems)


def micro_credits(value: object) -> MicroCredits:
    """Micro-credits of a whole number, or of a decimal in quotes."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    match text:
        case str() if text.startswith("-"):
            raise ValueError(f"{text:.80} is negative: an amount of credits is zero or more")
        case str():
            return parse_credits(text)
        case _:
            raise ValueError(
                f'{value!s:.80} is not an amount of credits: write 300, or a decimal in quotes such as "0.5"'
            )


def sold_credits(value: object) -> MicroCredits:
    """Micro-credits of what somebody pays for: at least one credit."""
    micro = micro_credits(value)
    if micro < MICRO:
        raise ValueError(f"{value} is too little to sell: write one credit or more")
    return micro


def minor_units(value: object) -> Decimal:
    """The price of one credit in minor units, as a decimal above zero."""
    if not isinstance(value, str) or not UNIT_PRICE.fullmatch(value) or not Decimal(value):
        raise ValueError(f'{value!s:.80} is not a price: write cents for one credit in quotes, such as "1" or "0.95"')
    return Decimal(value)


MaxCharge = Annotated[Cents, Field(gt=0, le=MOST)]
MonthlyCap = Annotated[Cents, Field(gt=0)]
CreditAmount = Annotated[UnsignedMicroCredits, BeforeValidator(micro_credits)]
SoldCredits = Annotated[UnsignedMicroCredits, BeforeValidator(sold_credits)]


class Plan(Frozen):
    """What a team subscribes to, and the included credits of each of its cycles.

    `version` grows where the credits change: whoever still reads an older file then moves no team back.
    """

    name: Label
    version: Annotated[int, Field(strict=True, ge=1)] = 1
    allowance_credits: CreditAmount
    notice_threshold_credits: CreditAmount
    top_ups: bool = True


class CatalogPack(Frozen):
    """Credits bought once, with their price in each currency."""

    name: Label
    credits: SoldCredits
    prices: Annotated[dict[Currency, Annotated[Cents, Field(gt=0)]], Field(min_length=1)]

    @model_validator(mode="after")
    def each_price_can_be_charged(self) -> Self:
        """Stripe's terms are met when the catalog is read, and not when somebody wants to buy."""
        for currency, price in self.prices.items():
            if (fault := not_taken(price, currency)) is not None:
                raise ValueError(f"prices.{currency}: {fault}")
        return self


class CatalogTopUpPrice(Frozen):
    """What automatic top-ups cost, and which amounts can be chosen.

    `max_charge` is the most that one of them charges; `monthly_cap` is what all of a month charge at most where the
    team's admins have not said. Both are minor units.
    """

    currency: Currency
    unit_price: Annotated[Decimal, BeforeValidator(minor_units)]
    min_credits: SoldCredits
    step: SoldCredits
    max_charge: MaxCharge
    monthly_cap: MonthlyCap

    @model_validator(mode="before")
    @classmethod
    def limits_that_nobody_wrote(cls, document: Any) -> Any:
        """500.00 at once and 2,000.00 a month, in whichever currency."""
        if not isinstance(document, Mapping) or not isinstance(document.get("currency"), str):
            return document
        unit = 10 ** digits_of(document["currency"])
        return {"max_charge": 500 * unit, "monthly_cap": 2_000 * unit, **document}

    @model_validator(mode="after")
    def the_smallest_amount_can_be_chosen_and_charged(self) -> Self:
        """Amounts are multiples of `step`, the smallest too, and Stripe takes what that costs."""
        if self.min_credits % self.step:
            raise ValueError("min_credits must be a multiple of step, or the smallest top-up could not be chosen")
        smallest = self.exactly(self.min_credits)
        if (fault := not_taken(smallest, self.currency)) is not None:
            raise ValueError(f"min_credits at unit_price can't be charged: {fault}")
        if smallest > self.max_charge:
            cost = format_money(smallest, self.currency)
            raise ValueError(
                f"max_charge is less than the smallest top-up, which costs {cost}: write more, in minor units"
            )
        if self.monthly_cap < self.max_charge:
            raise ValueError("monthly_cap must be at least max_charge, or the largest top-up could never be made")
        return self

    def exactly(self, micro: int) -> int:
        """What so many micro-credits cost, in minor units: rounded up once, and not yet to what Stripe takes."""
        exact = EXACT.divide(EXACT.multiply(self.unit_price, Decimal(micro)), Decimal(MICRO))
        return int(exact.to_integral_value(ROUND_CEILING, EXACT))


class Adjustments(Frozen):
    """How many credits one person may move alone, of one team in one day: by grants, adjustments and corrections."""

    approval_above_credits: CreditAmount = 1_000 * MICRO


AttributeName = Annotated[str, StringConstraints(pattern=f"^{SHORT_CODE}$")]


class UsageTerms(Frozen):
    """What the log keeps of usage, besides what it is priced by: the attributes of these names.

    They are for analysts, and can't be erased: codes that a feature chooses from, and nothing that people write. Usage
    is counted by those in `count_by`, as it is by feature and member.
    """

    attributes: Annotated[tuple[AttributeName, ...], Field(max_length=LISTED_MAX)] = (
        "model", "resolution", "scale", "tier", "voice",
    )  # fmt: skip
    count_by: Annotated[tuple[AttributeName, ...], Field(max_length=COUNTED_MAX)] = ()


class Catalog(Frozen):
    """Everything that is sold. Plans are in order, from the smallest to the largest."""

    plans: Annotated[dict[Slug, Plan], Field(min_length=1)]
    packs: Annotated[dict[Slug, CatalogPack], Field(min_length=1)]
    top_up: CatalogTopUpPrice
    adjustments: Adjustments = Adjustments()
    rate_card: RateCard
    usage: UsageTerms = UsageTerms()

    @model_validator(mode="after")
    def what_it_names_is_there(self) -> Self:
        """Rates require plans that exist, packs have prices in the currency of top-ups, what is counted is kept."""
        currency, sold = self.top_up.currency, ", ".join(self.plans)
        for name, pack in self.packs.items():
            if currency not in pack.prices:
                raise ValueError(
                    f"packs.{name}.prices lacks {currency}, the currency of top_up: add {currency} = <cents>"
                )
        for feature, plan in required_plans(self.rate_card):
            if plan not in self.plans:
                raise ValueError(f"rate_card: {feature} requires plan {plan!r}, which is not sold: write one of {sold}")
        kept = {*self.usage.attributes, *priced_attributes(self.rate_card)}
        if lost := [name for name in self.usage.count_by if name not in kept]:
            raise ValueError(
                f"usage.count_by: the log does not keep {', '.join(lost)}: add them to usage.attributes, or take them out"
            )
        return self

    def plan_includes(self, plan: str, needed: str | None) -> bool:
        """True if a team with `plan` has what `needed` gives: the same plan, or a larger one."""
        if needed is None or plan == needed:
            return True
        order = list(self.plans)
        return plan in order and needed in order and order.index(plan) > order.index(needed)

    def may_top_up(self, plan: str) -> bool:
        """False for a plan that is sold without automatic top-ups.

        A plan that is no longer sold may always have them: the catalog does not remember what it said.
        """
        return plan not in self.plans or self.plans[plan].top_ups

    def top_up_charge_cents(self, micro: MicroCredits) -> int:
        """What a top-up of so many micro-credits costs, in minor units of `top_up.currency`.

        Rounded up, once, on the whole charge, to an amount that Stripe takes.
        """
        return rounded_up(self.top_up.exactly(micro), self.top_up.currency)


def required_plans(card: RateCard) -> Iterator[tuple[str, str]]:
    """Each feature that requires a plan, with the plan."""
    for feature in (feature for category in card.categories for feature in category.features):
        for requires in (feature.requires, *(rate.requires for rate in feature.rates)):
            if requires and requires.plan:
                yield feature.feature, requires.plan


def priced_attributes(card: RateCard) -> set[str]:
    """The names of attributes that rates are told apart by."""
    features = (feature for category in card.categories for feature in category.features)
    return {name for feature in features for rate in feature.rates for name in rate.attributes}


def load_catalog(path: Path | None = None) -> Catalog:
    """The catalog of a file, or the default one.

    Raises:
        CatalogInvalid: it can't be read, is not TOML, or has a key that is missing, unknown or wrong; names each.
    """
    file = str(path or "of the package")
    try:
        text = (path or resources.files(__package__).joinpath("catalog.toml")).read_text(encoding="utf-8")
        # Decimals, so that an unquoted 0.1 is shown in the error as it was written.
        document = tomllib.loads(text, parse_float=Decimal)
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogInvalid(file, [f"it can't be read: {error}"]) from error
    except tomllib.TOMLDecodeError as error:
        raise CatalogInvalid(file, [f"it is not TOML: {error}"]) from error
    try:
        return Catalog.model_validate(first_card_numbered(document))
    except ValidationError as error:
        raise CatalogInvalid(file, problems_of(document, error)) from error


def first_card_numbered(document: Mapping[str, Any]) -> dict[str, Any]:
    """The card of a catalog is always version 1, so the file need not say so."""
    card = document.get("rate_card")
    return {**document, "rate_card": {"version": 1, **card}} if isinstance(card, Mapping) else dict(document)
