"""The balance: what each charge, refund, dispute and payout did to it, gross, with Stripe's fee, and net.

The account settles in the currency of each payment, so nothing is ever converted here.
"""

from ..books import Books
from ..call import CREATED, EXPAND, PAGE, Call, Endpoint, listing, matching
from ..errors import Json, StripeError, invalid

AVAILABLE_AFTER_SECONDS = 2 * 86_400
NOT_AUTOMATIC = "Balance transaction history can only be filtered on automatic transfers, not manual."
FEE_PER_MILLE, FEE_FIXED, DISPUTE_FEE = 29, 30, 1_500

# What Stripe calls the type of a transaction, by its reporting category.
TYPES = {
    "charge": "charge", "refund": "refund", "refund_failure": "refund_failure", "dispute": "adjustment",
    "dispute_reversal": "adjustment", "payout": "payout",
}  # fmt: skip
DESCRIPTIONS = {
    "refund": "REFUND FOR CHARGE", "refund_failure": "REFUND FAILURE", "dispute": "Chargeback withdrawal",
    "dispute_reversal": "Chargeback reversal", "payout": "STRIPE PAYOUT",
}  # fmt: skip


def book(books: Books, source: str, *, category: str, amount: int, currency: str, fee: int = 0) -> Json:
    """One transaction; `amount` is negative where money leaves."""
    now = books.clock.now()
    details = [{"amount": fee, "application": None, "currency": currency, "description": "Fees", "type": "stripe_fee"}]
    return books.add(
        "balance_transaction",
        {
            "id": books.new_id("txn"),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": now + (0 if category == "payout" else AVAILABLE_AFTER_SECONDS),
            "balance_type": "payments",
            "created": now,
            "currency": currency,
            "description": DESCRIPTIONS.get(category),
            "exchange_rate": None,
            "fee": fee,
            "fee_details": details if fee else [],
            "net": amount - fee,
            "reporting_category": category,
            "source": source,
            "status": "pending",
            "type": TYPES[category],
            "_payout": None,
        },
    )


def book_charge(books: Books, source: str, *, amount: int, currency: str) -> Json:
    """What a charge brings: 2.9 % of it and 0.30 are Stripe's."""
    fee = (amount * FEE_PER_MILLE + 500) // 1_000 + FEE_FIXED
    return book(books, source, category="charge", amount=amount, currency=currency, fee=fee)


def pay_out(books: Books, currency: str, *, by_hand: int | None = None) -> Json:
    """All that no payout has had yet goes to the bank: an automatic payout, of which Stripe knows what it held.

    `by_hand` minor units make it one by hand, of which Stripe knows no more than its amount.

    Raises:
        StripeError: there is not so much to pay out, or nothing.
    """
    rows = [row for row in books.all("balance_transaction") if row["currency"] == currency and row["_payout"] is None]
    there = sum(row["net"] for row in rows)
    amount, automatic = (there, True) if by_hand is None else (by_hand, False)
    if not 0 < amount <= there:
        raise StripeError(400, "You have insufficient funds in your Stripe account.", code="balance_insufficient")
    payout = books.add(
        "payout",
        {
            "id": books.new_id("po"),
            "object": "payout",
            "amount": amount,
            "arrival_date": books.clock.now() + AVAILABLE_AFTER_SECONDS,
            "automatic": automatic,
            "balance_transaction": None,
            "created": books.clock.now(),
            "currency": currency,
            "livemode": False,
            "metadata": {},
            "method": "standard",
            "reconciliation_status": "completed" if automatic else "not_applicable",
            "status": "paid",
            "type": "bank_account",
        },
    )
    own = book(books, payout["id"], category="payout", amount=-amount, currency=currency)
    payout["balance_transaction"] = own["id"]
    books.changed("payout", payout)
    for row in [*rows, own] if automatic else ():
        row["_payout"] = payout["id"]
        books.changed("balance_transaction", row)
    return payout


def _with_status(call: Call, row: Json) -> Json:
    return {**row, "status": "pending" if call.now < row["available_on"] else "available"}


def _retrieve(call: Call) -> Json:
    return _with_status(call, call.books.get("balance_transaction", call.id))


def _list(call: Call) -> Json:
    rows = matching(call, "balance_transaction", ("currency", "source", "type"))
    if "payout" in call.params:
        payout = call.books.get("payout", call.params["payout"], param="payout")
        if not payout["automatic"]:
            raise invalid("payout", NOT_AUTOMATIC)
        rows = [row for row in rows if row["_payout"] == payout["id"]]
    return listing(call, [_with_status(call, row) for row in rows], url="/v1/balance_transactions")


FILTERS = {"currency": str, "payout": str, "source": str, "type": str}
ENDPOINTS = [
    Endpoint("GET", "/v1/balance_transactions", _list, {**PAGE, **CREATED, **FILTERS}),
    Endpoint("GET", "/v1/balance_transactions/{id}", _retrieve, EXPAND),
]
