"""Each question of docs/analytics.md gets the right answer, asked as an analyst asks it, and over the export."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import (
    ChargeDisputed,
    ChargeRefunded,
    CreditsPurchased,
    CreditsToppedUp,
    DisputeClosed,
    NewFact,
    TopUpRequested,
    UsageRecorded,
)
from schemas.instants import instant
from services.credits.rate_cards import seed_catalog
from services.export.files import FileFormat
from services.export.manifest import ExportRequest
from services.export.views import export_views
from services.read_models.balances import PROJECTOR
from services.read_models.projecting import Projecting
from services.read_models.versions import live_versions
from services.runtime.errors import Refused
from services.store.claims import Claims
from services.store.connect import Connection
from services.store.read import read_raw_after
from services.store.shards import SHARDS, shard_of
from tests.support.facts import new, now, planned, store, usage, void
from tests.support.past import VOIDED
from tests.support.questions import opening, questions
from tests.support.serving import as_role, connected

REFUSED = """
    INSERT INTO refused (topic, partition, "offset", refused_at, reason, source, sha256, size)
    VALUES ('usage', 0, 1, now(), 'unknown_feature', '/features/test', '', 0)
"""


def days_ago(told: datetime, days: int, hour: int) -> datetime:
    """An hour of a day in UTC that no window of a question ends in."""
    return (told - timedelta(days=days)).replace(hour=hour, minute=0, second=0, microsecond=0)


class Told(NamedTuple):
    """When the facts were told, from which their days are counted, and when the last of them was recorded."""

    at: datetime
    recorded_at: datetime


@pytest.fixture
async def told(connection: Connection) -> Told:
    """Two teams with usage of two features, a purchase, a top-up, a debt, something taken back and something refused."""
    at = now()
    async with connection.transaction():
        await seed_catalog(connection, load_catalog())
    began = at - timedelta(days=20)
    await store(connection, *planned("team_a", anchor=began), *planned("team_b", credits=10, anchor=began))
    await store(connection, new("team_a", "bought", CreditsPurchased(
        credits=1000 * MICRO, pack="mini", payment_intent_id="pi_1", charge_cents=1200, tax_cents=200, currency="usd",
    ), at=at - timedelta(days=40)))  # fmt: skip
    await store(
        connection, usage("team_a", "use-1", 30, at=days_ago(at, 5, 12)), usage("team_a", "use-2", 80, at=days_ago(at, 5, 13)),
        render("team_a", "use-3", at=days_ago(at, 6, 9)), usage("team_b", "use-4", 15, at=days_ago(at, 5, 12)),
    )  # fmt: skip
    taken = await store(connection, usage("team_a", "use-5", 7, at=days_ago(at, 6, 9)))
    of = taken.places[0].position
    back = await store(connection, void("team_a", "void", of="use-5", position=of, at=days_ago(at, 6, 9), credits=7))
    await connection.execute(VOIDED, shard_of("team_a"), "team_a", of, back.places[0].position)
    await store(connection, new("team_a", "decided", TopUpRequested(
        attempt_id="one", ran_low_id="low", attempt=1, credits=500 * MICRO, charge_cents=500, currency="usd",
        customer_id="cus_1", payment_method_id="pm_1",
    )), new("team_a", "charged", CreditsToppedUp(
        credits=500 * MICRO, attempt_id="one", payment_intent_id="pi_2", charge_cents=500, currency="usd",
    )))  # fmt: skip
    await connection.execute(REFUSED)
    await fold_all(connection)
    recorded: datetime = await connection.fetchval("SELECT recorded_at FROM facts WHERE id = 'charged'")
    return Told(at, recorded)


def render(team_id: str, id: str, *, at: datetime) -> NewFact:
    """A rendered video of 20 credits, by another member."""
    return new(team_id, id, UsageRecorded(
        feature="video_export.render", quantity="2.5", credits=20 * MICRO, rate_card=1, member_id="mem_2",
        attributes={"tier": "720p"},
    ), at=at)  # fmt: skip


async def fold_all(connection: Connection) -> None:
    """Project every shard up to its head."""
    projecting = Projecting(Claims(PROJECTOR, "test"), await live_versions(connection))
    await projecting.claims.make_rows(connection)
    await projecting.claims.take(connection, list(range(SHARDS)))
    while facts := await read_raw_after(connection, projecting.claims.positions, 100):
        await projecting.project(connection, facts)


def answers(told: Told) -> dict[str, list[tuple[object, ...]]]:
    """What each question must be answered with."""
    d5, d6 = days_ago(told.at, 5, 12).date(), days_ago(told.at, 6, 12).date()
    month = told.recorded_at.astimezone(UTC).date().replace(day=1)
    bought = (told.at - timedelta(days=40)).date().replace(day=1)
    image, video = "ai_image.generate", "video_export.render"
    return {
        "Usage by feature a day": [(d6, video, 1, 20), (d5, image, 3, 125)],
        "Usage by member": [("team_a", "mem_1", 2, 110), ("team_a", "mem_2", 1, 20), ("team_b", "mem_1", 1, 15)],
        "Usage by tier": [(image, "low", 3, 125, "image", 125), (video, "720p", 1, Decimal("2.5"), "second", 20)],
        "Usage by hour of the day": [(9, 2, 27), (12, 2, 45), (13, 1, 80)],
        "Cohorts of purchases, and how much of each is left": [
            (bought, 1, 1000, 970, Decimal("97.0")), (month, 1, 500, 500, 100),
        ],
        "Credits and money outstanding, by kind and age": [
            ("debt", None, -5, None, None), ("purchased", "older", 970, Decimal("9.70"), "usd"),
            ("topped_up", "to 30 days", 500, Decimal("5.00"), "usd"),
        ],
        "Top-ups by team and month, and which are more than usual": [("team_a", month, 1, 5, "usd", None, False)],
        "Refused usage by source and reason": [("/features/test", "unknown_feature", 1, Decimal("16.7"))],
        "Burn rate, and days left": [
            ("team_b", -5, Decimal("0.5"), -10), ("team_a", 1470, Decimal(130) / 30, Decimal("339.2")),
        ],
        "Revenue by feature": [(video, Decimal("0.20"), "usd"), (image, Decimal("0.10"), "usd")],
    }  # fmt: skip


async def test_each_question_of_the_page_has_the_answer_that_the_facts_give(database: str, told: Told) -> None:
    expected = answers(told)
    assert list(questions()) == list(expected)
    async with connected(as_role(database, "analyst")) as analyst:
        await analyst.execute("SET search_path = analytics")
        for question, sql in questions().items():
            found = [tuple(map(rounded, row)) for row in await analyst.fetch(sql)]
            assert found == [tuple(map(rounded, row)) for row in expected[question]], question


async def test_duckdb_gives_the_same_answers_over_the_files_of_the_export(
    database: str, told: Told, tmp_path: Path
) -> None:
    today = tmp_path / "today"
    async with connected(as_role(database, "reader")) as reader:
        manifest, _ = await export_views(reader, ExportRequest("analytics", FileFormat.PARQUET), today)
    found: dict[str, Any] = {}
    exec(opening().replace('"today"', repr(str(today))), found)

    expected = answers(told)
    for question, sql in questions().items():
        rows = [tuple(map(rounded, row)) for row in found["reader"].execute(sql).fetchall()]
        assert rows == [tuple(map(rounded, row)) for row in expected[question]], question
    assert {file.path: file.rows for file in manifest.files}["usage.parquet"] == 5


async def test_an_export_of_views_takes_what_is_asked_for_in_each_format(
    database: str, told: Told, tmp_path: Path
) -> None:
    async with connected(as_role(database, "reader")) as reader:
        for file_format in FileFormat:
            request = ExportRequest(
                "analytics",
                file_format,
                until=instant(told.recorded_at),
                team="team_a",
                views=("payments", "usage", "freshness"),
            )
            manifest, there = await export_views(reader, request, tmp_path / file_format)
            again = await export_views(reader, request, tmp_path / file_format)
            assert (there, again) == (False, (manifest, True))
            assert {file.path.partition(".")[0]: file.rows for file in manifest.files} == {
                "freshness": 1, "payments": 2, "usage": 4,
            }  # fmt: skip
        with pytest.raises(Refused, match="there is no view secrets; there are usage"):
            await export_views(
                reader, ExportRequest("analytics", FileFormat.CSV, views=("secrets",)), tmp_path / "none"
            )
    lines = (tmp_path / "csv" / "usage.csv").read_text().splitlines()
    assert lines[0].startswith("team_id,member_id,feature,category,tier,attributes,quantity,unit,credits,")
    (video,) = (line for line in lines if ",video_export.render," in line)
    assert video.startswith("team_a,mem_2,video_export.render,")
    assert '"{""tier"":""720p""}",2.5,second,20.000000,' in video
    assert '"attributes":{"tier":"720p"},"quantity":"2.5"' in (tmp_path / "jsonl" / "usage.jsonl").read_text()


PAYMENTS = "SELECT kind, gross, tax, net, currency, refunded, disputed, outcome FROM analytics.payments ORDER BY lot"


async def test_a_payment_says_what_went_back_of_it_in_units_of_its_currency(connection: Connection) -> None:
    await store(connection, *planned("team_a"))
    lots = [
        (await store(connection, new("team_a", f"bought-{n}", CreditsPurchased(
            credits=100 * MICRO, pack="mini", payment_intent_id=f"pi_{n}", charge_cents=1000, currency=currency,
        )))).places[0].position
        for n, currency in enumerate(("usd", "jpy", "kwd", "usd", "usd"))
    ]  # fmt: skip
    for n, cents in ((0, 300), (0, 400), (1, 1000)):
        await store(connection, new("team_a", f"back-{n}-{cents}", ChargeRefunded(
            payment_intent_id=f"pi_{n}", lot=lots[n], refunded_cents=cents, currency="usd", clawed_credits=0,
        )))  # fmt: skip
    for n in (2, 3):
        await store(connection, new("team_a", f"disputed-{n}", ChargeDisputed(
            payment_intent_id=f"pi_{n}", dispute_id=f"dp_{n}", lot=lots[n], disputed_cents=1000, currency="usd", frozen_credits=0,
        )))  # fmt: skip
    await store(connection, new("team_a", "won", DisputeClosed(
        payment_intent_id="pi_3", dispute_id="dp_3", lot=lots[3], outcome="won", reinstated_credits=0,
    )))  # fmt: skip

    assert [tuple(row) for row in await connection.fetch(PAYMENTS)] == [
        ("purchase", 10, 0, 10, "usd", 4, 0, "partly_refunded"),
        ("purchase", 1000, 0, 1000, "jpy", 1000, 0, "refunded"),
        ("purchase", 1, 0, 1, "kwd", 0, 1, "disputed"),
        ("purchase", 10, 0, 10, "usd", 0, 0, "paid"),
        ("purchase", 10, 0, 10, "usd", 0, 0, "paid"),
    ]


def rounded(value: object) -> object:
    return round(Decimal(value), 6) if isinstance(value, Decimal | float) else value
