"""The pages that a person sees: Checkout, the bank's 3D Secure page, and the receipt.

Plain HTML and forms, nothing from elsewhere, so that a browser test can click through them as a person does.
"""

from html import escape
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from .books import Books
from .cards import CARDS, BankDecline, CardVerdict, TestCard
from .errors import Json, StripeError
from .objects.checkout import complete, expire_when_due, finish, session_of
from .objects.intents import authenticate
from .objects.setups import authenticate_setup
from .world import StripeStandIn

DIGITS = dict.fromkeys(("jpy", "krw", "vnd", "clp"), 0) | dict.fromkeys(("bhd", "jod", "kwd", "omr", "tnd"), 3)
SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
SHELL = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 0; background: #f5f6f8; color: #1a1f36 }}
main {{ max-width: 28rem; margin: 2rem auto; padding: 1.5rem; background: #fff; border: 1px solid #d8dbe4;
  border-radius: 12px }}
h1 {{ font-size: 1.25rem; margin: 0 0 .5rem }} .sum {{ font-size: 2rem; font-weight: 600; margin: 0 }}
.note {{ background: #fff4d6; border-radius: 8px; padding: .5rem .75rem }}
.bad {{ background: #fde8ea; color: #8a1020 }}
fieldset {{ border: 1px solid #d8dbe4; border-radius: 8px; margin: 1rem 0; max-height: 18rem;
  overflow: auto }}
label {{ display: block; padding: .25rem 0 }} small {{ color: #545b75 }}
button {{ font: inherit; padding: .6rem 1rem; border-radius: 8px; border: 1px solid #4b55c8;
  background: #4b55c8; color: #fff }}
button.plain {{ background: #fff; color: #4b55c8 }}
table {{ width: 100%; border-collapse: collapse }} td:last-child {{ text-align: right }}
</style></head><body><main>{body}</main></body></html>"""


def routes(world: StripeStandIn) -> list[Route]:
    """The pages' addresses: `/pay/…`, `/authenticate/…`, `/receipts/…`."""
    books = world.books

    async def checkout(request: Request) -> Response:
        session = books.find("checkout.session", request.path_params["id"])
        if session is None:
            return _page("Not found", "<h1>There is no such Checkout page</h1>", status=404)
        expire_when_due(books, session)
        if request.method == "GET" or session["status"] != "open":
            return _checkout_page(session, None)
        return await _pressed(books, session, request)

    async def bank(request: Request) -> Response:
        kind = "payment_intent" if request.path_params["id"].startswith("pi_") else "setup_intent"
        intent = books.find(kind, request.path_params["id"])
        if intent is None or intent["status"] != "requires_action":
            return _page("3D Secure", "<h1>There is nothing to confirm here</h1>", status=404)
        if request.method == "GET":
            return _bank_page(intent)
        form = await _form(request)
        return _answered(books, kind, intent, passed=form.get("answer") == "yes", base_url=_base(request))

    async def receipt(request: Request) -> Response:
        paid = books.find("charge", request.path_params["id"])
        if paid is None or paid["status"] != "succeeded":
            return _page("Not found", "<h1>There is no such receipt</h1>", status=404)
        return _receipt_page(paid)

    both = ["GET", "POST"]
    return [
        Route("/pay/{id}", world.committed(checkout), methods=both),
        Route("/authenticate/{id}", world.committed(bank), methods=both),
        Route("/receipts/{id}", receipt, methods=["GET"]),
    ]


def money(amount: int, currency: str) -> str:
    """`$20.00`, `¥500`: minor units for people."""
    sign, rest = SYMBOLS.get(currency, ""), "" if currency in SYMBOLS else f" {currency.upper()}"
    places = DIGITS.get(currency, 2)
    whole, part = divmod(amount, 10**places)
    return f"{sign}{whole:,}{f'.{part:0{places}d}' if places else ''}{rest}"


async def _pressed(books: Books, session: Json, request: Request) -> Response:
    form = await _form(request)
    if form.get("action") == "cancel":
        return RedirectResponse(session["cancel_url"] or _base(request), status_code=303, headers=HEADERS)
    try:
        answer = complete(books, session, form.get("card", "pm_card_visa"), base_url=_base(request))
    except StripeError as refusal:
        return _checkout_page(session, str(refusal), status=refusal.status)
    return _after_paying(books, session, answer)


def _after_paying(books: Books, session: Json, answer: CardVerdict) -> Response:
    if isinstance(answer, BankDecline):
        return _checkout_page(session, answer.message, status=402)
    if answer == "requires_action":
        kind = "payment_intent" if session["mode"] == "payment" else "setup_intent"
        action = books.get(kind, session[kind])["next_action"]
        return RedirectResponse(action["redirect_to_url"]["url"], status_code=303, headers=HEADERS)
    return RedirectResponse(_success_url(session), status_code=303, headers=HEADERS)


def _answered(books: Books, kind: str, intent: Json, *, passed: bool, base_url: str) -> Response:
    session = session_of(books, kind, intent["id"])
    if kind == "payment_intent":
        answer = authenticate(books, intent, passed=passed, base_url=base_url)
        fault = answer.message if isinstance(answer, BankDecline) else None
    else:
        authenticate_setup(books, intent, passed=passed, base_url=base_url)
        fault = None if passed else intent["last_setup_error"]["message"]
    if session is None:
        return RedirectResponse(_return_url(kind, intent), status_code=303, headers=HEADERS)
    if fault is not None:
        return _checkout_page(session, fault, status=402)
    finish(books, session)
    return RedirectResponse(_success_url(session), status_code=303, headers=HEADERS)


def _success_url(session: Json) -> str:
    return str(session["success_url"]).replace("{CHECKOUT_SESSION_ID}", session["id"])


def _return_url(kind: str, intent: Json) -> str:
    """Where the bank's page leads back to; Stripe adds the outcome, which nobody should believe unasked."""
    scheme, netloc, path, query, fragment = urlsplit(intent["_return_url"] or "/")
    outcome = "failed" if intent["status"] == "requires_payment_method" else "succeeded"
    added = {kind: intent["id"], f"{kind}_client_secret": intent["client_secret"], "redirect_status": outcome}
    return urlunsplit((scheme, netloc, path, "&".join(filter(None, [query, urlencode(added)])), fragment))


def _checkout_page(session: Json, fault: str | None, *, status: int = 200) -> Response:
    if session["status"] != "open":
        return _page("Checkout", f"<h1>This page is {escape(session['status'])}</h1>", status=410)
    payment = session["mode"] == "payment"
    total = money(session["amount_total"], session["currency"]) if payment else ""
    lines = "".join(_line(line) for line in session["_lines"])
    cards = "".join(_choice(name, card, first=name == "pm_card_visa") for name, card in CARDS.items())
    saved = session["_payment_intent_data"].get("setup_future_usage") == "off_session" or not payment
    body = f"""
<h1>{"Pay" if payment else "Save a card"}</h1>{f'<p class="sum">{total}</p><table>{lines}</table>' if payment else ""}
<p class="note">A stand-in for Stripe: no money moves.</p>{_alert(fault)}
<form method="post"><fieldset><legend>Card</legend>{cards}</fieldset>
{"<p><small>The card is kept for automatic top-ups.</small></p>" if saved else ""}
<button name="action" value="pay">{f"Pay {total}" if payment else "Save card"}</button>
<button name="action" value="cancel" class="plain">Cancel</button></form>"""
    return _page("Checkout", body, status=status)


def _line(line: Json) -> str:
    total = money(line["amount"], line["currency"])
    return f"<tr><td>{escape(line['name'])} &times; {line['quantity']}</td><td>{total}</td></tr>"


def _choice(name: str, card: TestCard, *, first: bool) -> str:
    return (
        f'<label><input type="radio" name="card" value="{name}"{" checked" if first else ""}> '
        f"{escape(card.brand.title())} ending in {card.last4} <small>{escape(card.label)}</small></label>"
    )


def _bank_page(intent: Json) -> Response:
    what = f"a payment of {money(intent['amount'], intent['currency'])}" if "amount" in intent else "to save your card"
    body = f"""
<h1>Your bank asks: is this you?</h1><p>3D Secure test page. Somebody wants {escape(what)}.</p>
<form method="post"><button name="answer" value="yes">Complete authentication</button>
<button name="answer" value="no" class="plain">Fail authentication</button></form>"""
    return _page("3D Secure", body)


def _receipt_page(paid: Json) -> Response:
    card = paid["payment_method_details"]["card"]
    back = f"<p>Refunded: {money(paid['amount_refunded'], paid['currency'])}</p>" if paid["amount_refunded"] else ""
    body = f"""
<h1>Receipt</h1><p class="sum">{money(paid["amount"], paid["currency"])}</p>
<p>{escape(paid["description"] or "Credits")}</p><p>{escape(card["brand"].title())} ending in {card["last4"]}</p>{back}
<p><small>{escape(paid["id"])}</small></p><p class="note">A stand-in for Stripe: no money moved.</p>"""
    return _page("Receipt", body)


def _alert(fault: str | None) -> str:
    return "" if fault is None else f'<p class="note bad" role="alert">{escape(fault)}</p>'


def _page(title: str, body: str, *, status: int = 200) -> Response:
    return HTMLResponse(SHELL.format(title=escape(title), body=body), status_code=status, headers=HEADERS)


async def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl((await request.body()).decode()))


def _base(request: Request) -> str:
    return str(request.base_url).rstrip("/")
