"""A call as a request of httpx2, and its answer."""

import json
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

import httpx2

from .calls import Answer, ApiCall, exchange

T = TypeVar("T")
Token = str | Callable[[], str]


class TokenMissing(Exception):
    """The function that has tokens at hand raised."""


TROUBLES = (httpx2.RequestError, TokenMissing)


def request(http: httpx2.Client | httpx2.AsyncClient, call: ApiCall[Any], token: Token) -> httpx2.Request:
    """The call as a request.

    Raises:
        TokenMissing: there is no token now.
    """
    try:
        bearer = token if isinstance(token, str) else token()
    except Exception as error:
        raise TokenMissing(f"there is no token: {error!r}") from error
    headers = {**call.headers, "authorization": f"Bearer {bearer}"}
    return http.build_request(
        call.method, call.path, params=dict(call.query), headers=headers,
        content=None if call.body is None else json.dumps(call.body, default=str)  # a Decimal as its digits,
    )  # fmt: skip


def answer_of(response: httpx2.Response) -> Answer:
    """The response, with its body where that is JSON."""
    try:
        body = response.json() if response.content else None
    except (ValueError, RecursionError):
        body = None
    after = response.headers.get("retry-after", "")
    return Answer(response.status_code, body, float(after) if after.isdecimal() else None)


def send(http: httpx2.Client, call: ApiCall[T], token: Token, patience_seconds: float) -> T:
    """Send a call, again where that helps.

    Raises:
        ApiError: the API said no.
        NoAnswer: no answer that counts came in time.
    """
    steps = exchange(patience_seconds)
    pause = next(steps)
    while True:
        try:
            if pause is None:
                pause = steps.send(_answer(http, call, token))
            else:
                time.sleep(pause)
                pause = next(steps)
        except StopIteration as done:
            return cast("T", done.value)


def _answer(http: httpx2.Client, call: ApiCall[Any], token: Token) -> Answer:
    try:
        return answer_of(http.send(request(http, call, token)))
    except TROUBLES as trouble:
        return Answer(0, trouble=repr(trouble))
