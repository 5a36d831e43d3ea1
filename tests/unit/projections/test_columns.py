"""The fold from columns to columns gives the balances of the fold over facts, and refuses what is not a whole shard."""

from datetime import timedelta
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from projections.columns import BALANCES, fold_shard
from schemas.facts import Stored
from services.export.replaying import fold_table
from tests.support.past import Past
from tests.unit.projections.history import History


def columns_of(facts: list[Stored]) -> dict[str, list[Any]]:
    return dict(zip(Stored._fields, map(list, zip(*facts, strict=True)), strict=True))


def a_history() -> History:
    history = History()
    began = history.team.as_of + timedelta(days=40_000)
    for number in range(1, 8):
        history.used(number, recorded=began + timedelta(hours=number))
    return history


def test_pages_of_columns_fold_to_the_balance_of_the_facts() -> None:
    history = a_history()
    facts = [stored._replace(team_id=history.team.team_id) for stored in history.stored]

    folded = fold_shard([columns_of(facts[:3]), columns_of(facts[3:])])

    team = history.team
    expected = (7, team.team_id, 7, team.as_of, team.included, team.additional, team.debt)
    assert folded == {name: [value] for name, value in zip(BALANCES, expected, strict=True)}
    assert team.total < 0


def test_a_table_is_put_in_order_first() -> None:
    facts = Past(Random(2)).tell(80)
    in_order = fold_shard([columns_of(facts)])
    Random(3).shuffle(facts)
    table = pa.table({**columns_of(facts), "leaf": [b""] * len(facts), "recorded": ["2025-01"] * len(facts)})

    folded = fold_table(table)

    assert folded.to_pydict() == in_order
    assert [str(folded.schema.field(name).type) for name in ("included", "as_of")] == ["int64", "timestamp[us, tz=UTC]"]


def test_what_is_no_whole_shard_is_refused() -> None:
    facts = a_history().stored
    for wrong, what in (
        (facts[1:], "7:2 comes where 7:1 should"),
        ([facts[0], facts[2]], "7:3 comes where 7:2 should"),
        ([facts[1], facts[0]], "7:2 comes where 7:1 should"),
        ([facts[0], facts[1]._replace(shard=8)], "group by shard"),
    ):
        with pytest.raises(ValueError, match=what):
            fold_shard([columns_of(wrong)])
    assert fold_shard([]) == {name: [] for name in BALANCES}
