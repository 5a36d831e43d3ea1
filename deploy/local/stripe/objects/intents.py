"""PaymentIntents: what is to be paid, and the one time at most that it is.

An unconfirmed intent moves no money; one that has succeeded can't be confirmed again; one that is cancelled can't
either. These three are what our own charging rests on, and the tests try them hard.
"""

import re

from ..books import Books, shown
from ..call import CREATED, EXPAND, METADATA, PAGE, Call, Endpoint, listing, matching
from ..cards import AUTHENTICATION_FAILED, AUTHENTICATION_REQUIRED, BankDecline, CardVerdict
from ..errors import Json, StripeError, invalid, unexpected_state
from .bank import declined, pay, settle
from .customers import merged
from .events import tell
from .payment_methods import payment_method

AMOUNT_MAX = 99_999_999
AMOUNT_MIN_DEFAULT, AMOUNT_MIN = 50, {"gbp": 30, "jpy": 50, "sek": 300, "nok": 300, "dkk": 250, "chf": 50}
CONFIRMABLE = ("requires_confirmation", "requires_payment_method", "requires_action")
CANCELLABLE = ("requires_payment_method", "requires_capture", "requires_confirmation", "requires_action")

CONFIRM = {
    **EXPAND,
    "payment_method": str,
    "off_session": bool,
    "error_on_requires_action": bool,
    "return_url": str,
    "setup_future_usage": str,
    "receipt_email": str,
}
CREATE = {
    **CONFIRM,
    **METADATA,
    "amount": int,
    "currency": str,
    "customer": str,
    "description": str,
    "confirm": bool,
    "allowed_payment_method_types": [str],
    "automatic_payment_methods": {"enabled": bool, "allow_redirects": str},
    "statement_descriptor_suffix": str,
}
# What every payment intent begins with, as Stripe's API shows it.
NEW_INTENT: Json = {
    "object": "payment_intent",
    "amount_capturable": 0,
    "amount_received": 0,
    "application": None,
    "application_fee_amount": None,
    "automatic_payment_methods": None,
    "canceled_at": None,
    "cancellation_reason": None,
    "capture_method": "automatic_async",
    "confirmation_method": "automatic",
    "customer_account": None,
    "description": None,
    "excluded_payment_method_types": None,
    "last_payment_error": None,
    "latest_charge": None,
    "livemode": False,
    "next_action": None,
    "on_behalf_of": None,
    "processing": None,
    "receipt_email": None,
    "review": None,
    "setup_future_usage": None,
    "shipping": None,
    "source": None,
    "statement_descriptor": None,
    "statement_descriptor_suffix": None,
    "transfer_data": None,
    "transfer_group": None,
    "_confirmations": 0,
}


def new_intent(books: Books, *, amount: int, currency: str, customer: str | None, method: Json | None) -> Json:
    """An intent that has not been confirmed; raises StripeError when Stripe would not make it."""
    _check_amount(amount, currency)
    if customer is not None:
        books.customer(customer)
    if method is not None:
        _check_owner(method, customer)
    identity = books.new_id("pi")
    return books.add(
        "payment_intent",
        {
            **NEW_INTENT,
            "id": identity,
            "amount": amount,
            "amount_details": {"tip": {}},
            "client_secret": f"{identity}_secret_{identity[-8:]}",
            "created": books.clock.now(),
            "currency": currency,
            "customer": customer,
            "metadata": {},
            "payment_method": None if method is None else method["id"],
            "payment_method_options": {"card": {"installments": None, "request_three_d_secure": "automatic"}},
            "payment_method_types": ["card"],
            "status": "requires_payment_method" if method is None else "requires_confirmation",
        },
    )


def authenticate(books: Books, intent: Json, *, passed: bool, base_url: str) -> CardVerdict:
    """The owner of the card has answered its bank's 3D Secure page."""
    if intent["status"] != "requires_action":
        raise _state_error("authenticate", intent)
    method = books.get("payment_method", intent["payment_method"])
    if passed:
        return pay(books, intent, method, base_url=base_url, off_session=False, authenticated=True)
    settle(books, intent, AUTHENTICATION_FAILED, base_url=base_url)
    return AUTHENTICATION_FAILED


def cancel_with_page(books: Books, intent: Json) -> None:
    """Its Checkout is over: nobody can pay it any more, unless the bank has it already."""
    if intent["status"] in CANCELLABLE:
        intent["status"], intent["canceled_at"] = "canceled", books.clock.now()
        intent["cancellation_reason"], intent["next_action"] = "automatic", None
        books.changed("payment_intent", intent)
        tell(books, "payment_intent.canceled", intent)


def _check_amount(amount: int, currency: str) -> None:
    if not re.fullmatch(r"[a-z]{3}", currency):
        raise invalid("currency", f"Invalid currency: {currency}.")
    minimum = AMOUNT_MIN.get(currency, AMOUNT_MIN_DEFAULT)
    if amount < 1:
        raise invalid("amount", "This value must be greater than or equal to 1.", "parameter_invalid_integer")
    if amount < minimum:
        raise invalid("amount", f"Amount must be at least {minimum} {currency}", "amount_too_small")
    if amount > AMOUNT_MAX:
        raise invalid("amount", "Amount must be no more than $999,999.99", "amount_too_large")


def _check_owner(method: Json, customer: str | None) -> None:
    if method.get("_detached"):
        raise StripeError(400, "The provided PaymentMethod was detached from a Customer. It may not be used again.")
    if method["customer"] not in {None, customer}:
        message = (
            f"The PaymentMethod supplied ({method['id']}) belongs to a different Customer or to none that was named. "
            "Please include the Customer in the `customer` parameter."
        )
        raise invalid("payment_method", message)


def _state_error(verb: str, intent: Json) -> StripeError:
    state = intent["status"]
    allowed = CANCELLABLE if verb == "cancel" else CONFIRMABLE
    message = (
        f"You cannot {verb} this PaymentIntent because it has a status of {state}. Only a PaymentIntent with one of "
        f"the following statuses may be {verb}ed: {', '.join(allowed)}."
    )
    if verb == "confirm" and state == "succeeded":
        message = (
            "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed."
        )
    return unexpected_state("payment_intent_unexpected_state", message, payment_intent=shown(intent))


def _create(call: Call) -> Json:
    params = call.params
    method = payment_method(call.books, params["payment_method"]) if "payment_method" in params else None
    if params.get("off_session") and not params.get("confirm"):
        raise invalid("off_session", "off_session can only be set when confirm is true.")
    if "allowed_payment_method_types" in params and "automatic_payment_methods" in params:
        message = "You can only set one of allowed_payment_method_types and automatic_payment_methods."
        raise invalid("allowed_payment_method_types", message)
    if "card" not in params.get("allowed_payment_method_types", ["card"]):
        raise invalid("allowed_payment_method_types", "The stand-in knows cards only.")
    intent = new_intent(
        call.books,
        amount=params["amount"],
        currency=params["currency"],
        customer=params.get("customer"),
        method=method,
    )
    intent["metadata"] = params.get("metadata", {})
    for name in ("description", "receipt_email", "setup_future_usage", "statement_descriptor_suffix"):
        intent[name] = params.get(name)
    if params.get("automatic_payment_methods", {}).get("enabled"):
        intent["automatic_payment_methods"] = {"allow_redirects": "always", **params["automatic_payment_methods"]}
    tell(call.books, "payment_intent.created", intent)
    return _confirm_now(call, intent) if params.get("confirm") else intent


def _confirm(call: Call) -> Json:
    return _confirm_now(call, call.books.get("payment_intent", call.id))


def _confirm_now(call: Call, intent: Json) -> Json:
    params = call.params
    if intent["status"] not in CONFIRMABLE:
        raise _state_error("confirm", intent)
    name = params.get("payment_method") or intent["payment_method"]
    if name is None:
        message = (
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the "
            "PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a "
            "payment method or ConfirmationToken."
        )
        raise unexpected_state("payment_intent_unexpected_state", message, payment_intent=shown(intent))
    method = payment_method(call.books, name)
    _check_owner(method, intent["customer"])
    off_session = params.get("off_session", False)
    if off_session and "setup_future_usage" in params:
        raise invalid("setup_future_usage", "You cannot set setup_future_usage when off_session is true.")
    intent["setup_future_usage"] = params.get("setup_future_usage", intent["setup_future_usage"])
    intent["_return_url"] = params.get("return_url", intent.get("_return_url"))
    answer = pay(call.books, intent, method, base_url=call.base_url, off_session=off_session)
    if answer == "requires_action" and (off_session or params.get("error_on_requires_action")):
        settle(call.books, intent, AUTHENTICATION_REQUIRED, base_url=call.base_url)
        answer = AUTHENTICATION_REQUIRED
    if isinstance(answer, BankDecline):
        raise declined(answer, intent)
    return intent


def _update(call: Call) -> Json:
    intent = call.books.get("payment_intent", call.id)
    if intent["status"] in {"succeeded", "canceled"} and set(call.params) - {"metadata", "description", "expand"}:
        raise _state_error("update", intent)
    intent["metadata"] = merged(intent["metadata"], call.params.get("metadata", {}))
    intent["description"] = call.params.get("description", intent["description"])
    if "payment_method" in call.params:
        method = payment_method(call.books, call.params["payment_method"])
        _check_owner(method, intent["customer"])
        intent["payment_method"], intent["status"] = method["id"], "requires_confirmation"
    call.books.changed("payment_intent", intent)
    return intent


def _cancel(call: Call) -> Json:
    intent = call.books.get("payment_intent", call.id)
    if intent["status"] not in CANCELLABLE:
        raise _state_error("cancel", intent)
    if any(one["payment_intent"] == call.id and one["status"] == "open" for one in call.books.all("checkout.session")):
        message = "You cannot cancel this PaymentIntent because it was created by Checkout. Expire the Checkout Session instead."
        raise StripeError(400, message)
    intent["status"], intent["canceled_at"] = "canceled", call.now
    intent["cancellation_reason"], intent["next_action"] = call.params.get("cancellation_reason"), None
    call.books.changed("payment_intent", intent)
    tell(call.books, "payment_intent.canceled", intent)
    return intent


def _retrieve(call: Call) -> Json:
    return call.books.get("payment_intent", call.id)


def _list(call: Call) -> Json:
    customer = call.params.get("customer")
    if customer is not None:
        call.books.get("customer", customer, param="customer")  # one that was deleted keeps its payments
    return listing(call, matching(call, "payment_intent", ["customer"]), url="/v1/payment_intents")


ENDPOINTS = [
    Endpoint("POST", "/v1/payment_intents", _create, CREATE, needs=("amount", "currency")),
    Endpoint("GET", "/v1/payment_intents", _list, {**PAGE, **CREATED, "customer": str}),
    Endpoint("GET", "/v1/payment_intents/{id}", _retrieve, {**EXPAND, "client_secret": str}),
    Endpoint(
        "POST", "/v1/payment_intents/{id}", _update, {**METADATA, **EXPAND, "description": str, "payment_method": str}
    ),
    Endpoint("POST", "/v1/payment_intents/{id}/confirm", _confirm, CONFIRM),
    Endpoint("POST", "/v1/payment_intents/{id}/cancel", _cancel, {**EXPAND, "cancellation_reason": str}),
]
