"""What the emitter's sender says of itself to other threads."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.emitter.kafka_sender import KafkaSender
from schemas.emitter.spool import Spool


class Delivering(Spool):
    """One report more has arrived in Kafka whenever somebody asks how many have not."""

    def pending(self) -> int:
        if batch := self.peek(records_max=1):
            self.drop(batch)
        return super().pending()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Delivering]:
    spool = Delivering(tmp_path)
    yield spool
    spool.close()


def test_a_flush_waits_for_every_report_though_some_are_delivered_while_it_counts_them(spool: Delivering) -> None:
    sender = KafkaSender(spool, "", "usage", {})
    for number in range(2):
        spool.append(b"team_1", b"{}", number)

    assert not sender.wait_until_delivered(0)

    sender.loop.close()
