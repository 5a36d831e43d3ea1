"""Money as people read it. Amounts are integers in minor units, as Stripe counts them."""

# Currencies whose minor unit is not a hundredth.
WHOLE = frozenset(["bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv", "xaf", "xof", "xpf"])  # fmt: skip
THOUSANDTHS = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])


def format_money(minor_units: int, currency: str) -> str:
    """An amount with its currency: 4800 and usd is `48.00 USD`."""
    if currency in WHOLE:
        return f"{minor_units:,} {currency.upper()}"
    digits = 3 if currency in THOUSANDTHS else 2
    whole, part = divmod(minor_units, 10**digits)
    return f"{whole:,}.{part:0{digits}d} {currency.upper()}"
