"""Notices are signed and repeated as Standard Webhooks has it, and worded for people."""

import json
import re
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import jsonschema_rs
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from deploy.local.receiver import is_signed
from projections.notices import FAILED, SKIPPED, notice_of
from schemas.credits import MICRO
from schemas.facts import (
    AnyFact,
    BalanceRanLow,
    BalanceRanOut,
    BalanceRecovered,
    Stored,
    TopUpActionRequired,
    TopUpFailed,
    TopUpResumed,
    TopUpSkipped,
    TopUpSuspended,
)
from schemas.generate import HERE
from schemas.notices import HEADERS, NOTICES
from services.api.openapi.webhooks import describe_notices
from services.publishing.notice_rows import TO_TELL, notice_id
from services.publishing.webhooks import BODY_MAX_BYTES, DELAYS, HostAnswer, again_in, keys_of, retry_after, signed
from services.runtime.settings import Settings

NOW = datetime(2026, 11, 23, 10, 15, 30, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + b64encode(b"another key of some thirty bytes").decode()
PAGE = "https://app.example.com/teams/{team}/usage"
LONGEST = "x" * 128
NO_ANSWER = HostAnswer(None, "no answer")


def stored(fact: AnyFact, team: str = "team_42") -> Stored:
    return Stored(31, 2041, NOW, NOW, team, "creditwell:test", "low:2040", fact.type, fact.body())


FACTS: list[AnyFact] = [
    BalanceRanLow(available_credits=1_412_500_000, threshold_credits=1_500 * MICRO, crossed_at_position=1, top_up_enabled=False),
    BalanceRanLow(available_credits=-3, threshold_credits=0, crossed_at_position=1, top_up_enabled=True),
    BalanceRanOut(available_credits=0, crossed_at_position=1),
    BalanceRanOut(available_credits=-(2**62), crossed_at_position=1),
    BalanceRecovered(available_credits=550 * MICRO, threshold_credits=500 * MICRO, crossed_at_position=1),
    *(
        TopUpFailed(
            attempt_id=LONGEST, reason=reason, decline_code=LONGEST, message="Do not tell me.", payment_intent_id="pi_1", next_try_at=NOW
        )
        for reason in get_args(TopUpFailed.model_fields["reason"].annotation)
    ),
    TopUpActionRequired(attempt_id=LONGEST, payment_intent_id="pi_1", action_url="https://bank.example/secret"),
    TopUpSuspended(cause="declines", reason="the card was declined three times", declines=3, fingerprint="card"),
    TopUpResumed(reason="é" * 500),
    *(TopUpSkipped.model_validate({"ran_low_id": "l", "decision": "d", "reason": reason, "next_decision_at": NOW}) for reason in SKIPPED),
]  # fmt: skip


def test_a_signature_is_the_published_one() -> None:
    at = datetime.fromtimestamp(1614265330, UTC)

    headers = signed("msg_p5jXN8AQM9LWM0D4loKWxJek", at, b'{"test": 2432232314}', keys_of(SECRET))

    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_while_secrets_rotate_there_is_a_signature_of_each() -> None:
    headers = signed("notice_1", NOW, b"{}", keys_of(f"{SECRET}, {OTHER}"))

    expected = []
    for secret in (SECRET, OTHER):
        mac = HMAC(b64decode(secret.removeprefix("whsec_")), SHA256())
        mac.update(f"notice_1.{int(NOW.timestamp())}.{{}}".encode())
        expected.append(f"v1,{b64encode(mac.finalize()).decode()}")
    assert headers["webhook-signature"] == " ".join(expected)


def test_the_receiver_of_the_tests_believes_nothing_that_was_changed() -> None:
    now = datetime.now(UTC)
    given = signed("notice_1", now, b"{}", keys_of(SECRET))
    seconds, signature = given["webhook-timestamp"], given["webhook-signature"]
    late = signed("notice_1", now - timedelta(minutes=6), b"{}", keys_of(SECRET))

    assert is_signed(SECRET, "notice_1", seconds, signature, b"{}")
    assert not is_signed(OTHER, "notice_1", seconds, signature, b"{}")
    assert not is_signed(SECRET, "notice_2", seconds, signature, b"{}")
    assert not is_signed(SECRET, "notice_1", str(int(seconds) + 1), signature, b"{}")
    assert not is_signed(SECRET, "notice_1", seconds, signature, b"{ }")
    assert not is_signed(SECRET, "notice_1", late["webhook-timestamp"], late["webhook-signature"], b"{}")


@pytest.mark.parametrize("secret", [SECRET, OTHER])
def test_the_library_of_the_format_believes_a_notice_by_either_secret_and_nothing_that_was_changed(secret: str) -> None:
    body = '{"type":"balance.ran_low.v1","team":"équipe"}'
    given = signed("notice_1", datetime.now(UTC), body.encode(), keys_of(f"{SECRET},{OTHER}"))
    receiver = Webhook(secret)

    assert receiver.verify(body, given) == json.loads(body)
    for changed in ({"webhook-id": "notice_2"}, {"webhook-timestamp": str(int(given["webhook-timestamp"]) + 1)}):
        with pytest.raises(WebhookVerificationError):
            receiver.verify(body, given | changed)
    with pytest.raises(WebhookVerificationError):
        receiver.verify(body + " ", given)


def test_a_notice_is_tried_ten_times_in_three_days_and_then_given_up() -> None:
    waits = [again_in(tries, NO_ANSWER, 0.0) for tries in range(1, len(DELAYS) + 1)]

    assert waits == list(DELAYS)
    assert sum(DELAYS, timedelta()) == timedelta(hours=75, minutes=35, seconds=5)
    assert again_in(len(DELAYS) + 1, NO_ANSWER, 0.0) is None


def test_waits_are_spread_by_a_fifth() -> None:
    assert again_in(2, NO_ANSWER, 0.999) == timedelta(minutes=5) * (1 + 0.2 * 0.999)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 408, 409, 422, 429, 500, 502, 503])
def test_whatever_is_not_a_yes_is_tried_again(status: int) -> None:
    assert again_in(1, HostAnswer(status, str(status)), 0.0) == timedelta(seconds=5)


def test_gone_is_a_no_for_good() -> None:
    assert again_in(1, HostAnswer(410, "410"), 0.0) is None


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("120", timedelta(seconds=120)),
        ("Mon, 23 Nov 2026 10:16:30 GMT", timedelta(seconds=60)),
        ("Mon, 23 Nov 2026 10:00:00 GMT", timedelta()),
        ("9" * 400, timedelta(hours=24)),
        ("-5", timedelta()),
        ("²", timedelta()),
        ("soon", timedelta()),
        ("99999999999 Jan -5 23:59:59 -2400 Jan 23:59:59", timedelta()),
        ("Mon, 23 Nov 99999 10:16:30 GMT", timedelta()),
        ("", timedelta()),
    ],
)
def test_the_host_may_ask_for_time_up_to_a_day(text: str, wait: timedelta) -> None:
    assert retry_after({"retry-after": text}, NOW) == wait
    assert again_in(1, HostAnswer(503, "503", wait), 0.0) == max(wait, timedelta(seconds=5))


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: f"{fact.type}-{getattr(fact, 'reason', '')}"[:60])
def test_a_notice_is_what_its_schema_says_in_words_and_figures(fact: AnyFact) -> None:
    notice = notice_of(stored(fact, "team/42 é"), PAGE)
    assert notice is not None
    said = json.loads(notice.body())

    schema = json.loads((HERE / f"json/notices/{fact.type}.json").read_text("utf-8"))
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(said)
    assert (said["type"], said["timestamp"]) == (fact.type, "2026-11-23T10:15:30.000000Z")
    assert said["data"]["team_id"] == "team/42 é"
    assert said["data"]["position"] == "31:2041"
    assert said["data"]["url"] == "https://app.example.com/teams/team%2F42%20%C3%A9/usage"
    assert said["data"]["message"].endswith((".", "why."))
    assert None not in said["data"].values()
    assert len(notice.body().encode()) < BODY_MAX_BYTES / 4
    for private in ("pi_1", "bank.example", "Do not tell me", "fingerprint"):
        assert private not in notice.body()


def test_low_says_the_figures_and_what_to_do() -> None:
    off, on = (notice_of(stored(fact), None) for fact in FACTS[:2])
    assert off is not None
    assert on is not None

    assert off.data.message == (
        "1,412.5 credits are available, fewer than the threshold of 1,500. An admin can buy credits or enable top-ups on the Usage page."
    )
    assert "A top-up is due" in on.data.message
    assert "url" not in json.loads(off.body())["data"]


def test_what_is_nobodys_news_makes_no_notice() -> None:
    quiet = TopUpSkipped(ran_low_id="l", decision="d", reason="cooling_down", next_decision_at=NOW)

    assert notice_of(stored(quiet), None) is None
    assert set(get_args(TopUpFailed.model_fields["reason"].annotation)) == set(FAILED)


def test_the_log_is_searched_for_what_has_a_notice_and_the_index_is_made_for_it() -> None:
    migration = (Path(__file__).parents[3] / "services/store/migrations/0001_creditwell.sql").read_text("utf-8")

    (index,) = [statement for statement in migration.split(";") if "CREATE INDEX facts_to_tell" in statement]

    for name in NOTICES:
        assert TO_TELL.count(f"'{name}'") == index.count(f"'{name}'") == 1
    assert TO_TELL.count(".v1'") == index.count(".v1'") == len(NOTICES)


def test_the_id_follows_from_the_fact_and_from_nothing_else() -> None:
    first = stored(FACTS[0])

    assert notice_id(first) == notice_id(first._replace(position=7, shard=1, recorded_at=NOW + timedelta(days=1)))
    others = [first._replace(team_id="t"), first._replace(source="s"), first._replace(id="i")]
    assert len({notice_id(one) for one in [first, *others]}) == 4
    assert "." not in notice_id(first)


@pytest.mark.parametrize(
    "wrong",
    [
        {"notice_url": "http://app.example.com/hook"},
        {"notice_url": "ftp://app.example.com"},
        {"notice_url": "https://somebody:password@app.example.com/hook"},
        {"notice_secret": "secret"},
        {"notice_secret": "whsec_dG9vIHNob3J0"},
        {"notice_secret": "whsec_" + b64encode(bytes(65)).decode()},
        {"notice_secret": f"{SECRET},{SECRET},{SECRET}"},
        {"notice_secret": SECRET.replace("whsec_", "")},
    ],
)
def test_an_address_in_the_clear_or_a_weak_secret_is_refused_at_the_start(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(wrong)


def test_two_secrets_and_plain_http_in_development_are_fine() -> None:
    Settings(notice_url="https://app.example.com/hook?for=credits", notice_secret=f"{SECRET},{OTHER}")
    Settings(notice_url="http://127.0.0.1:9000/notices", insecure_dev=True)


def test_openapi_describes_every_notice_with_its_headers_and_its_body() -> None:
    app = FastAPI()
    describe_notices(app)

    document = get_openapi(title="t", version="1", routes=app.routes, webhooks=app.webhooks.routes)

    assert set(document["webhooks"]) == set(NOTICES)
    for name, notice in NOTICES.items():
        said = document["webhooks"][name]["post"]
        assert {header["name"] for header in said["parameters"]} == set(HEADERS)
        body = said["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        assert body.endswith(f"/{notice.__name__}")
        assert document["components"]["schemas"][notice.__name__]["properties"]["type"]["const"] == name


def test_the_page_about_notices_names_each_and_shows_one_as_it_is_sent() -> None:
    page = (Path(__file__).parents[3] / "docs/notices.md").read_text("utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    low = BalanceRanLow(
        available_credits=412_500_000, threshold_credits=500 * MICRO, crossed_at_position=1, top_up_enabled=False
    )
    sent = notice_of(stored(low)._replace(position=20418, recorded_at=NOW.replace(microsecond=123456)), PAGE)

    assert sent is not None
    assert json.loads(example) == json.loads(sent.body())
    assert all(f"`{name}`" in page for name in NOTICES)
