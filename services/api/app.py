"""The application: its routes, what surrounds them, and the document that describes them."""

from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi
from starlette.types import ASGIApp

from services.api import (
    activity,
    balances,
    gifts,
    holds,
    limits,
    models,
    pages,
    payment_methods,
    purchases,
    quotes,
    rates,
    reporting,
    simulate,
    streams,
    teams,
    top_up,
    usage,
    webhook,
)
from services.api.around import Around
from services.api.outgoing import describe_notices
from services.api.problems import handle_problems
from services.api.world import World
from services.health import health_routes

MODULES = (
    teams,
    balances,
    activity,
    usage,
    streams,
    rates,
    quotes,
    holds,
    limits,
    reporting,
    top_up,
    simulate,
    purchases,
    payment_methods,
    gifts,
    webhook,
    pages,
)
SENT_HEADERS = ("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "Last-Event-ID", "X-Request-Id")
SHOWN_HEADERS = ("ETag", "Idempotency-Replayed", "Retry-After", "X-Request-Id")
ABOUT = "Credits of teams: balances, activity, prices, permission. Credits are decimal strings, money is minor units, times are UTC."


def create_app(world: World) -> ASGIApp:
    """The API and the Usage page, as an ASGI application."""
    app = FastAPI(
        title="Creditwell", version="1", description=ABOUT, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.world = world
    for module in MODULES:
        app.include_router(module.routes)
    app.router.routes.extend(health_routes(world.health))
    handle_problems(app)
    describe_notices(app)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    app.add_middleware(
        CORSMiddleware, allow_origins=world.settings.cors_origins, allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=SENT_HEADERS, expose_headers=SHOWN_HEADERS, max_age=600,
    )  # fmt: skip
    return Around(app, world.health.registry)


def _document(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1: made once, from the routes and the models."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes,
            webhooks=app.webhooks.routes,
        )  # fmt: skip
        parts = document.setdefault("components", {})
        parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
        for model in (models.Problem, models.CloudEvent):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            parts["schemas"].setdefault(model.__name__, schema)
        app.openapi_schema = document
    return app.openapi_schema
