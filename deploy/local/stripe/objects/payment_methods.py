"""Payment methods: the cards that people pay with, and those on a customer's file."""

import hashlib
from collections.abc import Iterable

from ..books import Books
from ..call import EXPAND, PAGE, Call, Endpoint, listing
from ..cards import BY_NUMBER, TestCard, card_named
from ..errors import Json, StripeError, card_error, invalid
from .events import tell

NOBODY: Json = {
    "address": {
        "city": None,
        "country": None,
        "line1": None,
        "line2": None,
        "postal_code": None,
        "state": None,
    },
    "email": None,
    "name": None,
    "phone": None,
    "tax_id": None,
}


def payment_method(books: Books, name: str, *, param: str = "payment_method") -> Json:
    """A payment method by its id; the name of a test card makes a new one, as at Stripe."""
    card = card_named(name)
    if card is not None:
        return _new_payment_method(books, card)
    return books.get("payment_method", name, param=param)


def card_of(method: Json) -> TestCard:
    """The test card behind a payment method."""
    return BY_NUMBER[method["_number"]]


def attach(books: Books, method: Json, customer_id: str) -> Json:
    """Puts a card on a customer's file; the bank is asked, and may say no (402).

    Raises:
        StripeError: another customer has the card, or the bank refuses it.
    """
    books.customer(customer_id)
    if method["customer"] not in {None, customer_id}:
        raise StripeError(
            400,
            "The payment method you provided has already been attached to a customer.",
        )
    decline = card_of(method).attach
    if decline is not None:
        raise card_error(
            decline.message,
            decline.code,
            decline_code=decline.decline_code,
            advice_code=decline.advice_code,
        )
    if method["customer"] is None:
        method["customer"] = customer_id
        books.changed("payment_method", method)
        tell(books, "payment_method.attached", method)
    return method


def _new_payment_method(books: Books, card: TestCard) -> Json:
    fingerprint = hashlib.sha256(f"{books.seed}:{card.number}".encode()).hexdigest()[:16]
    return books.add(
        "payment_method",
        {
            "id": books.new_id("pm"),
            "object": "payment_method",
            "allow_redisplay": "unspecified",
            "billing_details": NOBODY,
            "card": {
                "brand": card.brand,
                "checks": {
                    "address_line1_check": None,
                    "address_postal_code_check": None,
                    "cvc_check": "pass",
                },
                "country": "US",
                "display_brand": card.brand,
                "exp_month": 12,
                "exp_year": 2034,
                "fingerprint": fingerprint,
                "funding": "debit" if card.number == "4000056655665556" else "credit",
                "generated_from": None,
                "last4": card.last4,
                "networks": {"available": [card.brand], "preferred": None},
                "regulated_status": "unregulated",
                "three_d_secure_usage": {"supported": True},
                "wallet": None,
            },
            "created": books.clock.now(),
            "customer": None,
            "livemode": False,
            "metadata": {},
            "type": "card",
            "_number": card.number,
            "_set_up": False,
        },
    )


def payment_methods_of(books: Books, customer_id: str) -> Iterable[Json]:
    """The cards on a customer's file, newest first."""
    return (method for method in books.newest_first("payment_method") if method["customer"] == customer_id)


def _create_payment_method(call: Call) -> Json:
    card = BY_NUMBER.get(call.params.get("card", {}).get("number", ""))
    if call.params["type"] != "card" or card is None:
        raise invalid(
            "card[number]",
            "The stand-in knows Stripe's test cards only.",
            "incorrect_number",
        )
    return _new_payment_method(call.books, card)


def _retrieve_payment_method(call: Call) -> Json:
    return payment_method(call.books, call.id, param="id")


def _attach(call: Call) -> Json:
    return attach(
        call.books,
        payment_method(call.books, call.id, param="id"),
        call.params["customer"],
    )


def _detach(call: Call) -> Json:
    method = call.books.get("payment_method", call.id)
    customer = None if method["customer"] is None else call.books.find("customer", method["customer"])
    if customer is not None and not customer.get("deleted"):
        settings = customer["invoice_settings"]
        if settings["default_payment_method"] == method["id"]:
            settings["default_payment_method"] = None
            call.books.changed("customer", customer)
    method["customer"], method["_detached"] = None, True
    call.books.changed("payment_method", method)
    tell(call.books, "payment_method.detached", method)
    return method


def _list_payment_methods(call: Call) -> Json:
    return listing(
        call,
        payment_methods_of(call.books, call.params["customer"]),
        url="/v1/payment_methods",
    )


ENDPOINTS = [
    Endpoint(
        "POST",
        "/v1/payment_methods",
        _create_payment_method,
        {
            **EXPAND,
            "type": str,
            "card": {"number": str, "exp_month": int, "exp_year": int, "cvc": str},
        },
        needs=("type",),
    ),
    Endpoint(
        "GET",
        "/v1/payment_methods",
        _list_payment_methods,
        {**PAGE, "customer": str, "type": str},
        ("customer",),
    ),
    Endpoint("GET", "/v1/payment_methods/{id}", _retrieve_payment_method, EXPAND),
    Endpoint(
        "POST",
        "/v1/payment_methods/{id}/attach",
        _attach,
        {**EXPAND, "customer": str},
        needs=("customer",),
    ),
    Endpoint("POST", "/v1/payment_methods/{id}/detach", _detach, EXPAND),
]
