"""`creditwell rate-card …`: cards in files, before anybody publishes them. No database is asked."""

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.showing import AsJson, parse_instant, print_json
from services.runtime.clock import system_clock
from services.runtime.settings_loading import exit_used_wrongly

if TYPE_CHECKING:
    from schemas.rates import RateCard

app = typer.Typer(help="Rate cards in files, before anybody publishes them.", no_args_is_help=True)


@app.callback()
def rate_card() -> None:
    """Rate cards in files, before anybody publishes them."""


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="CARD.toml", help="The card: its own file, or a catalog with one.")],
    *,
    version: Annotated[int, typer.Option(min=1, help="The number that it shall have; the next one is published.")] = 1,
    as_json: AsJson = False,
) -> None:
    """What is wrong with a card, by its place. With `--json` the card as `POST /v1/rate-cards` takes it.

    Example: creditwell rate-card check card.toml
    """
    card = read_card(file, version)
    if as_json:
        print_json(card.model_dump(mode="json"))
        return
    features = [feature for category in card.categories for feature in category.features]
    rates = sum(len(feature.rates) for feature in features)
    print(f"{file}: {len(features):,} features with {rates:,} rates, in force from {card.effective_from.isoformat()}")


@app.command()
def seed(
    models: Annotated[Path, typer.Option(help="What models cost: LiteLLM's published list, a file of JSON.")],
    *,
    credit: Annotated[str, typer.Option(help="What one credit is worth, in the money of the list: 0.01.")],
    margin: Annotated[str, typer.Option(help="Per cent on top of what a model costs.")] = "0",
    provider: Annotated[list[str] | None, typer.Option(help="Models of this provider alone; may be repeated.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Models of this name alone: gpt-5*; may be repeated.")] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="From when it shall be in force; tomorrow unless told.")
    ] = None,
) -> None:
    """A card to start from, as TOML on standard output, made from a list of what models cost. Nothing is fetched.

    Each model is a rate of the feature `ai_model.answer` or `ai_model.embed`, with a price for each kind of token.
    Look it through, give it to `simulate rate-card`, then publish it.

    Example: creditwell rate-card seed --models models.json --margin 30 --credit 0.01
    """
    from schemas.pricing.seeding import ModelsUnusable, SeedTerms, card_of, parse_models, rates_of
    from schemas.rates import RateCardInvalid, parse_rate_card

    terms = SeedTerms(_decimal(margin, "--margin", at_least=Decimal(-100)), _decimal(credit, "--credit"))
    tomorrow = datetime.combine(system_clock().date() + timedelta(days=1), time(), UTC)
    effective_from = parse_instant(since, "--from") or tomorrow
    try:
        listed = parse_models(models.read_text("utf-8"))
        text = card_of(rates_of(listed, terms, providers=provider or (), patterns=model or ()), terms, effective_from)
        parse_rate_card({"version": 1, **tomllib.loads(text)})  # what we write, we take
    except (OSError, UnicodeDecodeError) as error:
        exit_used_wrongly(f"{models} can't be read: {error}.")
    except ModelsUnusable as unusable:
        exit_used_wrongly(f"{models}: {unusable}.")
    except RateCardInvalid as invalid:
        exit_used_wrongly(*(f"the card would be wrong: {problem}" for problem in invalid.problems))
    print(text, end="")


def _decimal(text: str, option: str, at_least: Decimal | None = None) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("nan")
    if (
        not number.is_finite()
        or abs(number.adjusted()) > 9
        or number < (at_least or 0)
        or (at_least is None and not number)
    ):
        exit_used_wrongly(f"{option} {text!r:.40}: write a plain number such as 30 or 0.01.")
    return number


def read_card(file: Path, version: int = 1) -> "RateCard":
    """The card of a file, or of a catalog in one; ends the process where there is none or it is wrong."""
    from schemas.rates import RateCardInvalid, parse_rate_card

    try:
        document = tomllib.loads(file.read_text("utf-8"), parse_float=Decimal)
        card = document.get("rate_card", document)
        return parse_rate_card({"version": version, **card} if isinstance(card, Mapping) else card)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        exit_used_wrongly(f"{file} can't be read: {error}.")
    except RateCardInvalid as invalid:
        exit_used_wrongly(*(f"{file} is wrong: {problem}" for problem in invalid.problems))
