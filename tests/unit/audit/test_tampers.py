"""Honest logs by chance raise no alarm, and of a thousand facts each that was changed is named (invariant 5).

By ours and by the single file; the verifier in Go is asked in `tests/integration/audit/test_prove.py`.
"""

from random import Random
from typing import Any

import pytest

from deploy.verifier import creditwell_verify
from tests.unit.audit.test_vectors import ours
from tests.vectors.making import KEY, SHARD, History, by_chance, document_of, text

FACTS, BLOCK = 1_000, 50
CHANGED = {
    "recorded_at": "2026-11-23T10:00:00.000001Z", "occurred_at": "2026-11-23T10:00:00.000001Z", "team_id": "team_43",
    "source": "/features/other", "id": "another", "type": "usage.recorded.v2", "body": text(b"{}"), "leaf": text(bytes(32)),
}  # fmt: skip


def found_by_the_single_file(document: dict[str, Any]) -> list[str]:
    found = creditwell_verify.verify_log(document["lines"], [KEY.public_key()], document["anchors"])
    return [problem.place for problem in found]


@pytest.mark.parametrize("first", range(0, 100, 20))
def test_honest_logs_raise_no_alarm(first: int) -> None:
    for seed in range(first, first + 20):
        document = document_of(by_chance(Random(seed)), None)

        assert ours(document) == [], f"seed {seed}"
        assert found_by_the_single_file(document) == [], f"seed {seed}"


def test_whichever_column_of_a_thousand_facts_is_changed_each_is_named() -> None:
    chance, history = Random(15), History()
    for _ in range(FACTS // BLOCK):
        history.append(SHARD, BLOCK)
    history.sign()
    for fact in history.facts[SHARD]:
        column = chance.choice(list(CHANGED))
        fact[column] = CHANGED[column]
    document = document_of(history, f"{SHARD}:1")

    places = [f"{SHARD}:{position}" for position in range(1, FACTS + 1)]
    assert [problem.place for problem in ours(document)] == places
    assert found_by_the_single_file(document) == places
