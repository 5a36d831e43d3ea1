"""The price of a usage: rate cards made ready, and the one in force at an instant.

Usage is priced once, at the recorder's door, with the card in force at the usage's own time. That hot path,
`CompiledCard.price_as_written`, has whole numbers alone: a rate has nine places at most, so it is a whole number of
thousandths of a micro-credit. What a price is, `credits.credits_for` says. A usage of several quantities costs the sum
of what each costs, exactly, and is rounded once as well: so no entry ever differs from its parts by a rounding of them.

    features    which rate a usage has
    attributes  which attributes of a usage are stored
    cards       what it costs, by the card in force
    formulas    how the price came about
    seeding     a card to start from, made of what models cost
"""

from .attributes import KeptAttributes, WhyDropped
from .cards import CompiledCard, RateCards
from .features import DETAIL_MAX, MEMO_MAX, REASONS, CompiledFeature, NotPriced
from .formulas import Priced, PricedQuantity, explain_price, words_of

__all__ = [
    "DETAIL_MAX",
    "MEMO_MAX",
    "REASONS",
    "CompiledCard",
    "CompiledFeature",
    "KeptAttributes",
    "NotPriced",
    "Priced",
    "PricedQuantity",
    "RateCards",
    "WhyDropped",
    "explain_price",
    "words_of",
]
