"""Which attributes of usage go into the log: nobody's prompt belongs in what can't be erased.

One is kept where a rate card prices by its name, or the catalog lists it, and its value is a short code. What a rate
itself names is kept whatever its letters are: an operator published it, and a price must follow from the fact. All else
is left out, which changes no price: a value that no rate names has no rate of its own.
"""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum

from ..rates import RateCard

SHORT_CODE = r"[A-Za-z0-9._:-]{1,64}"
_LIKE_A_CODE = re.compile(SHORT_CODE, re.ASCII).fullmatch
REMEMBERED_MAX = 4_096  # pairs that were seen to be kept; they come again with every usage


class WhyDropped(StrEnum):
    """Why an attribute is not stored: nobody listed its name, or its value is no short code."""

    NAME = "name"
    VALUE = "value"


class KeptAttributes:
    """The rule, made ready. `listed` are the names of the catalog."""

    def __init__(self, cards: Iterable[RateCard], listed: Iterable[str]) -> None:
        self.priced = frozenset(
            pair
            for card in cards
            for category in card.categories
            for feature in category.features
            for rate in feature.rates
            for pair in rate.attributes.items()
        )
        self.names = frozenset(name for name, _ in self.priced).union(listed)
        self.remembered = set(self.priced)

    def keep_all(self, attributes: Mapping[str, str]) -> bool:
        """True where each of them was kept before, which is the usual case. False says nothing."""
        return attributes.items() <= self.remembered

    def sort(self, attributes: Mapping[str, str]) -> tuple[dict[str, str], list[WhyDropped]]:
        """What is stored of a usage's attributes, and why each of the others is not."""
        kept: dict[str, str] = {}
        dropped: list[WhyDropped] = []
        for name, value in attributes.items():
            if (name, value) in self.priced or (name in self.names and _LIKE_A_CODE(value) is not None):
                kept[name] = value
            else:
                dropped.append(WhyDropped.VALUE if name in self.names else WhyDropped.NAME)
        if len(self.remembered) + len(kept) > REMEMBERED_MAX + len(self.priced):
            self.remembered = set(self.priced)
        self.remembered.update(kept.items())
        return kept, dropped
