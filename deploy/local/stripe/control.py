"""`/_control`: what a script or a test may order, as nobody may at Stripe. JSON in, JSON out, on the loopback only.

| route | does |
|---|---|
| `GET /_control/books` | the stand-in's own books: intents, charges, refunds, disputes, sums by currency |
| `GET /_control/requests` | what was asked, under which key, and what was answered |
| `POST /_control/reset` | forgets everything, the clock's advances and the webhooks' address too |
| `POST /_control/clock` `{advance_seconds}` | moves the clock; due webhooks go out, old keys are forgotten |
| `GET`, `POST`, `DELETE /_control/faults` | spoils calls to come (a rule of `faults.py`); forgets the script |
| `GET /_control/held?count=`, `POST /_control/release` | waits until so many requests are held; lets them go |
| `POST /_control/outcomes` `{outcome, customer?, payment_method?, times?}` | what the bank says next |
| `POST /_control/tax` `{percent}` | what automatic tax adds to Checkouts made from now on |
| `POST /_control/payment_intents/{id}/settle` `{outcome}` | ends `processing` |
| `POST /_control/disputes` `{charge, reason?, amount?}`, `…/{id}/close` `{won}` | the bank disputes; decides |
| `POST /_control/disputes/{id}/appeal` `{reviewed}` | a dispute that was lost is taken up again |
| `POST /_control/payouts` `{currency, amount?}` | what is on the balance goes to the bank; with an amount, by hand |
| `POST /_control/refunds/{id}/fail` | a refund that was made does not arrive |
| `POST /_control/webhooks/address` `{url, secret}` | where events go |
| `GET`, `POST`, `DELETE /_control/webhooks` | deliveries; a rule (`lose double delay hold`); forgets the rules |
| `POST /_control/webhooks/release` `{order, seed?}` | lets go what was held: `given`, `reversed` or `shuffled` |
| `POST /_control/webhooks/resend` `{event}`, `GET …/settled` | posts it again; waits until nothing is due |
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .books import Books, shown
from .cards import BankDecline, ordered
from .errors import Json, StripeError
from .objects.balance import pay_out
from .objects.bank import settle
from .objects.checkout import session_of
from .objects.events import tell
from .objects.reversals import appeal_dispute, close_dispute, fail_refund, open_dispute
from .webhooks import DeliveryRule, WebhookSender
from .world import StripeStandIn

Order = Callable[[Request, Json], Awaitable[Any]]

TOLD_OF_INTENTS: Final = ("id", "status", "amount", "currency", "customer", "latest_charge", "metadata", "created")
TOLD_OF_CHARGES: Final = (
    "id",
    "payment_intent",
    "amount",
    "amount_refunded",
    "currency",
    "customer",
    "disputed",
    "metadata",
)


def routes(world: StripeStandIn, webhook_sender: WebhookSender) -> list[Route]:
    """All that a script may order."""
    return [
        *_of_the_books(world, webhook_sender),
        *_of_the_script(world),
        *_of_the_bank(world),
        *_of_money_back(world),
        *_of_webhooks(world, webhook_sender),
    ]


def books_of(books: Books) -> Json:
    """The truth that our own log is compared with: what exists, what was paid, and what went back."""
    charged = [paid for paid in books.all("charge") if paid["status"] == "succeeded"]
    totals: dict[str, Json] = {}
    for paid in charged:
        total = totals.setdefault(paid["currency"], {"charged": 0, "refunded": 0, "charges": 0})
        total["charged"] += paid["amount"]
        total["refunded"] += paid["amount_refunded"]
        total["charges"] += 1
    return {
        "now": books.clock.now(),
        "payment_intents": [
            {**{name: intent[name] for name in TOLD_OF_INTENTS}, "confirmations": intent["_confirmations"]}
            for intent in books.all("payment_intent")
        ],
        "charges": [{name: paid[name] for name in TOLD_OF_CHARGES} for paid in charged],
        "refunds": [shown(refund) for refund in books.all("refund")],
        "disputes": [shown(dispute) for dispute in books.all("dispute")],
        "customers": [shown(customer) for customer in books.all("customer")],
        "checkout_sessions": [shown(session) for session in books.all("checkout.session")],
        "totals": totals,
    }


def _of_the_books(world: StripeStandIn, webhook_sender: WebhookSender) -> list[Route]:
    async def books(_: Request, __: Json) -> Json:
        return books_of(world.books)

    async def requests(_: Request, __: Json) -> list[Json]:
        return list(world.requests)

    async def reset(_: Request, __: Json) -> Json:
        world.clear()
        webhook_sender.clear()
        return {}

    async def clock(_: Request, body: Json) -> Json:
        world.books.advance(int(body["advance_seconds"]))
        return {"now": world.books.clock.now()}

    return [
        _route(world, "GET", "books", books),
        _route(world, "GET", "requests", requests),
        _route(world, "POST", "reset", reset),
        _route(world, "POST", "clock", clock),
    ]


def _of_the_script(world: StripeStandIn) -> list[Route]:
    async def add_fault(_: Request, body: Json) -> Json:
        return vars(world.faults.add(body))

    async def list_faults(_: Request, __: Json) -> list[Json]:
        return [vars(rule) for rule in world.faults.rules]

    async def forget_faults(_: Request, __: Json) -> Json:
        world.faults.rules.clear()
        return {}

    async def held(request: Request, _: Json) -> Json:
        await world.gate.arrived(int(request.query_params.get("count", "1")))
        return {"held": world.gate.waiting}

    async def release(_: Request, __: Json) -> Json:
        return {"released": world.gate.release()}

    return [
        _route(world, "GET", "faults", list_faults),
        _route(world, "POST", "faults", add_fault),
        _route(world, "DELETE", "faults", forget_faults),
        _route(world, "GET", "held", held),
        _route(world, "POST", "release", release),
    ]


def _of_the_bank(world: StripeStandIn) -> list[Route]:
    books = world.books

    async def outcomes(_: Request, body: Json) -> Json:
        note = books.note("outcomes")
        order = {"customer": None, "payment_method": None, "times": 1, **body}
        ordered(order["outcome"])
        note.setdefault("orders", []).append(order)
        books.changed("note", note)
        return order

    async def tax(_: Request, body: Json) -> Json:
        note = books.note("tax")
        note["percent"] = int(body["percent"])
        books.changed("note", note)
        return note

    async def settle_intent(request: Request, body: Json) -> Json:
        intent = books.get("payment_intent", request.path_params["id"])
        if intent["status"] != "processing":
            message = f"{intent['id']} is not processing, but {intent['status']}"
            raise ValueError(message)
        answer = ordered(body["outcome"])
        settle(books, intent, answer, base_url=str(request.base_url).rstrip("/"))
        _tell_of_session(books, intent, failed=isinstance(answer, BankDecline))
        return intent

    return [
        _route(world, "POST", "outcomes", outcomes),
        _route(world, "POST", "tax", tax),
        _route(world, "POST", "payment_intents/{id}/settle", settle_intent),
    ]


def _of_money_back(world: StripeStandIn) -> list[Route]:
    books = world.books

    async def dispute(_: Request, body: Json) -> Json:
        paid = books.get("charge", body["charge"])
        return open_dispute(books, paid, reason=body.get("reason", "fraudulent"), amount=body.get("amount"))

    async def close(request: Request, body: Json) -> Json:
        return close_dispute(books, books.get("dispute", request.path_params["id"]), won=bool(body["won"]))

    async def appeal(request: Request, body: Json) -> Json:
        dispute = books.get("dispute", request.path_params["id"])
        return appeal_dispute(books, dispute, reviewed=bool(body["reviewed"]))

    async def payout(_: Request, body: Json) -> Json:
        return pay_out(books, str(body["currency"]), by_hand=body.get("amount"))

    async def fail(request: Request, _: Json) -> Json:
        return fail_refund(books, books.get("refund", request.path_params["id"]))

    return [
        _route(world, "POST", "payouts", payout),
        _route(world, "POST", "refunds/{id}/fail", fail),
        _route(world, "POST", "disputes", dispute),
        _route(world, "POST", "disputes/{id}/close", close),
        _route(world, "POST", "disputes/{id}/appeal", appeal),
    ]


def _of_webhooks(world: StripeStandIn, webhook_sender: WebhookSender) -> list[Route]:
    async def address(_: Request, body: Json) -> Json:
        webhook_sender.address.url, webhook_sender.address.secret = body["url"], body["secret"]
        return {"url": webhook_sender.address.url}

    async def deliveries(_: Request, __: Json) -> list[Json]:
        types = {event["id"]: event["type"] for event in world.books.all("event")}
        return [{**delivery, "type": types[delivery["event"]]} for delivery in world.books.all("delivery")]

    async def add_rule(_: Request, body: Json) -> Json:
        rule = DeliveryRule(**body)
        webhook_sender.rules.append(rule)
        return vars(rule)

    async def forget_rules(_: Request, __: Json) -> Json:
        webhook_sender.rules.clear()
        return {}

    async def release(_: Request, body: Json) -> Json:
        return {"released": webhook_sender.release(order=body.get("order", "given"), seed=body.get("seed", 0))}

    async def resend(_: Request, body: Json) -> Json:
        return webhook_sender.again(body["event"])

    async def settled(_: Request, __: Json) -> Json:
        await webhook_sender.settled()
        return {}

    return [
        _route(world, "POST", "webhooks/address", address),
        _route(world, "GET", "webhooks", deliveries),
        _route(world, "POST", "webhooks", add_rule),
        _route(world, "DELETE", "webhooks", forget_rules),
        _route(world, "POST", "webhooks/release", release),
        _route(world, "POST", "webhooks/resend", resend),
        _route(world, "GET", "webhooks/settled", settled),
    ]


def _tell_of_session(books: Books, intent: Json, *, failed: bool) -> None:
    session = session_of(books, "payment_intent", intent["id"])
    if session is None:
        return
    session["payment_status"] = "unpaid" if failed else "paid"
    books.changed("checkout.session", session)
    tell(books, f"checkout.session.async_payment_{'failed' if failed else 'succeeded'}", session)


def _route(world: StripeStandIn, method: str, path: str, order: Order) -> Route:
    async def handle(request: Request) -> Response:
        try:
            body = await request.json() if request.method == "POST" and await request.body() else {}
            return JSONResponse(shown(await order(request, body)))
        except StripeError as refusal:
            return JSONResponse(refusal.body, status_code=refusal.status)
        except (ValueError, TypeError, KeyError) as mistake:
            return JSONResponse({"error": f"{type(mistake).__name__}: {mistake}"}, status_code=400)

    return Route(f"/_control/{path}", world.committed(handle), methods=[method])
