"""Money that goes back: refunds, which the seller makes, and disputes, which the bank does.

`amount_refunded` on the charge is cumulative, over all its refunds; a refund's own amount is not.
"""

from ..books import Books
from ..call import CREATED, EXPAND, METADATA, PAGE, Call, Endpoint, listing, matching
from ..errors import Json, StripeError, invalid, missing_parameter, unexpected_state
from .balance import DISPUTE_FEE, book
from .events import tell

EVIDENCE_SECONDS = 9 * 86_400


def refund(books: Books, paid: Json, *, amount: int | None, reason: str | None, metadata: dict[str, str]) -> Json:
    """Gives a charge back, wholly or in part; never more than is left of it, never while it is disputed."""
    refund_amount = _refundable(books, paid, amount)
    made = _new_refund(books, paid, amount=refund_amount, reason=reason, metadata=metadata)
    before = paid["amount_refunded"]
    paid["amount_refunded"] += refund_amount
    paid["refunded"] = paid["amount_refunded"] == paid["amount"]
    books.changed("charge", paid)
    tell(books, "refund.created", made)
    tell(books, "charge.refunded", paid, before={"amount_refunded": before})
    return made


def _refundable(books: Books, paid: Json, amount: int | None) -> int:
    """How much of a charge is to be given back; raises StripeError where that can't be."""
    refundable = paid["amount"] - paid["amount_refunded"]
    refund_amount = refundable if amount is None else amount
    if paid["status"] != "succeeded":
        raise unexpected_state("charge_not_refundable", f"Charge {paid['id']} has not been paid.")
    if paid["disputed"] and _is_lost_or_open(books, paid):
        raise unexpected_state("charge_disputed", f"Charge {paid['id']} has been charged back; cannot issue a refund.")
    if refundable == 0:
        raise unexpected_state("charge_already_refunded", f"Charge {paid['id']} has already been refunded.")
    if not 1 <= refund_amount <= refundable:
        message = f"Refund amount ({refund_amount}) is greater than unrefunded amount on charge ({refundable})"
        raise invalid("amount", message)
    return refund_amount


def _new_refund(books: Books, paid: Json, *, amount: int, reason: str | None, metadata: dict[str, str]) -> Json:
    identity, currency = books.new_id("re"), paid["currency"]
    booked = book(books, identity, category="refund", amount=-amount, currency=currency)
    return books.add(
        "refund",
        {
            "id": identity,
            "object": "refund",
            "amount": amount,
            "balance_transaction": booked["id"],
            "charge": paid["id"],
            "created": books.clock.now(),
            "currency": currency,
            "destination_details": {"card": {"type": "refund", "reference_status": "pending"}, "type": "card"},
            "metadata": metadata,
            "payment_intent": paid["payment_intent"],
            "reason": reason,
            "receipt_number": None,
            "source_transfer_reversal": None,
            "status": "succeeded",
            "transfer_reversal": None,
        },
    )


def fail_refund(books: Books, made: Json) -> Json:
    """The bank could not give a refund back, as when the card is closed: the money is the seller's again."""
    if made["status"] != "succeeded":
        raise unexpected_state("refund_not_failable", f"Refund {made['id']} has {made['status']}.")
    made["status"], made["failure_reason"] = "failed", "expired_or_canceled_card"
    booked = book(
        books, made["id"], category="refund_failure", amount=made["amount"], currency=made["currency"]
    )  # fmt: skip
    made["failure_balance_transaction"] = booked["id"]
    paid = books.get("charge", made["charge"])
    paid["amount_refunded"] -= made["amount"]
    paid["refunded"] = False
    books.changed("refund", made)
    books.changed("charge", paid)
    tell(books, "refund.failed", made)
    return made


def open_dispute(books: Books, paid: Json, *, reason: str, amount: int | None = None) -> Json:
    """The bank takes the money back at once and asks; an inquiry only asks.

    Raises:
        StripeError: the charge is disputed already, or was not paid.
    """
    if paid["disputed"] or paid["status"] != "succeeded":
        raise StripeError(400, f"Charge {paid['id']} can't be disputed.")
    dispute = _new_dispute(books, paid, reason=reason, amount=paid["amount"] if amount is None else amount)
    paid["disputed"] = True
    books.changed("charge", paid)
    if reason != "inquiry":
        _book(books, dispute, category="dispute", amount=-dispute["amount"], fee=DISPUTE_FEE)
    tell(books, "charge.dispute.created", dispute)
    if reason != "inquiry":
        tell(books, "charge.dispute.funds_withdrawn", dispute)
    return dispute


def _new_dispute(books: Books, paid: Json, *, reason: str, amount: int) -> Json:
    inquiry = reason == "inquiry"
    case_type = "inquiry" if inquiry else "chargeback"
    return books.add(
        "dispute",
        {
            "id": books.new_id("du"),
            "object": "dispute",
            "amount": amount,
            "balance_transactions": [],
            "charge": paid["id"],
            "created": books.clock.now(),
            "currency": paid["currency"],
            "enhanced_eligibility_types": [],
            "evidence": {"enhanced_evidence": {}},
            "evidence_details": {
                "due_by": books.clock.now() + EVIDENCE_SECONDS,
                "enhanced_eligibility": {},
                "has_evidence": False,
                "past_due": False,
                "submission_count": 0,
            },
            "is_charge_refundable": inquiry,
            "livemode": False,
            "metadata": {},
            "payment_intent": paid["payment_intent"],
            "payment_method_details": {
                "type": "card",
                "card": {"brand": "visa", "case_type": case_type, "network": "visa", "network_reason_code": "10"},
            },
            "reason": "general" if inquiry else reason,
            "status": "warning_needs_response" if inquiry else "needs_response",
        },
    )


def close_dispute(books: Books, dispute: Json, *, won: bool) -> Json:
    """The bank has decided: the money comes back to the seller, or it is gone."""
    if dispute["status"] in {"won", "lost", "warning_closed"}:
        raise unexpected_state("resource_already_exists", f"Dispute {dispute['id']} is closed already.")
    inquiry = dispute["status"].startswith("warning_")
    dispute["status"] = "warning_closed" if inquiry else "won" if won else "lost"
    dispute["is_charge_refundable"] = False
    books.changed("dispute", dispute)
    if won and not inquiry:
        _book(books, dispute, category="dispute_reversal", amount=dispute["amount"])
        tell(books, "charge.dispute.funds_reinstated", dispute)
    tell(books, "charge.dispute.closed", dispute)
    return dispute


def appeal_dispute(books: Books, dispute: Json, *, reviewed: bool) -> Json:
    """Against a dispute that was lost: the bank waits for words, then reads them. The money stays where it is."""
    if dispute["status"] not in {"lost", "appeal_needs_response"}:
        raise unexpected_state("dispute_not_appealable", f"Dispute {dispute['id']} is {dispute['status']}.")
    dispute["status"] = "appeal_under_review" if reviewed else "appeal_needs_response"
    books.changed("dispute", dispute)
    tell(books, "charge.dispute.updated", dispute)
    return dispute


def _book(books: Books, dispute: Json, *, category: str, amount: int, fee: int = 0) -> None:
    """The money goes or comes, and the dispute shows it."""
    booked = book(books, dispute["id"], category=category, amount=amount, currency=dispute["currency"], fee=fee)
    dispute["balance_transactions"].append(booked)
    books.changed("dispute", dispute)


def _is_lost_or_open(books: Books, paid: Json) -> bool:
    states = (dispute["status"] for dispute in books.all("dispute") if dispute["charge"] == paid["id"])
    return any(state not in {"won", "warning_needs_response", "warning_closed"} for state in states)


def _create_refund(call: Call) -> Json:
    params, books = call.params, call.books
    if "payment_intent" in params:
        intent = books.get("payment_intent", params["payment_intent"], param="payment_intent")
        if intent["status"] != "succeeded":
            message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
            raise unexpected_state("payment_intent_unexpected_state", message)
        paid = books.get("charge", intent["latest_charge"])
    elif "charge" in params:
        paid = books.get("charge", params["charge"], param="charge")
    else:
        raise missing_parameter("payment_intent")
    return refund(
        books,
        paid,
        amount=params.get("amount"),
        reason=params.get("reason"),
        metadata=params.get("metadata", {}),
    )


def _of_charge(call: Call, kind: str, url: str) -> Json:
    return listing(call, matching(call, kind, ("charge", "payment_intent")), url=url)


def _list_refunds(call: Call) -> Json:
    return _of_charge(call, "refund", "/v1/refunds")


def _retrieve_refund(call: Call) -> Json:
    return call.books.get("refund", call.id)


def _list_disputes(call: Call) -> Json:
    return _of_charge(call, "dispute", "/v1/disputes")


def _retrieve_dispute(call: Call) -> Json:
    return call.books.get("dispute", call.id)


def _accept_dispute(call: Call) -> Json:
    return close_dispute(call.books, call.books.get("dispute", call.id), won=False)


OF_CHARGE = {**PAGE, **CREATED, "charge": str, "payment_intent": str}
ENDPOINTS = [
    Endpoint(
        "POST",
        "/v1/refunds",
        _create_refund,
        {**METADATA, **EXPAND, "amount": int, "charge": str, "payment_intent": str, "reason": str},
    ),
    Endpoint("GET", "/v1/refunds", _list_refunds, OF_CHARGE),
    Endpoint("GET", "/v1/refunds/{id}", _retrieve_refund, EXPAND),
    Endpoint("GET", "/v1/disputes", _list_disputes, OF_CHARGE),
    Endpoint("GET", "/v1/disputes/{id}", _retrieve_dispute, EXPAND),
    Endpoint("POST", "/v1/disputes/{id}/close", _accept_dispute, EXPAND),
]
