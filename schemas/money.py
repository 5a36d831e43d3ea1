"""Money as Stripe counts it: minor units, the least it takes, and in which steps.

One table; the page gets its digits from here.

Source: docs.stripe.com/currencies. Where Stripe, ISO 4217 and browsers differ, Stripe is right, for it takes the money:

- currencies without minor units are charged in whole units. ISK and UGX have none either, yet Stripe counts them in
  hundredths for old times' sake, and takes whole ones only;
- currencies of three decimals are counted in thousandths, and the last digit has to be 0;
- HUF and TWD are charged in hundredths, whatever is said of payouts; MGA is whole, though ISO gives it fifths.

The least that Stripe takes depends on the currency in which the account settles, too. The table has what it
publishes; for all others it takes what is worth half a dollar, which changes from day to day and is refused by Stripe
itself.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

WHOLE: Final = frozenset(
    "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf".split()  # noqa: SIM905 - words read better
)
WHOLE_IN_HUNDREDTHS: Final = frozenset(["isk", "ugx"])
THOUSANDTHS: Final = frozenset(["bhd", "jod", "kwd", "omr", "tnd"])
LEAST: Final = {
    "usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1_500, "dkk": 250, "eur": 50, "gbp": 30,
    "hkd": 400, "huf": 17_500, "inr": 50, "jpy": 50, "mxn": 1_000, "myr": 200, "nok": 300, "nzd": 50, "pln": 200, "ron": 200,
    "sek": 300, "sgd": 50, "thb": 1_000,
}  # fmt: skip
HUNDREDTHS: Final = frozenset(
    """
    aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad cdf chf cny cop crc cve czk dkk
    dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf idr ils inr jmd kes kgs khr kyd kzt lak lbp lkr lrd lsl
    mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr pln qar ron rsd rub sar sbd scr
    sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs uah usd uyu uzs wst xcd xcg yer zar zmw
    """.split()  # noqa: SIM905 - as above
)
MOST: Final = 99_999_999  # eight digits, whatever they are worth


@dataclass(frozen=True, slots=True)
class Terms:
    """How Stripe takes a currency: the digits of its minor unit, the least amount and the step, both in minor units."""

    digits: int
    least: int
    step: int


def terms_of(currency: str) -> Terms | None:
    """How Stripe takes a currency; None for one that it does not take."""
    if currency in THOUSANDTHS:
        return Terms(3, LEAST.get(currency, 10), 10)
    if currency in WHOLE:
        return Terms(0, LEAST.get(currency, 1), 1)
    if currency in WHOLE_IN_HUNDREDTHS:
        return Terms(2, LEAST.get(currency, 100), 100)
    return Terms(2, LEAST.get(currency, 1), 1) if currency in HUNDREDTHS else None


def not_taken(minor_units: int, currency: str) -> str | None:
    """Why Stripe would not take an amount, in words for whoever sets a price; None where it would."""
    terms = terms_of(currency)
    if terms is None:
        return f"{currency} is no currency that Stripe takes"
    if minor_units < terms.least:
        return f"{format_money(minor_units, currency)} is less than Stripe takes: {format_money(terms.least, currency)} at least"
    if minor_units % terms.step:
        return f"{format_money(minor_units, currency)} is nothing that Stripe takes: write a multiple of {terms.step} minor units"
    if minor_units > MOST:
        return f"{format_money(minor_units, currency)} is more than Stripe takes at once"
    return None


def rounded_up(minor_units: int, currency: str) -> int:
    """The next amount in the steps in which Stripe takes a currency: never less than was asked for."""
    terms = terms_of(currency)
    step = terms.step if terms is not None else 1
    return -(-minor_units // step) * step


def digits_of(currency: str) -> int:
    """How many digits of an amount stand behind the point."""
    terms = terms_of(currency)
    return 2 if terms is None else terms.digits


def major_units(minor_units: int, currency: str) -> str:
    """An amount as a plain decimal, for spreadsheets: 4800 and usd is `48.00`."""
    return f"{Decimal(minor_units).scaleb(-digits_of(currency)):f}"


def format_money(minor_units: int, currency: str) -> str:
    """An amount with its currency: 4800 and usd is `48.00 USD`."""
    digits = digits_of(currency)
    if not digits:
        return f"{minor_units:,} {currency.upper()}"
    whole, part = divmod(minor_units, 10**digits)
    return f"{whole:,}.{part:0{digits}d} {currency.upper()}"
