"""What schemathesis must know of Creditwell: who may ask, how Stripe signs, and that an answer has no member but the documented ones.

Loaded by schemathesis itself, as `schemathesis.toml` says; see `tests/integration/api/test_openapi.py`.
"""

import hashlib
import hmac
import json
import os
import time
from itertools import count
from typing import Any

import schemathesis
from schemathesis.core.parameters import ParameterLocation

from services.api.tokens import TokenRole, mint
from services.runtime.settings_loading import load_settings
from tests.support.openapi import close

Case = schemathesis.Case[Any]
TEAM, WAITING = "team_1", "team_2"
ASKS = (TokenRole.SERVICE, TokenRole.ADMIN, TokenRole.OPERATOR)  # who asks: the first of them that may
SETTINGS = load_settings(insecure_dev=True)
attempts = count()


@schemathesis.auth(refresh_interval=None)
class Caller:
    """A caller whose role may use the route."""

    def get(self, case: Case, context: schemathesis.AuthContext) -> str | None:
        """A token; None where the document names no role."""
        roles = context.operation.definition.raw.get("x-roles")
        if roles is None:
            return None
        role = next(role for role in ASKS if role in roles)
        own = WAITING if case.operation.path.endswith("/confirm") else TEAM
        team = "*" if role is TokenRole.OPERATOR else own
        return mint(SETTINGS, team=team, member="mem_2", role=role, sources=("*",) if role is TokenRole.SERVICE else ())

    def set(self, case: Case, token: str | None, _: schemathesis.AuthContext) -> None:
        """Send it as the document says."""
        if token is not None:
            case.headers["Authorization"] = f"Bearer {token}"


@schemathesis.hook
def before_load_schema(_: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:
    """An answer has the documented members and no others."""
    close(raw_schema)


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Each command is an attempt of its own and mostly for little, each webhook is signed: what is interesting lies behind that."""
    if case.path == "/v1/stripe/webhook" and not is_wrong(case, ParameterLocation.HEADER):
        case.headers["Stripe-Signature"] = signature(json.dumps(case.body, default=str))
    if is_wrong(case):
        return
    attempt = next(attempts)
    if "idempotency-key" in case.headers:
        case.headers["idempotency-key"] = f"{os.getpid()}-{attempt}"
    if isinstance(case.body, dict) and isinstance(case.body.get("credits"), str) and attempt % 4:
        case.body["credits"] = "1.5"


def is_wrong(case: Case, where: ParameterLocation | None = None) -> bool:
    """Whether a request was made to be refused, or is wrong in one place."""
    if case.meta is None:
        return False
    return case.meta.generation.mode.is_negative if where is None else case.meta.is_negative_at(where)


def signature(body: str) -> str:
    """As Stripe would sign it now."""
    now = int(time.time())
    secret = os.environ["CREDITWELL_STRIPE_WEBHOOK_SECRET"]
    signed = hmac.new(secret.encode(), f"{now}.{body}".encode(), hashlib.sha256).hexdigest()
    return f"t={now},v1={signed}"


@schemathesis.check
def valid_data_is_understood(_: schemathesis.CheckContext, response: schemathesis.Response, case: Case) -> None:
    """What is of the documented shape may be refused for what it asks, but never for its shape; a schema can't count a number's digits."""
    if not is_wrong(case) and response.status_code == 422 and "digits before and 9 after" not in response.text:
        assert response.json()["code"] != "invalid_request", response.text
