"""What goes wrong, in one form: RFC 9457, with a stable `code` and a sentence that says what to do.

    Refused      422 with its reason as the code, or what `codes.py` says of it
    Unavailable  503: the same request may succeed in a moment; `stripe_away` where it is Stripe that does not answer
    NotPriced    422 with its reason
    UnknownZone  422 `unknown_zone`: this build can't reckon the team's cycles, another one may
    the rest     500 `internal`: our mistake; the log has it, the answer does not

A caller may act on the code; the words may change.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_problem.error import Problem
from fastapi_problem.handler import ExceptionHandler, add_exception_handler, new_exception_handler
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from schemas.cycles import UnknownZone
from schemas.facts import UnknownFact
from schemas.pricing import NotPriced
from schemas.problems import advice, in_utf8
from services.api.openapi.codes import STATUS, title_of, type_of
from services.money.stripe_client import Busy, Unknown
from services.runtime.errors import Refused, Unavailable
from services.store.append import AlreadyStored
from services.store.connect import AWAY
from services.store.lives import StoreUnchecked

CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}
AGAIN = {"retry-after": "1"}
KEY_HEADER = "idempotency-key"

log = structlog.get_logger("api")


def problem(status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any) -> Problem:
    """A problem to raise; `more` are members that its reader can act upon."""
    return Problem(title_of(code), type_of(code), detail, status, headers, code=code, **more)


def problem_response(raised: Problem) -> Response:
    """The answer, for what fails before there is an application to ask."""
    headers = {"content-type": "application/problem+json", **(raised.headers or {})}
    return JSONResponse(raised.marshal(), raised.status, headers)


def handle_problems(app: FastAPI) -> None:
    """Answer every failure of an application in this one form."""
    handlers = {
        Problem: _as_it_is, Refused: _refused, NotPriced: _not_priced, UnknownZone: _unknown_zone, Unknown: _stripe_away, Busy: _stripe_away, Unavailable: _unavailable, UnknownFact: _newer, AlreadyStored: _already_stored,
        ClientDisconnect: _hung_up, **dict.fromkeys(AWAY, _away), StoreUnchecked: _unchecked, Exception: _ours,
    }  # fmt: skip
    eh = new_exception_handler(
        handlers=handlers, http_exception_handler=_http, request_validation_handler=_invalid,  # type: ignore[arg-type]
    )  # fmt: skip
    # `Exception` is matched last, whatever the order in which the library adds its own.
    eh.handlers[Exception] = eh.handlers.pop(Exception)
    add_exception_handler(app, eh, generic_swagger_defaults=False)
    for kind in handlers:
        app.add_exception_handler(kind, eh)


def _as_it_is(_: ExceptionHandler, __: Request, raised: Problem) -> Problem:
    return raised


def _refused(_: ExceptionHandler, __: Request, refused: Refused) -> Problem:
    return problem(STATUS.get(refused.reason, 422), refused.reason, refused.detail)


def _not_priced(_: ExceptionHandler, __: Request, not_priced: NotPriced) -> Problem:
    return problem(STATUS.get(not_priced.reason, 422), not_priced.reason, not_priced.detail)


def _unknown_zone(_: ExceptionHandler, request: Request, unknown: UnknownZone) -> Problem:
    log.error("this build can't reckon a team's cycles", path=request.url.path, why=str(unknown))
    return problem(422, "unknown_zone", f"this build can't reckon the team's cycles: {unknown}")


def _unavailable(_: ExceptionHandler, __: Request, unavailable: Unavailable) -> Problem:
    return problem(503, unavailable.code, str(unavailable), headers=dict(AGAIN))


def _newer(_: ExceptionHandler, request: Request, unknown: UnknownFact) -> Problem:
    """While two builds run side by side, another process may know it."""
    log.warning("a newer build wrote of this team", path=request.url.path, type=unknown.type_name)
    return problem(503, "unavailable", str(unknown), headers=dict(AGAIN))


def _stripe_away(_: ExceptionHandler, request: Request, error: Unavailable) -> Problem:
    log.warning("Stripe does not answer", path=request.url.path, error=repr(error))
    detail = "Stripe does not answer; try the same again in a moment: nothing is charged twice"
    return problem(503, "stripe_away", detail, headers=dict(AGAIN))


def _already_stored(_: ExceptionHandler, __: Request, ___: AlreadyStored) -> Problem:
    return problem(409, "already_done", "a command with this Idempotency-Key was carried out; read what it did")


def _away(_: ExceptionHandler, request: Request, error: Exception) -> Problem:
    log.warning("the database does not answer", path=request.url.path, error=repr(error))
    return problem(503, "unavailable", "the store does not answer; try again in a moment", headers=dict(AGAIN))


def _unchecked(_: ExceptionHandler, __: Request, unchecked: StoreUnchecked) -> Problem:
    return problem(503, "store_unchecked", f"{unchecked}; nothing was done", headers={"retry-after": "3"})


def _hung_up(_: ExceptionHandler, request: Request, __: ClientDisconnect) -> Problem:
    log.debug("the client hung up", method=request.method, path=request.url.path)
    return problem(400, "bad_request", "the body did not come to its end")  # nobody is there to read it


def _ours(_: ExceptionHandler, request: Request, error: Exception) -> Problem:
    log.error("failed to answer", method=request.method, path=request.url.path, exc_info=error)
    return problem(500, "internal", "this is our mistake and has been logged")


def _http(_: ExceptionHandler, request: Request, error: HTTPException) -> Problem:
    code = CODES.get(error.status_code, HTTPStatus(error.status_code).phrase.lower().replace(" ", "_"))
    detail = {
        404: f"there is nothing at {request.url.path}",
        405: f"{request.url.path} does not take {request.method}",
    }.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {}) | ({"Allow": _allowed(request)} if error.status_code == 405 else {})
    return problem(error.status_code, code, detail, headers=headers)


def _allowed(request: Request) -> str:
    """Every method that this address takes; the router knows those of its first route alone."""
    here = (route for route in request.app.state.offered if route.path_regex.match(request.url.path))
    return ", ".join(sorted({method for route in here for method in route.methods}))


def _invalid(_: ExceptionHandler, __: Request, error: RequestValidationError) -> Problem:
    if any(one["type"] == "missing" and one["loc"] == ("header", KEY_HEADER) for one in error.errors()):
        return problem(
            400, "idempotency_key_required", f"send the header {KEY_HEADER}: any text that names this attempt"
        )
    errors = [{"where": _where(one["loc"]), "problem": advice(one)} for one in error.errors()]
    sentences = "; ".join(f"{one['where']}: {one['problem']}" for one in errors[:3])
    return problem(422, "invalid_request", sentences, errors=errors)


def _where(path: Sequence[int | str]) -> str:
    """`items[0].quantity`, or `days in the query`."""
    place, *steps = (in_utf8(step) if isinstance(step, str) else step for step in path)
    if place != "body":
        return f"{'.'.join(map(str, steps))} in the {place}"
    in_body = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return in_body.lstrip(".") or "the body"
