"""What an answer of the API means for a batch that the emitter has sent."""

import json
from typing import Any

import pytest

from schemas.emitter.verdicts import ApiAnswer, RefusedReport, SendAgain, TakenBatch, TooMuchAtOnce, answer_of, judge

TOO_LARGE = {"code": "too_large", "detail": "a body has at most 4194304 bytes"}


def result(index: int, status: int = 202, code: str | None = None) -> dict[str, Any]:
    return {"index": index, "status": status, "code": code, "detail": None if code is None else "why"}


def test_a_batch_that_was_accepted_is_taken() -> None:
    assert judge(ApiAnswer(202, {"receipts": []}), 3) == TakenBatch()


def test_of_a_batch_that_was_taken_in_part_the_others_are_refused() -> None:
    results = [result(0), result(1, 422, "invalid_request"), result(2)]

    assert judge(ApiAnswer(207, {"results": results}), 3) == TakenBatch(
        [RefusedReport(1, 422, "invalid_request", "why")]
    )


@pytest.mark.parametrize(
    "results", [None, [], [result(0)], [result(0), None], [result(0), result(1, 503)], [result(0), {"index": 1}]],
    ids=["none", "empty", "too few", "no result", "away", "no status"],
)  # fmt: skip
def test_results_that_do_not_answer_for_each_event_are_asked_for_again(results: Any) -> None:
    assert isinstance(judge(ApiAnswer(207, {"results": results}), 2), SendAgain)


@pytest.mark.parametrize(
    ("status", "problem"),
    [(413, TOO_LARGE), (422, {"code": "invalid_request"}), (403, {"code": "team_not_allowed"}), (413, {})],
)
def test_a_refusal_as_a_whole_is_narrowed_down_to_one_event(status: int, problem: dict[str, Any]) -> None:
    answer = ApiAnswer(status, problem)

    assert judge(answer, 2) == TooMuchAtOnce()
    code, detail = problem.get("code", "unknown"), problem.get("detail", "")
    assert judge(answer, 1) == TakenBatch((RefusedReport(0, status, code, detail),))


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (200, None), (301, None), (400, None), (401, "unauthenticated"), (403, "forbidden"),
        (403, "source_not_allowed"), (404, "not_found"), (405, None), (415, "unsupported_media_type"),
        (429, "too_many_requests"), (500, None), (502, None), (503, "kafka_away"),
    ],
)  # fmt: skip
def test_what_is_not_against_an_event_is_sent_again_and_says_why(status: int, code: str | None) -> None:
    verdict = judge(ApiAnswer(status, {"code": code} if code else {}, 7.0), 1)

    assert isinstance(verdict, SendAgain)
    assert verdict.reason.startswith(f"{status} {code or ''}")
    assert verdict.retry_after_seconds == 7


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [("3", 3.0), ("", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None), ("²", None)],
)
def test_an_answer_is_read_whatever_a_proxy_makes_of_it(retry_after: str, seconds: float | None) -> None:
    assert answer_of(503, b"<html>", retry_after) == ApiAnswer(503, {}, seconds)
    assert answer_of(503, b"[" * 100_000, retry_after) == ApiAnswer(503, {}, seconds)
    assert answer_of(503, json.dumps(["a list"]).encode(), retry_after) == ApiAnswer(503, {}, seconds)
    assert answer_of(503, b'{"code": "kafka_away"}', retry_after).body == {"code": "kafka_away"}
