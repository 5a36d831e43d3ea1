"""`POST /v1/usage` and `GET …/receipts`: usage by HTTP, and what became of it.

What comes in here goes to Kafka and is judged by the recorder, like everything else; only what a token can tell is
checked first. Kafka has acknowledged it when the answer is 202.
"""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import msgspec
from fastapi import APIRouter, Query
from fastapi_problem.error import Problem
from pydantic import ValidationError
from starlette.responses import Response

from schemas.cloudevents import BYTE_ORDER_MARK
from schemas.credits import format_credits
from schemas.facts import OURS, Name
from schemas.instants import instant_or_none
from schemas.problems import problems_of
from schemas.usage import Source
from services.api.access import AllowedRequest, route
from services.api.answers import Json, answer
from services.api.bodies import body_of, entries_of, media_type_of, parse_json, schema_of
from services.api.models import examples
from services.api.models.work import CloudEvent, ReceiptAnswer, Sent, SentInPart
from services.api.openapi.route_docs import link
from services.api.problems import problem
from services.api.tokens import Caller, TokenRole
from services.api.usage_producer import RECORD_BYTES
from services.usage.receipts import Status, read_receipt
from services.usage.receipts import UsageReceipt as Became

ONE = ("application/json", "application/cloudevents+json")
BATCH = "application/cloudevents-batch+json"
BATCH_MAX = 1_000
FORBIDDEN = 403
EVENT_BYTES_MAX = RECORD_BYTES - 1_024  # a record has a key and a frame, too
EVENT = schema_of(CloudEvent)
EVENTS = {"type": "array", "items": EVENT, "minItems": 1, "maxItems": BATCH_MAX, "examples": [[examples.EVENT]]}
BODY = body_of({**dict.fromkeys(ONE, EVENT), BATCH: EVENTS})
FAILS = ("team_not_allowed", "source_not_allowed", "too_large", "kafka_away")
LEADS = {
    "receipt": link(
        "get_receipt", "What became of it, where it was one.",
        team="$request.body#/subject", source="$request.body#/source", id="$request.body#/id",
    )
}  # fmt: skip

routes = APIRouter()


@route(
    routes, "POST", "/v1/usage", TokenRole.SERVICE, gives=Sent, status=202, tags=["usage"], openapi_extra=BODY,
    fails=FAILS, links=LEADS, responses={207: {"model": SentInPart, "description": "Some were sent."}},
)  # fmt: skip
async def post_usage(ask: AllowedRequest) -> Response:
    """Report usage: one CloudEvent, or a batch of them.

    Each event of a batch is judged alone: 207 where some were sent and some are wrong.
    """
    reported = _events(await ask.request.body(), media_type_of(ask.request))
    judged = [_judged(event, f"event {number}", ask.caller) for number, event in enumerate(reported, 1)]
    right = [
        (event, as_it_is) for event, as_it_is in zip(judged, reported, strict=True) if not isinstance(event, Problem)
    ]
    wrong = next((event for event in judged if isinstance(event, Problem)), None)
    if wrong is not None and not right:
        raise wrong
    await ask.context.reports.send([(event["subject"], as_it_is) for event, as_it_is in right])
    if wrong is None:
        return answer({"receipts": [_pending(event) for event, _ in right]}, 202)
    return answer({"results": [_result(index, event) for index, event in enumerate(judged)]}, 207)


def _judged(event: bytes, name: str, caller: Caller) -> dict[str, Any] | Problem:
    try:
        checked = _check(parse_json(event, name=name), name, caller)
    except Problem as wrong:
        if wrong.status == FORBIDDEN:
            raise  # what a token may not do is nobody's slip: nothing of such a batch is sent
        return wrong
    if len(event) > EVENT_BYTES_MAX:
        return problem(422, "too_large", f"{name}: an event has at most {EVENT_BYTES_MAX} bytes")
    return checked


def _result(index: int, event: dict[str, Any] | Problem) -> Json:
    if isinstance(event, Problem):
        refused = event.marshal()
        return {
            "index": index,
            "status": event.status,
            "receipt": None,
            "code": refused["code"],
            "detail": refused["detail"],
        }
    return {"index": index, "status": 202, "receipt": _pending(event), "code": None, "detail": None}


def _events(body: bytes, kind: str) -> list[bytes]:
    """Each event in the bytes in which it came: a number that was read and written again might be another."""
    if kind not in (*ONE, BATCH):
        raise problem(415, "unsupported_media_type", f"send {', '.join(ONE)} or {BATCH}, not {kind or 'nothing'!r}")
    body = body.removeprefix(BYTE_ORDER_MARK)
    is_list = body.lstrip()[:1] == b"["
    try:
        events = msgspec.json.decode(body, type=list[msgspec.Raw]) if is_list else [body]
    except (msgspec.DecodeError, RecursionError):
        events = entries_of(body)
    if not 0 < len(events) <= BATCH_MAX or (kind == BATCH and not is_list):
        raise problem(422, "invalid_request", f"a batch is a list of 1 to {BATCH_MAX} events")
    return [bytes(event) for event in events]


def _check(event: object, name: str, caller: Caller) -> dict[str, Any]:
    """The event, if it is one and its reporter may send it.

    Team and source are what the token vouches for; what the data says, the recorder judges.
    """
    try:
        model = CloudEvent.model_validate(event)
    except ValidationError as error:
        problems = "; ".join(problems_of(event, error)[:3])
        raise problem(422, "invalid_request", f"{name}: {problems}") from error
    if not caller.may_see(model.subject):
        raise problem(403, "team_not_allowed", f"{name}: this token does not report for team {model.subject!r}")
    if model.source.startswith(OURS) or not caller.may_report(model.source):
        raise problem(403, "source_not_allowed", f"{name}: this token does not report as {model.source!r}")
    assert isinstance(event, dict)
    return event


def _pending(event: Mapping[str, Any]) -> Json:
    query = urlencode({"source": event["source"], "id": event["id"]})
    href = f"/v1/teams/{quote(event['subject'], safe='')}/receipts?{query}"
    return {**receipt_body(Became(Status.PENDING)), "source": event["source"], "id": event["id"], "href": href}


@route(
    routes,
    "GET",
    "/v1/teams/{team}/receipts",
    TokenRole.SERVICE,
    gives=ReceiptAnswer,
    tags=["usage"],
    fails=("catching_up",),
)
async def get_receipt(
    ask: AllowedRequest,
    source: Annotated[Source, Query(description="The event's source.")],
    event_id: Annotated[Name, Query(alias="id", description="The event's id.")],
) -> Response:
    """What became of a usage."""
    async with ask.transaction() as connection:
        return answer(receipt_body(await read_receipt(connection, ask.team_id, source, event_id)))


def receipt_body(became: Became) -> Json:
    """A receipt as everybody reads it."""
    return {
        "status": became.status.value, "position": became.place, "recorded_at": instant_or_none(became.recorded_at),
        "credits": None if became.credits is None else format_credits(became.credits), "reason": became.reason,
        "detail": became.detail, "duplicates": became.duplicates, "conflicts": became.conflicts, "corrects": became.corrects,
    }  # fmt: skip
