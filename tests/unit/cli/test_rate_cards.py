"""`creditwell rate-card`: a card to start from, made of what models cost, exact to the last digit."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from schemas.pricing import CompiledCard
from schemas.pricing.seeding import SeedTerms
from schemas.rates import parse_rate_card
from services.cli import app

MODELS = Path(__file__).with_name("models.json")
TERMS = ("--margin", "30", "--credit", "0.01", "--from", "2027-01-01T00:00:00Z")
CARD = """\
# Made by creditwell rate-card seed: the list's prices and 30 % on top, one credit for 0.01.
# Behind each rate stands what the list asks for a million tokens. Look them through: a list may be old or wrong.
effective_from = 2027-01-01T00:00:00.000000Z

[[categories]]
id = "ai_models"
name = "AI models"

[[categories.features]]
feature = "ai_model.answer"
name = "Model answer"
per = "token"
for_units = 1_000_000
rates = [
  { attributes = { model = "gpt-5" }, credits_by_quantity = { input_token = "162.5", cached_input_token = "16.25", output_token = "1300" } }, # 1.25, 0.125, 10
  { attributes = { model = "gpt-5-nano" }, credits_by_quantity = { input_token = "6.5", cached_input_token = "0.65", output_token = "52" } }, # 0.05, 0.005, 0.4
]

[[categories.features]]
feature = "ai_model.embed"
name = "Embedding"
per = "token"
for_units = 1_000_000
rates = [
  { attributes = { model = "text-embedding-3-small" }, credits_by_quantity = { input_token = "2.6", output_token = "0" } }, # 0.02, 0
]
"""


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["rate-card", *arguments])


def seed(*arguments: str, models: Path = MODELS) -> Result:
    return run("seed", "--models", str(models), *TERMS, *arguments)


def test_a_card_is_made_of_a_list_of_models_for_a_person_to_look_through() -> None:
    assert seed("--model", "gpt-5*", "--model", "text-*").stdout == CARD


def test_what_is_made_is_a_card_that_prices_calls_and_can_be_published(tmp_path: Path) -> None:
    file = tmp_path / "card.toml"
    file.write_text(seed().stdout)

    assert "2 features with 5 rates" in run("check", str(file)).stdout
    card = CompiledCard(parse_rate_card(json.loads(run("check", str(file), "--json", "--version", "2").stdout)))
    used = {"input_token": "1000", "cached_input_token": "2000", "cache_write_token": "100", "output_token": "500"}
    # 0.003 + 0.0006 + 0.000375 + 0.0075 of money, 30 % on top, a hundred credits for one.
    assert card.price_quantities("ai_model.answer", used, {"model": "claude-sonnet-4-5"}) == 1_491_750
    assert card.version == 2


def test_models_of_a_provider_alone_are_taken() -> None:
    card = seed("--provider", "anthropic").stdout

    assert ('model = "claude-sonnet-4-5"' in card, "gpt-5" in card) == (True, False)


@given(
    st.decimals(Decimal("1e-12"), Decimal("0.01"), places=12), st.integers(0, 500),
    st.sampled_from(["0.01", "0.1", "1", "0.03", "7"]),
)  # fmt: skip
def test_a_rate_is_the_cost_with_its_margin_and_what_does_not_fit_is_rounded_up(
    cost: Decimal, margin: int, credit: str
) -> None:
    text, is_rounded = SeedTerms(Decimal(margin), Decimal(credit)).credits_for_a_million(cost)
    money, right = Decimal(text) * Decimal(credit) * 100, cost * 1_000_000 * (100 + margin)

    assert (money > right) is is_rounded
    assert 0 <= money - right < Decimal("1e-9") * Decimal(credit) * 100


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        ("{", (), "it is not JSON"),
        ("[]", (), "it is not an object with one object for each model"),
        ("{}", (), "no model of it answers or embeds"),
        ('{"m": {"mode": "chat", "input_cost_per_token": "0.1"}}', (), "no model of it answers or embeds"),
        ('{"m": {"mode": "chat", "input_cost_per_token": 1e9}}', (), "is not a rate"),
        (None, ("--model", "none*"), "no model of it answers or embeds"),
        (None, ("--margin", "much"), "--margin 'much': write a plain number"),
        (None, ("--credit", "0"), "--credit '0': write a plain number"),
    ],
)
def test_a_list_that_makes_no_card_is_refused_with_what_to_do(
    tmp_path: Path, content: str | None, arguments: tuple[str, ...], words: str
) -> None:
    models = MODELS
    if content is not None:
        models = tmp_path / "models.json"
        models.write_text(content)

    refused = seed(*arguments, models=models)

    assert refused.exit_code == 2
    assert words in " ".join(refused.stderr.split())


def test_more_models_than_a_feature_may_have_are_said(tmp_path: Path) -> None:
    models = tmp_path / "models.json"
    models.write_text(json.dumps({f"m{n}": {"mode": "chat", "input_cost_per_token": 1} for n in range(201)}))

    assert "201 models are more than one feature may have, 200: name providers or models" in seed(models=models).stderr


def test_a_card_that_is_wrong_is_named_by_its_place(tmp_path: Path) -> None:
    file = tmp_path / "card.toml"
    file.write_text(CARD.replace('"162.5"', "162.5"))

    refused = run("check", str(file))

    assert refused.exit_code == 2
    assert "input_token: 162.5 is not in quotes" in refused.stderr
