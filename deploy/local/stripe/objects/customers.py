"""Customers and the cards on their files."""

import hashlib
from collections.abc import Iterable

from ..books import Books
from ..call import CREATED, EXPAND, METADATA, PAGE, Call, Endpoint, listing
from ..cards import BY_NUMBER, TestCard, card_named
from ..errors import Json, StripeError, card_error, invalid, no_such
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
CUSTOMER = {
    **METADATA,
    **EXPAND,
    "email": str,
    "name": str,
    "description": str,
    "phone": str,
    "payment_method": str,
    "invoice_settings": {"default_payment_method": str},
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


def of_customer(books: Books, identity: str, *, param: str = "customer") -> Json:
    """A customer that was not deleted; raises StripeError when there is none."""
    customer = books.get("customer", identity, param=param)
    if customer.get("deleted"):
        raise no_such("customer", identity, param)
    return customer


def attach(books: Books, method: Json, customer_id: str) -> Json:
    """Puts a card on a customer's file; the bank is asked, and may say no (402).

    Raises:
        StripeError: another customer has the card, or the bank refuses it.
    """
    of_customer(books, customer_id)
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


def _create(call: Call) -> Json:
    params = call.params
    customer = call.books.add(
        "customer",
        {
            "id": call.books.new_id("cus"),
            "object": "customer",
            "address": None,
            "balance": 0,
            "created": call.now,
            "currency": None,
            "default_source": None,
            "delinquent": False,
            "description": params.get("description"),
            "email": params.get("email"),
            "invoice_prefix": None,
            "invoice_settings": {
                "custom_fields": None,
                "default_payment_method": None,
                "footer": None,
                "rendering_options": None,
            },
            "livemode": False,
            "metadata": params.get("metadata", {}),
            "name": params.get("name"),
            "phone": params.get("phone"),
            "preferred_locales": [],
            "shipping": None,
            "tax_exempt": "none",
            "test_clock": None,
        },
    )
    if "payment_method" in params:
        attach(
            call.books,
            payment_method(call.books, params["payment_method"]),
            customer["id"],
        )
    _set_default(call, customer)
    tell(call.books, "customer.created", customer)
    return customer


def _update(call: Call) -> Json:
    customer = of_customer(call.books, call.id, param="id")
    _set_default(call, customer)
    for name in ("email", "name", "description", "phone"):
        if name in call.params:
            customer[name] = call.params[name]
    customer["metadata"] = merged(customer["metadata"], call.params.get("metadata", {}))
    call.books.changed("customer", customer)
    tell(call.books, "customer.updated", customer)
    return customer


def _set_default(call: Call, customer: Json) -> None:
    name = call.params.get("invoice_settings", {}).get("default_payment_method")
    if name is None:
        return
    method = payment_method(call.books, name, param="invoice_settings[default_payment_method]")
    if method["customer"] != customer["id"]:
        message = (
            "The customer does not have a payment method with the ID "
            f"{name}. The payment method must be attached to the customer."
        )
        raise invalid("invoice_settings[default_payment_method]", message, "resource_missing")
    customer["invoice_settings"]["default_payment_method"] = method["id"]


def merged(metadata: dict[str, str], changes: dict[str, str]) -> dict[str, str]:
    """Metadata are merged; an empty value takes a name away."""
    return {name: text for name, text in {**metadata, **changes}.items() if text != ""}


def _retrieve(call: Call) -> Json:
    return call.books.get("customer", call.id)


def _delete(call: Call) -> Json:
    customer = of_customer(call.books, call.id, param="id")
    gone = {
        "id": call.id,
        "object": "customer",
        "deleted": True,
        "created": customer["created"],
    }
    call.books.add("customer", gone)
    tell(call.books, "customer.deleted", customer)
    return gone


def _list(call: Call) -> Json:
    matches = (
        customer
        for customer in call.books.newest_first("customer")
        if not customer.get("deleted") and customer["email"] == call.params.get("email", customer["email"])
    )
    return listing(call, matches, url="/v1/customers")


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


def _payment_methods(books: Books, customer_id: str) -> Iterable[Json]:
    return (method for method in books.newest_first("payment_method") if method["customer"] == customer_id)


def _list_payment_methods(call: Call) -> Json:
    return listing(
        call,
        _payment_methods(call.books, call.params["customer"]),
        url="/v1/payment_methods",
    )


def _list_of_customer(call: Call) -> Json:
    of_customer(call.books, call.id, param="id")
    return listing(
        call,
        _payment_methods(call.books, call.id),
        url=f"/v1/customers/{call.id}/payment_methods",
    )


ENDPOINTS = [
    Endpoint("POST", "/v1/customers", _create, CUSTOMER),
    Endpoint("GET", "/v1/customers", _list, {**PAGE, **CREATED, "email": str}),
    Endpoint("GET", "/v1/customers/{id}", _retrieve, EXPAND),
    Endpoint("POST", "/v1/customers/{id}", _update, CUSTOMER),
    Endpoint("DELETE", "/v1/customers/{id}", _delete, {}),
    Endpoint(
        "GET",
        "/v1/customers/{id}/payment_methods",
        _list_of_customer,
        {**PAGE, "type": str},
    ),
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
