"""The bank and a payment intent: what it says when it is asked for the money, and where that leaves the intent."""

from ..books import Books, shown
from ..cards import AUTHENTICATION_FAILED, BankDecline, CardVerdict, ordered, verdict
from ..errors import Json, StripeError, card_error
from .charges import charge
from .events import tell
from .payment_methods import card_of
from .reversals import open_dispute


def pay(
    books: Books, intent: Json, method: Json, *, base_url: str, off_session: bool, authenticated: bool = False
) -> CardVerdict:
    """Asks the bank, once, and writes down what it said; the caller tells the person or the program."""
    intent["_confirmations"] += 1
    answer = _ordered_by_script(books, intent, method) or verdict(
        card_of(method), set_up=method["_set_up"], off_session=off_session, authenticated=authenticated
    )
    intent["payment_method"] = method["id"]
    settle(books, intent, answer, base_url=base_url)
    return answer


def settle(books: Books, intent: Json, answer: CardVerdict, *, base_url: str) -> None:
    """Brings an intent to where the bank's answer leaves it, with its charge and its events."""
    method = books.get("payment_method", intent["payment_method"])
    intent["next_action"], intent["processing"] = None, None
    match answer:
        case "succeeded":
            _succeed(books, intent, method, base_url)
        case "processing":
            intent["status"], intent["processing"] = "processing", {"type": "card", "card": {}}
            tell(books, "payment_intent.processing", intent)
        case "requires_action":
            intent["status"], intent["next_action"] = "requires_action", _next_action(intent, base_url)
            tell(books, "payment_intent.requires_action", intent)
        case BankDecline():
            _fail(books, intent, method, answer, base_url)
    books.changed("payment_intent", intent)


def declined(answer: BankDecline, intent: Json) -> StripeError:
    """The 402 that tells a program of a decline, with the intent as it stands now."""
    return card_error(
        answer.message,
        answer.code,
        decline_code=answer.decline_code,
        advice_code=answer.advice_code,
        charge=intent["latest_charge"],
        payment_intent=shown(intent),
        payment_method=intent["last_payment_error"]["payment_method"],
    )


def _succeed(books: Books, intent: Json, method: Json, base_url: str) -> None:
    paid = charge(books, intent, method, base_url=base_url, decline=None)
    intent["status"], intent["amount_received"] = "succeeded", intent["amount"]
    intent["latest_charge"], intent["last_payment_error"] = paid["id"], None
    if intent["setup_future_usage"] == "off_session":
        method["_set_up"] = True
        if intent["customer"] is not None and method["customer"] is None:
            method["customer"] = intent["customer"]
            tell(books, "payment_method.attached", method)
        books.changed("payment_method", method)
    tell(books, "charge.succeeded", paid)
    tell(books, "payment_intent.succeeded", intent)
    reason = card_of(method).dispute
    if reason is not None:
        open_dispute(books, paid, reason=reason)


def _fail(books: Books, intent: Json, method: Json, decline: BankDecline, base_url: str) -> None:
    error: Json = {"code": decline.code, "message": decline.message, "type": "card_error"}
    error |= {"doc_url": f"https://stripe.com/docs/error-codes/{decline.code.replace('_', '-')}"}
    if decline is not AUTHENTICATION_FAILED:
        failed = charge(books, intent, method, base_url=base_url, decline=decline)
        intent["latest_charge"] = error["charge"] = failed["id"]
        tell(books, "charge.failed", failed)
    details = {"decline_code": decline.decline_code, "advice_code": decline.advice_code}
    error |= {name: value for name, value in details.items() if value is not None}
    intent["last_payment_error"] = {**error, "payment_method": shown(method)}
    intent["payment_method"], intent["status"] = None, "requires_payment_method"
    tell(books, "payment_intent.payment_failed", intent)


def _next_action(intent: Json, base_url: str) -> Json:
    page = f"{base_url}/authenticate/{intent['id']}"
    if intent.get("_return_url") is None:
        return {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect", "stripe_js": page}}
    return {"type": "redirect_to_url", "redirect_to_url": {"url": page, "return_url": intent["_return_url"]}}


def _ordered_by_script(books: Books, intent: Json, method: Json) -> CardVerdict | None:
    note = books.note("outcomes")
    for order in note.get("orders", []):
        pairs = ((order["customer"], intent["customer"]), (order["payment_method"], method["id"]))
        if order["times"] > 0 and all(name in {None, present} for name, present in pairs):
            order["times"] -= 1
            books.changed("note", note)
            return ordered(order["outcome"])
    return None
