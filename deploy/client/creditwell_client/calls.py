"""What each call is, and when it is sent again. No network here: `Client` and `AsyncClient` send.

Every call may be repeated: reads by nature, commands by their Idempotency-Key, usage by its id.
"""

import random
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote as quoted

from .errors import ApiError, NoAnswer, error_of

T = TypeVar("T")
Item = Mapping[str, Any]

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.1, 5.0
AGAIN = {429, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class ApiCall(Generic[T]):
    """A request whose good answer is a T."""

    method: str
    path: str
    query: Mapping[str, str | int] = field(default_factory=dict)
    body: Any = None
    key: str | None = None
    media_type: str = "application/json"
    traceparent: str | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Beside those of every request."""
        headers = {} if self.body is None else {"content-type": self.media_type}
        more = {"idempotency-key": self.key, "traceparent": self.traceparent}
        return headers | {name: text for name, text in more.items() if text is not None}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: a status with its body, or why nothing did."""

    status: int
    body: Any = None
    retry_after: float | None = None
    trouble: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it is a good answer of the API: a redirection and the page of a proxy are none."""
        return 200 <= self.status < 300 and isinstance(self.body, dict)


Steps = Generator[float | None, Answer, T]


def exchange(patience_seconds: float) -> Steps[Any]:
    """Send, wait, send again: yields None to send and seconds to wait; returns the good answer's body.

    Raises:
        ApiError: the API said no.
        NoAnswer: it said nothing that counts in time.
    """
    began, wait = time.monotonic(), FIRST_WAIT_SECONDS
    while True:
        answer = yield None
        if answer.status and answer.status not in AGAIN:
            if answer.is_ours:
                return answer.body
            if answer.status >= 400:
                raise said_no(answer)
        pause = max(answer.retry_after or 0.0, random.uniform(wait / 2, wait))
        if time.monotonic() - began + pause > patience_seconds:
            last = said_no(answer) if answer.status else answer.trouble
            raise NoAnswer(f"no answer that counts within {patience_seconds:g} s: {last}")
        yield pause
        wait = min(2 * wait, LONGEST_WAIT_SECONDS)


def said_no(answer: Answer) -> ApiError:
    """The error of an answer that is none of ours, too: a proxy's page has no code."""
    return error_of(answer.status, answer.body if isinstance(answer.body, dict) else {})


def team_path(team: str, *parts: str) -> str:
    """The address of a team, or of something of it."""
    return "/".join(["/v1/teams", *(quoted(part, safe="") for part in (team, *parts))])
