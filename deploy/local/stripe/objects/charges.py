"""Charges: money that the bank gave, or refused to give."""

from ..books import Books
from ..call import CREATED, EXPAND, PAGE, Call, Endpoint, listing
from ..cards import BankDecline
from ..errors import Json
from .balance import book_charge

# What every charge begins with, as Stripe's API shows it.
NEW_CHARGE: Json = {
    "object": "charge",
    "amount_refunded": 0,
    "application": None,
    "application_fee": None,
    "application_fee_amount": None,
    "calculated_statement_descriptor": "CREDITWELL",
    "disputed": False,
    "failure_balance_transaction": None,
    "livemode": False,
    "on_behalf_of": None,
    "receipt_number": None,
    "refunded": False,
    "review": None,
    "shipping": None,
    "source_transfer": None,
    "statement_descriptor": None,
    "transfer_data": None,
    "transfer_group": None,
}


def charge(books: Books, intent: Json, method: Json, *, base_url: str, decline: BankDecline | None) -> Json:
    """The bank's answer to one confirmed intent, as Stripe keeps it."""
    identity = books.new_id("ch")
    paid = decline is None
    booked = book_charge(books, identity, amount=intent["amount"], currency=intent["currency"]) if paid else None
    return books.add(
        "charge",
        {
            **NEW_CHARGE,
            "id": identity,
            "amount": intent["amount"],
            "amount_captured": intent["amount"] if paid else 0,
            "balance_transaction": None if booked is None else booked["id"],
            "billing_details": method["billing_details"],
            "captured": paid,
            "created": books.clock.now(),
            "currency": intent["currency"],
            "customer": intent["customer"],
            "description": intent["description"],
            "failure_code": None if decline is None else decline.code,
            "failure_message": None if decline is None else decline.message,
            "fraud_details": {},
            "metadata": intent["metadata"],
            "outcome": _outcome(decline),
            "paid": paid,
            "payment_intent": intent["id"],
            "payment_method": method["id"],
            "payment_method_details": {"type": "card", "card": _card_details(method)},
            "radar_options": {},
            "receipt_email": intent["receipt_email"],
            "receipt_url": f"{base_url}/receipts/{identity}" if paid else None,
            "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
            "status": "succeeded" if paid else "failed",
        },
    )


def _card_details(method: Json) -> Json:
    card = method["card"]
    named = {
        name: card[name] for name in ("brand", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4")
    }
    return {**named, "checks": card["checks"], "network": card["brand"], "three_d_secure": None, "wallet": None}


def _outcome(decline: BankDecline | None) -> Json:
    refused = decline is not None
    return {
        "advice_code": None if decline is None else decline.advice_code,
        "network_advice_code": None,
        "network_decline_code": "01" if refused else None,
        "network_status": "declined_by_network" if refused else "approved_by_network",
        "reason": None if decline is None else decline.decline_code or decline.code,
        "risk_level": "normal",
        "risk_score": 12,
        "seller_message": "The bank did not return any further details." if refused else "Payment complete.",
        "type": "issuer_declined" if refused else "authorized",
    }


def _retrieve(call: Call) -> Json:
    return call.books.get("charge", call.id)


def _list(call: Call) -> Json:
    criteria = {name: call.params[name] for name in ("customer", "payment_intent") if name in call.params}
    matches = (
        paid
        for paid in call.books.newest_first("charge")
        if all(paid[name] == identity for name, identity in criteria.items())
    )
    return listing(call, matches, url="/v1/charges")


ENDPOINTS = [
    Endpoint("GET", "/v1/charges", _list, {**PAGE, **CREATED, "customer": str, "payment_intent": str}),
    Endpoint("GET", "/v1/charges/{id}", _retrieve, EXPAND),
]
