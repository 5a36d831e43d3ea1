"""Credits: whole micro-credits inside, decimal strings outside, never a float.

One credit is 1,000,000 micro-credits, kept as int64. An entry is rounded once, half up, to the sixth
place; a balance is the sum of entries and is never rounded again.
"""

import re
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Annotated, TypeAlias

from pydantic import Field

MICRO = 1_000_000
ENTRY_MAX = 10**12 * MICRO  # more than a trillion credits in one entry is a mistake, not a bill

# An alias and no NewType: sums and differences of credits are credits without a call at run time. It tells the reader
# the unit.
MicroCredits: TypeAlias = int

# In what comes from outside, with the bounds of the column.
SignedMicroCredits = Annotated[
    MicroCredits, Field(strict=True, ge=-(2**63), lt=2**63, description="Micro-credits: 1,000,000 are one credit.")
]
UnsignedMicroCredits = Annotated[
    MicroCredits, Field(strict=True, ge=0, lt=2**63, description="Micro-credits, never negative.")
]

DECIMAL_CREDITS = re.compile(r"-?[0-9]{1,13}(\.[0-9]{1,6})?", re.ASCII)
EXACT = Context(prec=60, rounding=ROUND_HALF_UP)  # 12 digits × 21 digits stay exact until the one rounding


def credits_for(rate: Decimal, quantity: Decimal) -> MicroCredits:
    """What `quantity` costs at `rate` credits each, in micro-credits, rounded half up once."""
    exact = EXACT.multiply(EXACT.multiply(rate, quantity), Decimal(MICRO))
    return int(exact.to_integral_value(ROUND_HALF_UP, EXACT))


def parse_credits(text: str) -> MicroCredits:
    """Micro-credits of a decimal string such as "1234.5".

    Raises:
        ValueError: it is not a plain decimal with at most six places.
    """
    if not DECIMAL_CREDITS.fullmatch(text):
        message = f"{text!r} is not an amount of credits: write a plain decimal with at most six places, such as 1234.5"
        raise ValueError(message)
    return int(EXACT.multiply(Decimal(text), Decimal(MICRO)))


def format_credits(micro: MicroCredits) -> str:
    """The decimal string of micro-credits, without trailing zeros: 1234500000 is "1234.5"."""
    whole, part = divmod(abs(micro), MICRO)
    sign = "-" if micro < 0 else ""
    return f"{sign}{whole}.{part:06d}".rstrip("0").rstrip(".") if part else f"{sign}{whole}"
