"""Every token that a provider counted lands in one quantity, whatever the card has prices for."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.client.creditwell_client.metering import UnreadableUsage, anthropic_quantities, openai_quantities
from deploy.client.creditwell_client.metering.counts import PRICED, WHOLES
from schemas.pricing.seeding import QUANTITIES

counts = st.integers(0, 10**6)
some_priced = st.sets(st.sampled_from(sorted(WHOLES))).map(lambda parts: {"input_token", "output_token"} | parts)


@given(*[counts] * 7, some_priced)
def test_openais_tokens_are_neither_added_twice_nor_dropped_even_where_parts_overlap(
    taken_in: int, given_out: int, cached: int, written: int, heard: int, reasoning: int, spoken: int, priced: set[str]
) -> None:
    usage = {
        "input_tokens": taken_in,
        "output_tokens": given_out,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written, "audio_tokens": heard},
        "output_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": spoken},
    }

    quantities = openai_quantities(usage, priced=priced)

    assert sum(quantities.values()) == taken_in + given_out
    assert all(count > 0 for count in quantities.values())
    assert quantities.keys() <= priced


@given(*[counts] * 6, some_priced)
def test_anthropics_cache_is_beside_its_input_and_its_thinking_within_its_output(
    taken_in: int, given_out: int, read: int, written: int, for_an_hour: int, thinking: int, priced: set[str]
) -> None:
    usage = {
        "input_tokens": taken_in,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "cache_creation": {"ephemeral_1h_input_tokens": for_an_hour},
        "output_tokens": given_out,
        "output_tokens_details": {"thinking_tokens": thinking},
    }

    quantities = anthropic_quantities(usage, priced=priced)

    assert sum(quantities.values()) == taken_in + read + written + given_out
    assert quantities.keys() <= priced


def test_a_part_without_a_price_counts_as_what_contains_it() -> None:
    usage = {
        "prompt_tokens": 2600,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 2000, "cache_write_tokens": 400},
        "completion_tokens_details": {"reasoning_tokens": 20},
    }

    assert openai_quantities(usage, priced={"input_token", "output_token"}) == {"input_token": 2600, "output_token": 50}
    assert openai_quantities(usage, priced={*PRICED, "reasoning_token"}) == {
        "input_token": 200, "cached_input_token": 2000, "cache_write_token": 400, "output_token": 30, "reasoning_token": 20
    }  # fmt: skip


def test_an_hour_of_cache_has_a_quantity_of_its_own_where_the_card_prices_it() -> None:
    usage = {
        "input_tokens": 5, "output_tokens": 7,
        "cache_creation_input_tokens": 248, "cache_creation": {"ephemeral_1h_input_tokens": 100},
    }  # fmt: skip

    assert anthropic_quantities(usage, priced={*PRICED, "cache_write_1h_token"}) == {
        "input_token": 5, "cache_write_token": 148, "cache_write_1h_token": 100, "output_token": 7
    }  # fmt: skip


def test_quantities_are_named_as_a_seeded_card_names_them() -> None:
    assert PRICED | {"reasoning_token"} == set(QUANTITIES.values())


@pytest.mark.parametrize("count", [-1, 1.5, "12", True], ids=repr)
def test_what_is_no_count_is_told_and_never_taken_for_nothing(count: Any) -> None:
    with pytest.raises(UnreadableUsage, match="prompt_tokens"):
        openai_quantities({"prompt_tokens": count})


def test_the_usage_of_a_providers_library_may_be_given_as_it_is() -> None:
    usage = SimpleNamespace(model_dump=lambda: {"prompt_tokens": 8, "prompt_tokens_details": None})

    assert openai_quantities(usage) == {"input_token": 8}
