"""A line of a downloaded activity, as spreadsheets and finance have it."""

from datetime import UTC, datetime

import pytest
from msgspec import structs

from projections.balance.state import ActivityKind, BalanceEntry
from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import AnyFact, ChargeRefunded, CreditsPurchased, HoldCaptured, UsageRecorded
from schemas.pricing import RateCards
from services.api.wording.downloads import COLUMNS, download_line, file_name
from services.read_models.activity import ActivityRow

NOW = datetime(2026, 11, 23, 10, 15, 30, 123456, tzinfo=UTC)
ACTIVITY = ActivityKind.USAGE
CATALOG = load_catalog()
CARDS = RateCards([CATALOG.rate_card])
RECEIPT = "https://pay.stripe.com/receipts/1"
CONTRACT = [
    "at",
    "type",
    "description",
    "member_id",
    "feature",
    "credits",
    "included",
    "additional",
    "balance_after",
    "id",
]
USED = UsageRecorded(
    feature="ai_video.generate", quantity="2.5", credits=62_500_000, rate_card=1, member_id="mem_7",
    attributes={"tier": "high"},
)  # fmt: skip
BOUGHT = CreditsPurchased(
    credits=MICRO, pack="mini", payment_intent_id="pi", charge_cents=2_050, currency="usd", member_id="mem_7",
    receipt_url=RECEIPT,
)  # fmt: skip
REFUNDED = ChargeRefunded(
    payment_intent_id="pi", lot=7, refunded_cents=500, currency="jpy", clawed_credits=MICRO, charge_cents=2_000
)


def cells(kind: ActivityKind, fact: AnyFact, *, sees_receipts: bool = True, name: str = "Ada") -> dict[str, str]:
    feature = getattr(fact, "feature", None)
    entry = BalanceEntry(7, 0, kind, NOW, NOW, "mem_7", feature, 0, MICRO, MICRO, ())
    row = ActivityRow(3, entry, fact)
    line = download_line(row, CARDS, CATALOG, {"mem_7": name}, sees_receipts=sees_receipts)
    return {column: cell for column, cell in zip(COLUMNS, line, strict=True) if cell}


def test_the_columns_that_programs_know_come_first_and_stay() -> None:
    assert list(COLUMNS[: len(CONTRACT)]) == CONTRACT


def test_usage_has_its_member_by_name_its_quantity_and_its_rate() -> None:
    line = cells(ActivityKind.USAGE, USED)

    assert (line["member"], line["quantity"], line["rate"], line["rate_card"]) == ("Ada", "2.5", "25", "1")
    assert line["recorded_at"] == "2026-11-23T10:15:30.123456Z"
    plain = HoldCaptured(hold_id="h", credits=MICRO)
    assert not {"quantity", "rate", "charged", "payment"} & cells(ActivityKind.USAGE, plain).keys()
    unknown = structs.replace(USED, rate_card=99)
    assert "rate" not in cells(ActivityKind.USAGE, unknown)


def test_money_has_its_amount_and_the_number_by_which_a_refund_is_matched() -> None:
    bought, refunded = cells(ActivityKind.PURCHASE, BOUGHT), cells(ActivityKind.REFUND, REFUNDED)

    assert (bought["charged"], bought["currency"], bought["payment"], bought["receipt_url"]) == (
        "20.50", "usd", "7", RECEIPT,
    )  # fmt: skip
    assert (refunded["refunded_so_far"], refunded["currency"], refunded["payment"]) == ("500", "jpy", "7")
    assert "receipt_url" not in cells(ActivityKind.PURCHASE, BOUGHT, sees_receipts=False)


def test_a_name_that_a_spreadsheet_would_run_is_kept_text() -> None:
    assert cells(ActivityKind.USAGE, USED, name="=1+1")["member"] == "'=1+1"


@pytest.mark.parametrize(
    ("team", "named"), [("team_42", "team_42"), ('a"b\u00fc', "a-b"), ("\u30c1\u30fc\u30e0", "team")]
)
def test_a_file_is_named_after_its_team_and_its_days(team: str, named: str) -> None:
    assert file_name(team, NOW.replace(day=16), NOW) == f"credit-activity-{named}-2026-11-16-to-2026-11-23.csv"
