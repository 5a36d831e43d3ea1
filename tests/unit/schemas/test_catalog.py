"""The catalog says what is sold; a mistake in it is answered by the key to change."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from schemas.catalog import Catalog, CatalogInvalid, CatalogTopUpPrice, load_catalog
from schemas.credits import MICRO
from schemas.pricing import CompiledCard
from schemas.rates import Requires

DEFAULT = Path(__file__).parents[3].joinpath("schemas", "catalog.toml").read_text(encoding="utf-8")


@pytest.fixture
def catalog() -> Catalog:
    return load_catalog()


def changed(tmp_path: Path, old: str, new: str) -> Path:
    assert old in DEFAULT
    file = tmp_path / "catalog.toml"
    file.write_text(DEFAULT.replace(old, new, 1), encoding="utf-8")
    return file


def test_the_four_packs_are_those_that_customers_read_about(catalog: Catalog) -> None:
    assert [(name, pack.name, pack.credits // MICRO) for name, pack in catalog.packs.items()] == [
        ("mini", "Mini", 2_000),
        ("standard", "Standard", 5_000),
        ("large", "Large", 10_000),
        ("bulk", "Bulk", 25_000),
    ]
    assert all(catalog.top_up.currency in pack.prices for pack in catalog.packs.values())


def test_the_rate_card_has_the_six_categories_that_customers_read_about(catalog: Catalog) -> None:
    assert [category.name for category in catalog.rate_card.categories] == [
        "Video export",
        "AI video generation",
        "AI image generation",
        "AI audio",
        "AI effects",
        "Storage",
    ]
    units = {feature.per for category in catalog.rate_card.categories for feature in category.features}
    assert units == {"use", "second", "character", "gb_day"}


def test_exactly_the_features_that_customers_read_about_need_top_ups(catalog: Catalog) -> None:
    card = CompiledCard(catalog.rate_card)
    needing = {
        (name, tuple(rate.attributes.items()))
        for name, compiled in card.features.items()
        for rate in compiled.feature.rates
        if card.requirements(name, rate.attributes).top_ups
    }

    assert needing == {
        ("ai_video.generate", (("tier", "low"),)),
        ("ai_video.generate", (("tier", "standard"),)),
        ("ai_video.generate", (("tier", "high"),)),
        ("ai_video.generate", (("tier", "high"), ("model", "cinema"))),
        ("ai_image.generate", (("tier", "high"),)),
        ("ai_effects.remove_video_background", ()),
        ("ai_effects.website_scan", ()),
        ("storage.flexible", ()),
    }


def test_only_high_quality_images_need_pro(catalog: Catalog) -> None:
    card = CompiledCard(catalog.rate_card)
    needing = {
        (name, tuple(rate.attributes.values()))
        for name, compiled in card.features.items()
        for rate in compiled.feature.rates
        if card.requirements(name, rate.attributes).plan
    }

    assert needing == {("ai_image.generate", ("high",))}
    assert card.requirements("ai_image.generate", {"tier": "high"}) == Requires(top_ups=True, plan="pro")


def test_image_tiers_cost_more_the_better_they_are(catalog: Catalog) -> None:
    card = CompiledCard(catalog.rate_card)
    low, standard, high = (
        card.price("ai_image.generate", Decimal(1), {"tier": tier}) for tier in ("low", "standard", "high")
    )

    assert 0 < low < standard < high


def test_every_plan_includes_credits_and_larger_plans_include_smaller_ones(catalog: Catalog) -> None:
    assert list(catalog.plans) == ["free", "pro"]
    assert all(plan.allowance_credits > plan.notice_threshold_credits > 0 for plan in catalog.plans.values())
    assert [
        catalog.plan_includes(*pair)
        for pair in (("pro", "free"), ("pro", "pro"), ("free", None), ("free", "pro"), ("gone", "free"))
    ] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_money_is_rounded_up_once_on_the_whole_charge(tmp_path: Path) -> None:
    catalog = load_catalog(changed(tmp_path, 'unit_price = "1"', 'unit_price = "0.333"'))

    assert catalog.top_up_charge_cents(1_000 * MICRO) == 333
    assert catalog.top_up_charge_cents(1_001 * MICRO) == 334  # 333.333
    assert catalog.top_up_charge_cents(1) == 1
    assert catalog.top_up_charge_cents(0) == 0


@pytest.mark.parametrize(
    ("currency", "unit_price", "min_credits", "complaint"),
    [
        ("kwd", "1.234", 500, "can't be charged: 0.617 KWD is nothing that Stripe takes: write a multiple of 10"),
        ("usd", "0.05", 500, "can't be charged: 0.25 USD is less than Stripe takes: 0.50 USD at least"),
        ("jpy", "0.07", 500, "can't be charged: 35 JPY is less than Stripe takes: 50 JPY at least"),
        ("isk", "0.5", 500, "can't be charged: 2.50 ISK is nothing that Stripe takes: write a multiple of 100"),
        ("zzz", "1", 500, "can't be charged: zzz is no currency that Stripe takes"),
        ("usd", "150", 500, "max_charge is less than the smallest top-up, which costs 750.00 USD"),
    ],
)
def test_what_stripe_would_refuse_at_the_charge_is_refused_when_the_catalog_is_read(
    currency: str, unit_price: str, min_credits: int, complaint: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        CatalogTopUpPrice.model_validate(
            {"currency": currency, "unit_price": unit_price, "min_credits": min_credits, "step": 100}
        )

    assert complaint in str(refused.value)


@pytest.mark.parametrize(
    ("price", "complaint"),
    [
        ("usd = 49", "0.49 USD is less"),
        ("usd = 2_000, kwd = 6_171", "6.171 KWD is nothing"),
        ("usd = 2_000, zzz = 9", "zzz is no"),
    ],
)
def test_a_pack_that_stripe_would_refuse_is_refused_when_the_catalog_is_read(
    price: str, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(CatalogInvalid, match=f"packs.mini: prices.*{complaint}"):
        load_catalog(changed(tmp_path, "usd = 2_000, eur", f"{price}, eur"))


@pytest.mark.parametrize(
    ("currency", "unit_price", "credits", "cents"),
    [("kwd", "1.24", 600, 750), ("kwd", "1.24", 500, 620), ("isk", "10.1", 600, 6_100), ("jpy", "0.333", 601, 201)],
)
def test_a_charge_is_rounded_up_to_what_stripe_takes(
    currency: str, unit_price: str, credits: int, cents: int, catalog: Catalog
) -> None:
    price = CatalogTopUpPrice.model_validate(
        {"currency": currency, "unit_price": unit_price, "min_credits": 1_000, "step": 100}
    )
    assert catalog.model_copy(update={"top_up": price}).top_up_charge_cents(credits * MICRO) == cents


def test_limits_that_nobody_wrote_are_500_at_once_and_2000_a_month_in_any_currency(tmp_path: Path) -> None:
    for currency, unit, price in (("usd", 100, "1"), ("jpy", 1, "1"), ("kwd", 1_000, "1")):
        told = {"currency": currency, "unit_price": price, "min_credits": 500, "step": 100}
        found = CatalogTopUpPrice.model_validate(told)
        assert (found.max_charge, found.monthly_cap) == (500 * unit, 2_000 * unit)
    with pytest.raises(CatalogInvalid, match="monthly_cap must be at least max_charge"):
        load_catalog(changed(tmp_path, "monthly_cap = 200_000", "monthly_cap = 49_999"))


def test_credits_may_be_written_as_a_whole_number_or_a_decimal_in_quotes(tmp_path: Path) -> None:
    assert (
        load_catalog(changed(tmp_path, "allowance_credits = 300 ", 'allowance_credits = "300.25" '))
        .plans["free"]
        .allowance_credits
        == 300_250_000
    )


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "allowance_credits = 300 ",
            "allowance_credits = 1.5 ",
            "plans.free.allowance_credits: 1.5 is not an amount of credits",
        ),
        ("allowance_credits = 300 ", "allowance_credits = -3 ", "plans.free.allowance_credits: -3 is negative"),
        (
            "allowance_credits = 300 ",
            "allowance_credits = true ",
            "plans.free.allowance_credits: True is not an amount",
        ),
        ('name = "Free"\n', "", "plans.free.name: is missing"),
        ("[plans.free]", "[plans.Free]", "plans.Free: 'Free' does not match"),
        ("credits = 2_000\n", "credits = 0\n", "packs.mini.credits: 0 is too little to sell"),
        ("usd = 2_000", "usd = 20.00", "packs.mini.prices.usd: "),
        ("usd = 2_000", "usd = 0", "packs.mini.prices.usd: "),
        ("usd = 2_000", "dollars = 2_000", "packs.mini.prices.dollars: 'dollars' does not match"),
        ("usd = 2_000, ", "", "packs.mini.prices lacks usd, the currency of top_up: add usd = <cents>"),
        ("[top_up]", "[topup]", "topup: is not a key that is known here"),
        (
            'unit_price = "1"',
            "unit_price = 1.5",
            'top_up.unit_price: 1.5 is not a price: write cents for one credit in quotes, such as "1"',
        ),
        ('unit_price = "1"', 'unit_price = "0"', "top_up.unit_price: 0 is not a price"),
        ("step = 100", "step = 300", "top_up: min_credits must be a multiple of step"),
        (
            "effective_from = 2025-01-01T00:00:00Z",
            "effective_from = 2025-01-01",
            "rate_card.effective_from: 2025-01-01 is not an instant",
        ),
        (
            'credits = "0.1"',
            "credits = 0.1",
            "rate_card.categories[video_export].features[video_export.render].rates[1].credits: 0.1 is not in quotes",
        ),
        (
            'per = "second"',
            'per = "minute"',
            "features[video_export.render].per: 'minute' is not known: write one of 'use', 'second'",
        ),
        (
            'plan = "pro"',
            'plan = "gold"',
            "ai_image.generate requires plan 'gold', which is not sold: write one of free, pro",
        ),
        ("[plans.free]", "[plans.free", "it is not TOML: "),
    ],
)
def test_a_mistake_is_answered_by_its_key_and_what_to_write(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    file = changed(tmp_path, old, new)

    with pytest.raises(CatalogInvalid) as refused:
        load_catalog(file)

    assert complaint in "\n".join(refused.value.problems)
    assert str(file) in str(refused.value)


def test_a_catalog_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogInvalid, match=r"nowhere\.toml can't be used:\n  it can't be read"):
        load_catalog(tmp_path / "nowhere.toml")

    (tmp_path / "latin.toml").write_bytes(b'name = "caf\xe9"')
    with pytest.raises(CatalogInvalid, match="it can't be read"):
        load_catalog(tmp_path / "latin.toml")


def test_the_first_rate_card_is_version_1_and_fits_into_a_fact(catalog: Catalog) -> None:
    assert catalog.rate_card.version == 1
    assert json.loads(catalog.rate_card.model_dump_json())["effective_from"] == "2025-01-01T00:00:00Z"


@pytest.mark.parametrize("names", ['["two words"]', '[""]', '"tier"', "[1]"])
def test_what_the_log_keeps_of_usage_is_a_list_of_names(names: str, tmp_path: Path) -> None:
    listed = 'attributes = ["model", "resolution", "scale", "tier", "voice"]'

    with pytest.raises(CatalogInvalid, match=r"usage\.attributes"):
        load_catalog(changed(tmp_path, listed, f"attributes = {names}"))


def test_usage_is_counted_by_attributes_that_the_log_keeps(tmp_path: Path) -> None:
    listed = '"tier", "voice"]'

    counted = load_catalog(changed(tmp_path, listed, f'{listed}\ncount_by = ["tier"]')).usage.count_by

    assert counted == ("tier",)
    assert load_catalog().usage.count_by == ()
    with pytest.raises(CatalogInvalid, match=r"the log does not keep agent: add them to usage\.attributes"):
        load_catalog(changed(tmp_path, listed, f'{listed}\ncount_by = ["tier", "agent"]'))


def test_a_catalog_that_lists_no_attributes_keeps_what_emitters_send(tmp_path: Path) -> None:
    listed = '[usage]\nattributes = ["model", "resolution", "scale", "tier", "voice"]\n'

    assert load_catalog(changed(tmp_path, listed, "")).usage == load_catalog().usage
