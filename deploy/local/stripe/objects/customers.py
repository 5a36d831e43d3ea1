"""Customers: who pays, and by which card unless told."""

from ..call import CREATED, EXPAND, METADATA, PAGE, Call, Endpoint, listing
from ..errors import Json, invalid
from .events import tell
from .payment_methods import attach, payment_method, payment_methods_of

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
# What every customer begins with, as Stripe's API shows it.
NEW_CUSTOMER: Json = {
    "object": "customer",
    "address": None,
    "balance": 0,
    "currency": None,
    "default_source": None,
    "delinquent": False,
    "invoice_prefix": None,
    "livemode": False,
    "shipping": None,
    "tax_exempt": "none",
    "test_clock": None,
}
AS_GIVEN = ("description", "email", "name", "phone")


def _create(call: Call) -> Json:
    params = call.params
    customer = call.books.add(
        "customer",
        {
            **NEW_CUSTOMER,
            **{name: params.get(name) for name in AS_GIVEN},
            "id": call.books.new_id("cus"),
            "created": call.now,
            "invoice_settings": {
                "custom_fields": None,
                "default_payment_method": None,
                "footer": None,
                "rendering_options": None,
            },
            "metadata": params.get("metadata", {}),
            "preferred_locales": [],
        },
    )
    if "payment_method" in params:
        attach(call.books, payment_method(call.books, params["payment_method"]), customer["id"])
    _set_default(call, customer)
    tell(call.books, "customer.created", customer)
    return customer


def _update(call: Call) -> Json:
    customer = call.books.customer(call.id, param="id")
    _set_default(call, customer)
    for name in AS_GIVEN:
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
    customer = call.books.customer(call.id, param="id")
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


def _list_of_customer(call: Call) -> Json:
    call.books.customer(call.id, param="id")
    return listing(
        call,
        payment_methods_of(call.books, call.id),
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
]
