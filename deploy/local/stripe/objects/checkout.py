"""Checkout Sessions: what a page asks a person to pay, or the card that it asks for.

A session grants nothing while it is unpaid: `payment_status` says so, not `status` alone. The pages are in `pages.py`.
"""

from ..books import Books
from ..call import CREATED, EXPAND, METADATA, PAGE, Call, Endpoint, listing, matching
from ..cards import BankDecline, CardVerdict
from ..errors import Json, StripeError, invalid, missing_parameter, unexpected_state
from ..forms import MAP
from .bank import pay
from .events import tell
from .intents import cancel_with_page, new_intent
from .payment_methods import payment_method
from .setups import new_setup, set_up

EXPIRES_AFTER_SECONDS, EXPIRES_MIN_SECONDS = 86_400, 1_800
CREATE = {
    **EXPAND,
    **METADATA,
    "mode": str,
    "customer": str,
    "client_reference_id": str,
    "success_url": str,
    "cancel_url": str,
    "expires_at": int,
    "currency": str,
    "allowed_payment_method_types": [str],
    "line_items": [
        {
            "quantity": int,
            "price_data": {
                "currency": str,
                "unit_amount": int,
                "tax_behavior": str,
                "product_data": {"name": str, "description": str, "tax_code": str, "metadata": MAP},
            },
        }
    ],
    "payment_intent_data": {"metadata": MAP, "setup_future_usage": str, "description": str, "receipt_email": str},
    "setup_intent_data": {"metadata": MAP, "description": str},
    "automatic_tax": {"enabled": bool},
    "adaptive_pricing": {"enabled": bool},
    "customer_update": {"address": str, "name": str},
    "billing_address_collection": str,
    "submit_type": str,
    "locale": str,
}
# What every session begins with, as Stripe's API shows it.
CUSTOM_TEXTS = ("after_submit", "shipping_address", "submit", "terms_of_service_acceptance")
NEW_SESSION: Json = {
    "after_expiration": None,
    "allow_promotion_codes": None,
    "client_secret": None,
    "consent": None,
    "consent_collection": None,
    "currency_conversion": None,
    "customer_details": None,
    "customer_email": None,
    "invoice": None,
    "invoice_creation": None,
    "livemode": False,
    "payment_intent": None,
    "payment_link": None,
    "payment_method_collection": "always",
    "payment_method_configuration_details": None,
    "recovered_from": None,
    "saved_payment_method_options": None,
    "setup_intent": None,
    "shipping_address_collection": None,
    "shipping_cost": None,
    "status": "open",
    "subscription": None,
    "ui_mode": "hosted_page",
    "wallet_options": None,
}
# What a session shows as it was given.
AS_GIVEN = (
    "allowed_payment_method_types", "billing_address_collection", "cancel_url", "client_reference_id", "customer", "locale",
    "submit_type", "success_url",
)  # fmt: skip


def complete(books: Books, session: Json, method_name: str, *, base_url: str) -> CardVerdict:
    """The person has pressed Pay (or Save): asks the bank, and ends the session when it says yes."""
    require_open(books, session)
    method = payment_method(books, method_name)
    if session["mode"] == "setup":
        return _complete_setup(books, session, method, base_url)
    intent = _intent_of(books, session)
    answer = pay(books, intent, method, base_url=base_url, off_session=False)
    if answer in {"succeeded", "processing"}:
        finish(books, session)
    return answer


def finish(books: Books, session: Json) -> None:
    """The session is over; it is paid when its intent has succeeded."""
    intent = None if session["payment_intent"] is None else books.get("payment_intent", session["payment_intent"])
    paid = intent is None or intent["status"] == "succeeded"
    session["status"], session["url"] = "complete", None
    session["payment_status"] = "no_payment_required" if intent is None else "paid" if paid else "unpaid"
    books.changed("checkout.session", session)
    tell(books, "checkout.session.completed", session)


def session_of(books: Books, name: str, identity: str) -> Json | None:
    """The session that an intent (`payment_intent` or `setup_intent`) belongs to."""
    return next((one for one in books.newest_first("checkout.session") if one[name] == identity), None)


def expire_when_due(books: Books, session: Json) -> None:
    """Ends a session whose time is over; called before anybody looks at one."""
    if session["status"] == "open" and session["expires_at"] <= books.clock.now():
        session["status"], session["url"] = "expired", None
        books.changed("checkout.session", session)
        tell(books, "checkout.session.expired", session)
        if session["payment_intent"] is not None:
            cancel_with_page(books, books.get("payment_intent", session["payment_intent"]))


def require_open(books: Books, session: Json) -> None:
    """Raises StripeError (400) when the session is complete or expired."""
    expire_when_due(books, session)
    if session["status"] != "open":
        message = f"This Checkout Session is {session['status']}."
        raise unexpected_state("checkout_session_not_open", message)


def _complete_setup(books: Books, session: Json, method: Json, base_url: str) -> CardVerdict:
    setup = books.get("setup_intent", session["setup_intent"])
    try:
        set_up(books, setup, method, base_url=base_url)
    except StripeError as refusal:
        if refusal.status != 402:
            raise
        error = refusal.body["error"]
        return BankDecline(error["code"], error.get("decline_code"), error["message"])
    if setup["status"] == "requires_action":
        return "requires_action"
    finish(books, session)
    return "succeeded"


def _intent_of(books: Books, session: Json) -> Json:
    """Checkout makes the intent when the person first presses Pay, and keeps it from try to try."""
    if session["payment_intent"] is not None:
        return books.get("payment_intent", session["payment_intent"])
    data = session["_payment_intent_data"]
    intent = new_intent(
        books,
        amount=session["amount_total"],
        currency=session["currency"],
        customer=session["customer"],
        method=None,
    )
    intent["metadata"], intent["description"] = data.get("metadata", {}), data.get("description")
    intent["setup_future_usage"] = data.get("setup_future_usage")
    intent["_return_url"] = session["success_url"]
    session["payment_intent"] = intent["id"]
    books.changed("checkout.session", session)
    tell(books, "payment_intent.created", intent)
    return intent


def _create(call: Call) -> Json:
    params, mode = call.params, call.params["mode"]
    if mode not in {"payment", "setup"}:
        raise invalid("mode", "The stand-in knows the modes payment and setup.")
    if mode == "setup" and "allowed_payment_method_types" not in params and "currency" not in params:
        raise missing_parameter("currency")
    for name in {"line_items", "payment_intent_data"} if mode == "setup" else {"setup_intent_data"}:
        if name in params:
            raise invalid(name, f"You can not pass `{name}` in `{mode}` mode.")
    if "success_url" not in params:
        raise missing_parameter("success_url")
    if "customer" in params:
        call.books.customer(params["customer"])
    if mode == "payment":
        return _new_session(call, _lines(params))
    session = _new_session(call, [])
    data = params.get("setup_intent_data", {})
    setup = new_setup(
        call.books, customer=params.get("customer"), usage="off_session", metadata=data.get("metadata", {})
    )
    setup["description"], setup["_return_url"] = data.get("description"), params["success_url"]
    session["setup_intent"] = setup["id"]
    return session


def _lines(params: Json) -> list[Json]:
    if not params.get("line_items"):
        raise missing_parameter("line_items")
    lines = []
    for place, item in enumerate(params["line_items"]):
        price = item.get("price_data", {})
        for name in ("currency", "unit_amount", "product_data"):
            if name not in price:
                where = f"line_items[{place}][price_data][{name}]"
                raise missing_parameter(where)
        if price["unit_amount"] < 0 or item.get("quantity", 1) < 1:
            where = f"line_items[{place}][quantity]"
            raise invalid(where, "This value must be greater than or equal to 1.")
        quantity, name = item.get("quantity", 1), price["product_data"].get("name")
        if name is None:
            where = f"line_items[{place}][price_data][product_data][name]"
            raise missing_parameter(where)
        total = price["unit_amount"] * quantity
        lines.append({"name": name, "quantity": quantity, "currency": price["currency"], "amount": total})
    if len({line["currency"] for line in lines}) > 1:
        raise invalid("line_items", "All prices on a Checkout Session must be expressed in the same currency.")
    return lines


def _new_session(call: Call, lines: list[Json]) -> Json:
    params, identity = call.params, call.books.new_id("cs_test")
    payment = params["mode"] == "payment"
    subtotal = sum(line["amount"] for line in lines) if payment else None
    taxed = params.get("automatic_tax", {}).get("enabled", False)
    tax = _tax(call.books, subtotal or 0) if taxed else 0
    computed = {"liability": {"type": "self"}, "provider": "stripe", "status": "complete"} if taxed else {}
    return call.books.add(
        "checkout.session",
        {
            **NEW_SESSION,
            **{name: params.get(name) for name in AS_GIVEN},
            "id": identity,
            "object": "checkout.session",
            "adaptive_pricing": params.get("adaptive_pricing", {"enabled": True}) if payment else None,
            "amount_subtotal": subtotal,
            "amount_total": None if subtotal is None else subtotal + tax,
            "automatic_tax": {"enabled": taxed, **dict.fromkeys(("liability", "provider", "status"))} | computed,
            "created": call.now,
            "currency": lines[0]["currency"] if payment else params.get("currency"),
            "custom_fields": [],
            "custom_text": dict.fromkeys(CUSTOM_TEXTS),
            "customer_creation": None if "customer" in params else "if_required",
            "discounts": [],
            "expires_at": _expires_at(call),
            "metadata": params.get("metadata", {}),
            "mode": params["mode"],
            "payment_method_options": {},
            "payment_method_types": ["card"],
            "payment_status": "unpaid" if payment else "no_payment_required",
            "phone_number_collection": {"enabled": False},
            "shipping_options": [],
            "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": tax} if payment else None,
            "url": f"{call.base_url}/pay/{identity}",
            "_lines": lines,
            "_payment_intent_data": params.get("payment_intent_data", {}),
        },
    )


def _expires_at(call: Call) -> int:
    expires_at: int = call.params.get("expires_at", call.now + EXPIRES_AFTER_SECONDS)
    if not call.now + EXPIRES_MIN_SECONDS <= expires_at <= call.now + EXPIRES_AFTER_SECONDS:
        raise invalid("expires_at", "The `expires_at` timestamp must be between 30 minutes and 24 hours from now.")
    return expires_at


def _tax(books: Books, subtotal: int) -> int:
    """What comes on top: nobody has to register anywhere here, so it is nothing until a script sets a rate."""
    percent: int = books.note("tax").get("percent", 0)
    return subtotal * percent // 100


def _retrieve(call: Call) -> Json:
    session = call.books.get("checkout.session", call.id)
    expire_when_due(call.books, session)
    return session


def _list(call: Call) -> Json:
    for session in call.books.newest_first("checkout.session"):
        expire_when_due(call.books, session)
    matches = matching(call, "checkout.session", ("customer", "payment_intent", "status"))
    return listing(call, matches, url="/v1/checkout/sessions")


def _expire(call: Call) -> Json:
    session = call.books.get("checkout.session", call.id)
    require_open(call.books, session)
    session["expires_at"] = call.now
    expire_when_due(call.books, session)
    return session


ENDPOINTS = [
    Endpoint("POST", "/v1/checkout/sessions", _create, CREATE, needs=("mode",)),
    Endpoint(
        "GET",
        "/v1/checkout/sessions",
        _list,
        {**PAGE, **CREATED, "customer": str, "payment_intent": str, "status": str},
    ),
    Endpoint("GET", "/v1/checkout/sessions/{id}", _retrieve, EXPAND),
    Endpoint("POST", "/v1/checkout/sessions/{id}/expire", _expire, EXPAND),
]
