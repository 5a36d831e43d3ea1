"""An asynchronous standby is promoted by force: nobody is charged twice, and nobody for nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.servers.postgres import NativePostgres
from tests.faults.promoted import TeamRun, play
from tests.support.desk import Desk
from tests.support.promoted import a_primary

# `make faults ARGS=--promoted` draws them over 20 seeds.
RUNS = [
    TeamRun(None, (150, 60, 90)), TeamRun(None, (300,), holds=2), TeamRun("topup:recorded", (150, 60, 90)),
    TeamRun("topup:confirmed", (150, 60, 90)), TeamRun("topup:crediting", (201, 99), holds=1),
]  # fmt: skip


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[NativePostgres]:
    with a_primary(tmp_path) as server:
        yield server


async def test_who_was_charged_before_a_standby_that_was_behind_is_promoted_is_not_charged_again(
    primary: NativePostgres, desk: Desk
) -> None:
    assert await play(primary, desk, RUNS) == []
