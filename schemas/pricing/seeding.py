"""A rate card to start from, made of a published list of what models cost: LiteLLM's `model_prices` format.

Pure: who has the list gives it, nothing is fetched. Prices there are money for one token; a rate is credits for a
million, with a margin on top, worked out in whole fractions. What has more than nine places is rounded up, and said.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any

from ..instants import instant
from ..rates import FEATURE_RATES_MAX

MILLION = 1_000_000
PLACES = 10**9
QUANTITIES = {  # the list's name of a price, and what the card calls the quantity
    "input_cost_per_token": "input_token",
    "cache_read_input_token_cost": "cached_input_token",
    "cache_creation_input_token_cost": "cache_write_token",
    "input_cost_per_audio_token": "input_audio_token",
    "output_cost_per_token": "output_token",
    "output_cost_per_reasoning_token": "reasoning_token",
    "output_cost_per_audio_token": "output_audio_token",
}
FEATURES = {  # by the list's mode of a model
    "chat": ("ai_model.answer", "Model answer"),
    "completion": ("ai_model.answer", "Model answer"),
    "responses": ("ai_model.answer", "Model answer"),
    "embedding": ("ai_model.embed", "Embedding"),
}


class ModelsUnusable(Exception):
    """No card can be made of a list; the message says why, and what to write instead."""


@dataclass(frozen=True, slots=True)
class SeedTerms:
    """How money becomes credits: a margin in percent, and what one credit is worth in the money of the list."""

    margin: Decimal
    credit: Decimal

    def credits_for_a_million(self, cost: Decimal) -> tuple[str, bool]:
        """The credits for a million tokens that cost so much each, and whether they were rounded up."""
        exact = Fraction(cost) * MILLION * (1 + Fraction(self.margin) / 100) / Fraction(self.credit)
        billionths = -(-exact.numerator * PLACES // exact.denominator)
        whole, part = divmod(billionths, PLACES)
        text = f"{whole}.{part:09d}".rstrip("0").rstrip(".") if part else str(whole)
        return text, Fraction(billionths, PLACES) != exact


@dataclass(frozen=True, slots=True)
class ModelRate:
    """What one model costs: money for a million tokens as the list has it, and credits."""

    model: str
    feature: str
    costs: Mapping[str, Decimal]
    credits: Mapping[str, str]
    is_rounded: bool


def parse_models(text: str) -> dict[str, Any]:
    """The list, its numbers as they were written.

    Raises:
        ModelsUnusable: it is not JSON, or not an object of objects.
    """
    try:
        models = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except (ValueError, RecursionError) as error:
        raise ModelsUnusable(f"it is not JSON: {error}") from error
    if not isinstance(models, dict) or not all(isinstance(about, dict) for about in models.values()):
        raise ModelsUnusable("it is not an object with one object for each model, as LiteLLM publishes it")
    return models


def rates_of(
    models: Mapping[str, Any], terms: SeedTerms, *, providers: Sequence[str] = (), patterns: Sequence[str] = ()
) -> list[ModelRate]:
    """A rate for each model that answers or embeds and has a price, in the order of their names.

    Raises:
        ModelsUnusable: none is left, or more than a feature may have.
    """
    rates = [
        rate
        for model, about in sorted(models.items())
        if (not providers or about.get("litellm_provider") in providers)
        and (not patterns or any(fnmatchcase(model, pattern) for pattern in patterns))
        and (rate := _rate(model, about, terms)) is not None
    ]
    for feature in {rate.feature for rate in rates}:
        if (count := sum(rate.feature == feature for rate in rates)) > FEATURE_RATES_MAX:
            raise ModelsUnusable(
                f"{count} models are more than one feature may have, {FEATURE_RATES_MAX}: name providers or models"
            )
    if not rates:
        raise ModelsUnusable("no model of it answers or embeds, has a price for a token and was asked for")
    return rates


def _rate(model: str, about: Mapping[str, Any], terms: SeedTerms) -> ModelRate | None:
    feature = FEATURES.get(str(about.get("mode")))
    costs = {
        name: cost
        for key, name in QUANTITIES.items()
        if isinstance(cost := about.get(key), Decimal) and cost.is_finite() and cost >= 0
    }
    if feature is None or not any(costs.values()) or not 0 < len(model) <= 128 or not model.isprintable():
        return None
    credits = {name: terms.credits_for_a_million(cost) for name, cost in costs.items()}
    return ModelRate(
        model, feature[0], {name: cost * MILLION for name, cost in costs.items()},
        {name: text for name, (text, _) in credits.items()}, any(rounded for _, rounded in credits.values()),
    )  # fmt: skip


def card_of(rates: Iterable[ModelRate], terms: SeedTerms, effective_from: datetime) -> str:
    """The card as TOML, for a person to look through."""
    rates = list(rates)
    return "\n".join((*_head(terms, effective_from), *_features(rates), ""))


def _head(terms: SeedTerms, effective_from: datetime) -> Iterator[str]:
    yield f"# Made by creditwell rate-card seed: the list's prices and {terms.margin:f} % on top, one credit for {terms.credit:f}."
    yield "# Behind each rate stands what the list asks for a million tokens. Look them through: a list may be old or wrong."
    yield f"effective_from = {instant(effective_from)}"
    yield ""
    yield "[[categories]]"
    yield 'id = "ai_models"'
    yield 'name = "AI models"'


def _features(rates: Sequence[ModelRate]) -> Iterator[str]:
    for feature, name in dict.fromkeys(FEATURES.values()):
        if mine := [rate for rate in rates if rate.feature == feature]:
            yield ""
            yield "[[categories.features]]"
            yield f'feature = "{feature}"'
            yield f'name = "{name}"'
            yield 'per = "token"'
            yield f"for_units = {MILLION:_}"
            yield "rates = ["
            yield from map(_line, mine)
            yield "]"


def _line(rate: ModelRate) -> str:
    prices = ", ".join(f'{name} = "{credits}"' for name, credits in rate.credits.items())
    costs = ", ".join(f"{cost.normalize():f}" for cost in rate.costs.values())
    rounded = "; rounded up" if rate.is_rounded else ""
    # JSON's way of writing a text is one of TOML's.
    model = json.dumps(rate.model, ensure_ascii=False)
    return f"  {{ attributes = {{ model = {model} }}, credits_by_quantity = {{ {prices} }} }}, # {costs}{rounded}"
