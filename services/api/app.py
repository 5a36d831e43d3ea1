"""The application: its routes, what surrounds them, and the document that describes them."""

import json
from functools import cache

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from services.api.answers import JSON
from services.api.context import ApiContext
from services.api.middleware import RequestMiddleware
from services.api.openapi.document import write_document
from services.api.openapi.webhooks import describe_notices
from services.api.problems import handle_problems
from services.api.routes import (
    activity,
    balances,
    grants,
    holds,
    limits,
    pages,
    payment_methods,
    purchases,
    quotes,
    rates,
    simulate,
    streams,
    teams,
    top_up,
    usage,
    usage_reports,
    webhook,
)
from services.api.routes.finance import approvals, changes, corrections, every_team, statements
from services.runtime.health_pages import health_routes

MODULES = (
    teams,
    every_team,
    balances,
    activity,
    usage,
    statements,
    streams,
    rates,
    quotes,
    holds,
    limits,
    usage_reports,
    top_up,
    simulate,
    purchases,
    payment_methods,
    grants,
    approvals,
    corrections,
    changes,
    webhook,
    pages,
)
SENT_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "Last-Event-ID", "X-Request-Id")
TRACE_HEADERS = ("traceparent", "tracestate")  # a traced page sends both; the second is nobody's here
SHOWN_HEADERS = ("Content-Disposition", "ETag", "Idempotency-Replayed", "Retry-After", "X-Request-Id")
ABOUT = "Credits of teams: balances, activity, prices, permission. Credits are decimal strings, money is minor units, times are UTC."


def create_app(context: ApiContext) -> ASGIApp:
    """The API and the Usage page, as an ASGI application."""
    app = new_app()
    app.state.context = context
    document = openapi_document()  # at the start, and not while the first who asks and everybody else wait

    async def describe(_: Request) -> Response:
        return Response(document, media_type=JSON)

    app.add_route("/openapi.json", describe, include_in_schema=False)
    for routes in (app.router.routes, app.state.offered):
        routes.extend(health_routes(context.health))
    app.add_middleware(
        CORSMiddleware, allow_origins=context.settings.cors_origins, allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=(*SENT_HEADERS, *TRACE_HEADERS), expose_headers=SHOWN_HEADERS, max_age=600,
    )  # fmt: skip
    return RequestMiddleware(app, context.health.registry)


@cache
def openapi_document() -> bytes:
    """The document of every route, made once: that takes half a second, in which nobody else is answered."""
    return json.dumps(new_app().openapi(), ensure_ascii=False, separators=(",", ":")).encode()


def new_app() -> FastAPI:
    """Every route, and the document that describes them, with nothing behind them yet."""
    app = FastAPI(
        title="Creditwell", version="1", description=ABOUT, openapi_url=None, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    for module in MODULES:
        app.include_router(module.routes)
    app.state.offered = [route for module in MODULES for route in module.routes.routes]
    describe_notices(app)
    handle_problems(app)
    app.openapi = cache(lambda: write_document(app))  # type: ignore[method-assign]
    return app
