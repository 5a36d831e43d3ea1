"""Ask Creditwell what a team can afford, and set credits aside around a model call.

    credits = AsyncClient(URL, token=token, source="/features/chat", spool="/var/spool/credits/0")
    about_2000_tokens = [{"feature": "ai_chat.answer", "quantity": "2000"}]
    async with credits.hold(team="team_42", member="mem_7", items=about_2000_tokens) as hold:
        answer = await model(...)
        hold.used(quantity=answer.usage.total_tokens)

The hold is placed before the work, made longer while it runs, and captured with what was used. With a spool nothing
that was used is lost: not when the API is away, not when the process dies. `Client` is the same for threads. Reporting
usage without a hold is the emitter's (`creditwell-emitter`).

    clients     the two clients
    holds       credits set aside while a block runs
    requests    the calls
    bodies      what they answer, from the API's own document
    calls       a call, and when it is sent again
    sending     a call as a request of HTTP
    settling    what finished work comes to
    captures    settlements on disk until the API has taken them
    errors      what can go wrong
    metering    calls of models, metered by wrapping a provider's client
    mcp_server  what a team has and used, for MCP clients
"""

from .captures import CaptureSpoolInUse
from .clients import AsyncClient, Client
from .errors import (
    ApiError,
    CreditwellError,
    Exhausted,
    Forbidden,
    HoldEnded,
    HoldHasExpired,
    InvalidRequest,
    MemberLimitReached,
    NoAnswer,
    NotAllowed,
    NotFound,
    PlanRequired,
    TopUpsRequired,
    Unauthenticated,
)
from .holds import AsyncHold, SyncHold

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncHold",
    "CaptureSpoolInUse",
    "Client",
    "CreditwellError",
    "Exhausted",
    "Forbidden",
    "HoldEnded",
    "HoldHasExpired",
    "InvalidRequest",
    "MemberLimitReached",
    "NoAnswer",
    "NotAllowed",
    "NotFound",
    "PlanRequired",
    "SyncHold",
    "TopUpsRequired",
    "Unauthenticated",
]
