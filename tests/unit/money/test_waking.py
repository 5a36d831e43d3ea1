"""Which records on `credits.events` make the top-up worker look at a team: facts, and nothing that others put there."""

import pytest
from aiokafka import ConsumerRecord

from services.money.topup import whom_it_wakes

FACT = b'{"specversion":"1.0","type":"balance.ran_low.v1","source":"creditwell:low","data":{}}'


def record(key: bytes | None, value: bytes | None) -> "ConsumerRecord[bytes, bytes]":
    return ConsumerRecord("credits.events", 0, 0, 0, 0, key, value, None, 0, 0, ())


def test_a_fact_wakes_the_worker_for_its_team() -> None:
    assert whom_it_wakes(record(b"team_1", FACT)) == "team_1"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, FACT), (b"", FACT), (b"\xff", FACT), (b"a/b", FACT), (b"x" * 129, FACT), (b"team_1", None), (b"team_1", b""),
        (b"team_1", FACT.replace(b"ran_low", b"recovered")), (b"team_1", b"x" * 2_000 + FACT),
    ],
)  # fmt: skip
def test_what_is_no_fact_of_a_team_wakes_nobody(key: bytes | None, value: bytes | None) -> None:
    assert whom_it_wakes(record(key, value)) is None
