"""What Stripe tells about what happened: events, kept in the books and handed to the sender of webhooks."""

from typing import Any

from ..books import API_VERSION, Books, shown
from ..call import CREATED, PAGE, Call, Endpoint, listing
from ..errors import Json


def tell(books: Books, kind: str, body: Json, *, before: Json | None = None) -> Json:
    """Records that something happened to an object, with a copy of the object as it is now."""
    data: dict[str, Any] = {"object": shown(body)}
    if before is not None:
        data["previous_attributes"] = before
    event: Json = {
        "id": books.new_id("evt"),
        "object": "event",
        "api_version": API_VERSION,
        "created": books.clock.now(),
        "data": data,
        "livemode": False,
        "pending_webhooks": 0,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
    }
    books.add("event", event)
    books.post(event, state="new")
    return event


def _list(call: Call) -> Json:
    types = {call.params["type"]} if "type" in call.params else set(call.params.get("types", []))
    matches = (event for event in call.books.newest_first("event") if not types or event["type"] in types)
    return listing(call, matches, url="/v1/events")


def _retrieve(call: Call) -> Json:
    return call.books.get("event", call.id)


ENDPOINTS = [
    Endpoint("GET", "/v1/events", _list, {**PAGE, **CREATED, "type": str, "types": [str]}),
    Endpoint("GET", "/v1/events/{id}", _retrieve, {"expand": [str]}),
]
