"""What an answer of `POST /v1/usage` means for a batch of the spool."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

ACCEPTED, IN_PART = 202, 207
WRONG = {413, 422}  # of an event: today and tomorrow
OF_THE_EVENT = "team_not_allowed"  # any other 403 is against the token or the emitter, which may be mended


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """A status with the members of its body, if it has some."""

    status: int
    body: dict[str, Any]
    retry_after_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class RefusedReport:
    """An event of a batch that will never be taken, and why."""

    index: int
    status: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class TakenBatch:
    """The API has answered for all of the batch."""

    refusals: Sequence[RefusedReport] = ()


@dataclass(frozen=True, slots=True)
class TooMuchAtOnce:
    """Something of the batch is wrong, and the answer does not say what: send less."""


@dataclass(frozen=True, slots=True)
class SendAgain:
    """Nothing against the batch: the same later."""

    reason: str
    retry_after_seconds: float | None = None


Verdict = TakenBatch | TooMuchAtOnce | SendAgain


def answer_of(status: int, content: bytes, retry_after: str) -> ApiAnswer:
    """An answer of HTTP as it is read here; a proxy's page has no members."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        body = None
    return ApiAnswer(
        status,
        body if isinstance(body, dict) else {},
        float(retry_after) if retry_after.isascii() and retry_after.isdecimal() else None,
    )


def judge(answer: ApiAnswer, records: int) -> Verdict:
    """What to do with a batch of so many records."""
    status, body = answer.status, answer.body
    if status == ACCEPTED:
        return TakenBatch()
    if status == IN_PART:
        return _in_part(body.get("results"), records)
    if status in WRONG or body.get("code") == OF_THE_EVENT:
        return TakenBatch((_refused(0, status, body),)) if records == 1 else TooMuchAtOnce()
    detail = body.get("detail") or body.get("title") or "no word why"
    return SendAgain(f"{status} {body.get('code', '')}: {detail}", answer.retry_after_seconds)


def _in_part(results: Any, records: int) -> Verdict:
    if not isinstance(results, list) or len(results) != records:
        return SendAgain(f"{IN_PART}: not a result for each event")
    refusals = []
    for index, result in enumerate(results):
        status = result.get("status") if isinstance(result, dict) else None
        if status in WRONG:
            refusals.append(_refused(index, status, result))
        elif status != ACCEPTED:
            return SendAgain(f"{IN_PART}: event {index} has {status}")
    return TakenBatch(refusals)


def _refused(index: int, status: int, problem: dict[str, Any]) -> RefusedReport:
    return RefusedReport(index, status, str(problem.get("code", "unknown")), str(problem.get("detail", "")))
