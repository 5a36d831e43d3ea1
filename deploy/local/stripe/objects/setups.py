"""SetupIntents: putting a card on file without taking money."""

from ..books import Books, shown
from ..call import CREATED, EXPAND, METADATA, PAGE, Call, Endpoint, listing, matching
from ..cards import AUTHENTICATION_FAILED, BankDecline
from ..errors import Json, StripeError, invalid, unexpected_state
from .events import tell
from .payment_methods import attach, card_of, payment_method

CONFIRM = {**EXPAND, "payment_method": str, "return_url": str}
CREATE = {
    **CONFIRM,
    **METADATA,
    "customer": str,
    "description": str,
    "usage": str,
    "confirm": bool,
    "allowed_payment_method_types": [str],
}


def new_setup(books: Books, *, customer: str | None, usage: str, metadata: dict[str, str]) -> Json:
    """A SetupIntent that still waits for its card."""
    if customer is not None:
        books.customer(customer)
    identity = books.new_id("seti")
    setup = books.add(
        "setup_intent",
        {
            "id": identity,
            "object": "setup_intent",
            "application": None,
            "automatic_payment_methods": None,
            "cancellation_reason": None,
            "client_secret": f"{identity}_secret_{identity[-8:]}",
            "created": books.clock.now(),
            "customer": customer,
            "description": None,
            "flow_directions": None,
            "last_setup_error": None,
            "latest_attempt": None,
            "livemode": False,
            "mandate": None,
            "metadata": metadata,
            "next_action": None,
            "on_behalf_of": None,
            "payment_method": None,
            "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
            "payment_method_types": ["card"],
            "single_use_mandate": None,
            "status": "requires_payment_method",
            "usage": usage,
        },
    )
    tell(books, "setup_intent.created", setup)
    return setup


def set_up(books: Books, setup: Json, method: Json, *, base_url: str, authenticated: bool = False) -> Json:
    """Puts the card on file, or asks its owner for 3D Secure first; raises StripeError (402) when the bank refuses."""
    setup["payment_method"], setup["next_action"] = method["id"], None
    books.changed("setup_intent", setup)
    if card_of(method).authentication != "never" and not authenticated:
        setup["status"] = "requires_action"
        page = f"{base_url}/authenticate/{setup['id']}"
        setup["next_action"] = {
            "type": "redirect_to_url",
            "redirect_to_url": {"url": page, "return_url": setup.get("_return_url")},
        }
        tell(books, "setup_intent.requires_action", setup)
        return setup
    _attach(books, setup, method)
    method["_set_up"] = True
    books.changed("payment_method", method)
    setup["status"], setup["last_setup_error"] = "succeeded", None
    tell(books, "setup_intent.succeeded", setup)
    return setup


def authenticate_setup(books: Books, setup: Json, *, passed: bool, base_url: str) -> Json:
    """The owner of the card has answered its bank's 3D Secure page."""
    if setup["status"] != "requires_action":
        raise _state_error("authenticate", setup)
    method = books.get("payment_method", setup["payment_method"])
    if passed:
        return set_up(books, setup, method, base_url=base_url, authenticated=True)
    _fail(books, setup, method, AUTHENTICATION_FAILED)
    return setup


def _attach(books: Books, setup: Json, method: Json) -> None:
    if setup["customer"] is None:
        return
    try:
        attach(books, method, setup["customer"])
    except StripeError as refusal:
        decline = card_of(method).attach
        if decline is not None:
            _fail(books, setup, method, decline)
            refusal.body["error"]["setup_intent"] = shown(setup)
        raise


def _fail(books: Books, setup: Json, method: Json, decline: BankDecline) -> None:
    setup["last_setup_error"] = {
        "code": decline.code,
        "message": decline.message,
        "type": "card_error",
        "payment_method": shown(method),
        **({"decline_code": decline.decline_code} if decline.decline_code else {}),
    }
    setup["status"], setup["payment_method"], setup["next_action"] = "requires_payment_method", None, None
    books.changed("setup_intent", setup)
    tell(books, "setup_intent.setup_failed", setup)


def _state_error(verb: str, setup: Json) -> StripeError:
    message = f"You cannot {verb} this SetupIntent because it has a status of {setup['status']}."
    return unexpected_state("setup_intent_unexpected_state", message, setup_intent=shown(setup))


def _create(call: Call) -> Json:
    params = call.params
    if "card" not in params.get("allowed_payment_method_types", ["card"]):
        raise invalid("allowed_payment_method_types", "The stand-in knows cards only.")
    setup = new_setup(
        call.books,
        customer=params.get("customer"),
        usage=params.get("usage", "off_session"),
        metadata=params.get("metadata", {}),
    )
    setup["description"] = params.get("description")
    if params.get("confirm"):
        return _confirm_now(call, setup)
    if "payment_method" in params:
        setup["payment_method"] = payment_method(call.books, params["payment_method"])["id"]
        setup["status"] = "requires_confirmation"
    return setup


def _confirm(call: Call) -> Json:
    return _confirm_now(call, call.books.get("setup_intent", call.id))


def _confirm_now(call: Call, setup: Json) -> Json:
    if setup["status"] in {"succeeded", "canceled"}:
        raise _state_error("confirm", setup)
    name = call.params.get("payment_method") or setup["payment_method"]
    if name is None:
        raise _state_error("confirm", setup)
    setup["_return_url"] = call.params.get("return_url")
    return set_up(call.books, setup, payment_method(call.books, name), base_url=call.base_url)


def _cancel(call: Call) -> Json:
    setup = call.books.get("setup_intent", call.id)
    if setup["status"] in {"succeeded", "canceled"}:
        raise _state_error("cancel", setup)
    setup["status"], setup["cancellation_reason"] = "canceled", call.params.get("cancellation_reason")
    call.books.changed("setup_intent", setup)
    tell(call.books, "setup_intent.canceled", setup)
    return setup


def _retrieve(call: Call) -> Json:
    return call.books.get("setup_intent", call.id)


def _list(call: Call) -> Json:
    return listing(call, matching(call, "setup_intent", ["customer"]), url="/v1/setup_intents")


ENDPOINTS = [
    Endpoint("POST", "/v1/setup_intents", _create, CREATE),
    Endpoint("GET", "/v1/setup_intents", _list, {**PAGE, **CREATED, "customer": str}),
    Endpoint("GET", "/v1/setup_intents/{id}", _retrieve, EXPAND),
    Endpoint("POST", "/v1/setup_intents/{id}/confirm", _confirm, CONFIRM),
    Endpoint("POST", "/v1/setup_intents/{id}/cancel", _cancel, {**EXPAND, "cancellation_reason": str}),
]
