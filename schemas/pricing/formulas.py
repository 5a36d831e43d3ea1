"""How a price came about, in words, for the one who asks why. Nothing is rounded here but what an entry is."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from ..credits import EXACT, MICRO, MicroCredits, format_credits
from ..rates import Feature, Per, Rate
from .cards import CompiledCard


@dataclass(frozen=True, slots=True)
class Priced:
    """How a price came about, for the one who asks why."""

    rate_card: int
    feature: str
    name: str
    category: str
    per: Per
    unit: str | None
    quantity: str | None
    rate_attributes: Mapping[str, str]
    rate_credits: str | None
    for_units: int
    credits: MicroCredits
    formula: str
    components: tuple["PricedQuantity", ...] = ()


@dataclass(frozen=True, slots=True)
class PricedQuantity:
    """One of several quantities: what it costs exactly, before the one rounding of the entry."""

    name: str
    quantity: str
    used: str
    rate_credits: str
    credits: Decimal
    formula: str


def explain_price(
    card: CompiledCard,
    feature: str,
    quantity: str | None,
    quantities: Mapping[str, str] | None,
    attributes: Mapping[str, str] | None,
) -> Priced:
    """The price of a usage with everything that it follows from; of several quantities, each with a formula of its own.

    Raises as `CompiledCard.price` does.
    """
    micro = card.price_used(feature, quantity, quantities, attributes)
    compiled = card.find(feature)
    rate, of = compiled.rate_for(attributes), compiled.feature
    components = _components(of, rate, quantities or {})
    if quantities is None:
        one, several = of.units
        each = _each(rate.credits or "0", of.for_units, several)
        formula = f"{quantity} {one if quantity == '1' else several} × {each}"
    else:
        formula = " + ".join(component.formula for component in components)
    return Priced(
        rate_card=card.version,
        feature=feature,
        name=of.name,
        category=compiled.category.id,
        per=of.per,
        unit=of.unit,
        quantity=quantity,
        rate_attributes=rate.attributes,
        rate_credits=rate.credits,
        for_units=of.for_units,
        credits=micro,
        formula=f"{formula} = {_in_credits(micro)}",
        components=components,
    )


def _in_credits(micro: MicroCredits) -> str:
    return f"{format_credits(micro)} {'credit' if micro == MICRO else 'credits'}"


def _each(credits: str, for_units: int, several: str) -> str:
    """What one unit costs in a formula, or so many of them."""
    return credits if for_units == 1 else f"{credits} per {for_units:,} {several}"


def _components(feature: Feature, rate: Rate, quantities: Mapping[str, str]) -> tuple[PricedQuantity, ...]:
    """Each quantity that was used, in the order of the card."""
    components = []
    for name, credits in (rate.credits_by_quantity or {}).items():
        if name in quantities:
            quantity = quantities[name]
            product = EXACT.multiply(Decimal(quantity), Decimal(credits))
            exact = EXACT.normalize(EXACT.divide(product, Decimal(feature.for_units)))
            each = credits if feature.for_units == 1 else f"{credits} per {feature.for_units:,}"
            used = f"{quantity} {words_of(name, quantity)}"
            components.append(PricedQuantity(name, quantity, used, credits, exact, f"{used} × {each}"))
    return tuple(components)


def words_of(name: str, quantity: str) -> str:
    """What people call a quantity: `input_token` is 1 input token, and 2 input tokens."""
    words = name.replace("_", " ")
    return words if quantity == "1" else f"{words}es" if words.endswith(("s", "x", "ch", "sh")) else f"{words}s"
