"""What each provider's counts mean, as quantities of which none contains another.

Two providers give the same three numbers and mean opposite things: OpenAI's input tokens contain those that were read
from a cache and those that were written to one, Anthropic's contain neither. Here every token lands in one quantity, so
the sum is what the provider counted, whatever the card has prices for.
"""

from collections.abc import Collection, Mapping
from typing import Any

WHOLES = {
    "cached_input_token": "input_token",
    "cache_write_token": "input_token",
    "cache_write_1h_token": "cache_write_token",
    "input_audio_token": "input_token",
    "reasoning_token": "output_token",
    "output_audio_token": "output_token",
}
"""A part, and what it counts as where the rate has no price for it."""

PRICED = frozenset(
    {
        "input_token", "cached_input_token", "cache_write_token", "input_audio_token",
        "output_token", "output_audio_token",
    }
)  # fmt: skip
"""The quantities that are counted unless told. Reasoning tokens are output: no large provider prices them apart."""


class UnreadableUsage(ValueError):
    """What should be a count is none."""


def openai_quantities(usage: Any, *, priced: Collection[str] = PRICED) -> dict[str, int]:
    """Of OpenAI's `usage`, of chat completions, responses or embeddings; also LiteLLM's, and of compatible servers.

    Input tokens contain cached ones, cache writes and audio; output tokens contain reasoning and audio. A server that
    counts reasoning beside its output tokens is known by its total.

    Raises:
        UnreadableUsage: a count is no whole number.
    """
    counts = _as_mapping(usage)
    taken_in = _count(counts, "prompt_tokens", "input_tokens")
    given_out = _count(counts, "completion_tokens", "output_tokens")
    details_in = _as_mapping(counts.get("prompt_tokens_details") or counts.get("input_tokens_details"))
    details_out = _as_mapping(counts.get("completion_tokens_details") or counts.get("output_tokens_details"))
    reasoning = _count(details_out, "reasoning_tokens")
    if reasoning and _count(counts, "total_tokens") == taken_in + given_out + reasoning:
        given_out += reasoning
    parts_in = {
        "cached_input_token": _count(details_in, "cached_tokens"),
        "cache_write_token": _count(details_in, "cache_write_tokens", "cache_creation_tokens"),
        "input_audio_token": _count(details_in, "audio_tokens"),
    }
    parts_out = {"reasoning_token": reasoning, "output_audio_token": _count(details_out, "audio_tokens")}
    return _priced(_parted("input_token", taken_in, parts_in) | _parted("output_token", given_out, parts_out), priced)


def anthropic_quantities(usage: Any, *, priced: Collection[str] = PRICED) -> dict[str, int]:
    """Of Anthropic's `usage`: input tokens exclude cache reads and cache writes, output tokens contain thinking.

    Raises:
        UnreadableUsage: a count is no whole number.
    """
    counts = _as_mapping(usage)
    by_life = _as_mapping(counts.get("cache_creation"))
    long_lived = {"cache_write_1h_token": _count(by_life, "ephemeral_1h_input_tokens")}
    thinking = {"reasoning_token": _count(_as_mapping(counts.get("output_tokens_details")), "thinking_tokens")}
    return _priced(
        {
            "input_token": _count(counts, "input_tokens"),
            "cached_input_token": _count(counts, "cache_read_input_tokens"),
            **_parted("cache_write_token", _count(counts, "cache_creation_input_tokens"), long_lived),
            **_parted("output_token", _count(counts, "output_tokens"), thinking),
        },
        priced,
    )


def _parted(whole: str, count: int, parts: Mapping[str, int]) -> dict[str, int]:
    """The whole without its parts, and the parts. Parts that overlap are counted once, the first first."""
    quantities, rest = {}, count
    for name, part in parts.items():
        quantities[name] = min(part, rest)
        rest -= quantities[name]
    return {whole: rest, **quantities}


def _priced(quantities: Mapping[str, int], priced: Collection[str]) -> dict[str, int]:
    """The same tokens under names that have a price; of nothing, nothing is said."""
    sums: dict[str, int] = {}
    for part, count in quantities.items():
        name = part
        while name not in priced and name in WHOLES:
            name = WHOLES[name]
        if count:
            sums[name] = sums.get(name, 0) + count
    return sums


def _as_mapping(value: Any) -> Mapping[str, Any]:
    """JSON, or an object of a provider's library as JSON."""
    if value is None:
        return {}
    dumped = value.model_dump() if hasattr(value, "model_dump") else value
    if not isinstance(dumped, Mapping):
        raise UnreadableUsage(f"{value!r} has no counts")
    return dumped


def _count(counts: Mapping[str, Any], *names: str) -> int:
    """The first of these that is there, 0 where none is."""
    for name in names:
        count = counts.get(name)
        if count is None:
            continue
        if not isinstance(count, int) or isinstance(count, bool) or count < 0:
            raise UnreadableUsage(f"{name}: {count!r} is no count of tokens")
        return count
    return 0
