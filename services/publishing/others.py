"""Does anybody else publish as this log? An old primary that still runs, or a clone of its disk, does.

Kafka's answer says where a batch came to lie. Where that is not right behind the last one, somebody wrote between them:
another relay of this store, another log on the same topic, or another life of this log. So what lies between is read,
now and then, and compared with the log. A fact of this log that the log does not have is another life's: then nobody
goes on, on either side, until a person has ended one of them.
"""

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.publishing.beyond import compare, kept_offsets, read_spans
from services.runtime.errors import Unavailable
from services.runtime.settings import Settings
from services.store.connect import Connection
from services.store.lives import note_look, read_standing

LOOK_SECONDS = 10.0  # relays that share a partition lie between each other's batches all the time
LOOK_RECORDS = 5_000  # of one look, well within the lease; of a longer stretch the next round reads the rest

SOMEBODY = "somebody else publishes as this log, an old primary or a clone of the disk"


@dataclass(slots=True)
class Others:
    """What lies between the batches of one relay, until it has been looked at.

    Attributes:
        ends: of each partition, the offset behind the last batch.
        between: of each partition, from where to where others have written.
    """

    settings: Settings
    log: str
    ends: dict[int, int] = field(default_factory=dict)
    between: dict[int, tuple[int, int]] = field(default_factory=dict)
    looked: float = field(default_factory=time.monotonic)

    def acknowledged(self, batches: Mapping[int, tuple[int, int]]) -> None:
        """Kafka has put a batch of this relay into each of these partitions, from the first offset to the second."""
        for partition, (begin, end) in batches.items():
            end_before = self.ends.get(partition, begin)
            if begin < end_before:  # the topic was made anew: what lay between is gone
                self.between.pop(partition, None)
            elif begin > end_before:
                since, _ = self.between.get(partition, (end_before, begin))
                self.between[partition] = since, begin
            self.ends[partition] = end

    def sure(self, partitions: Iterable[int]) -> dict[int, int]:
        """Of each of these partitions, the offset before which everything has been looked at."""
        return {one: self.between[one][0] if one in self.between else self.ends[one] for one in partitions}

    async def look(self, connection: Connection) -> None:
        """When it is time, compare what lies between with the log. Another life's facts end this one's work.

        Raises:
            Unavailable: somebody else publishes as this log; it is written down for everybody.
            KafkaError: the topic can't be read now; the same is looked at again.
        """
        if not self.between or time.monotonic() - self.looked < LOOK_SECONDS:
            return
        # Before what is kept lies what relays of this store have published or looked at.
        kept = await kept_offsets(connection)
        spans = {one: (max(since, kept.get(one, since)), end) for one, (since, end) in self.between.items()}
        spans = {one: (since, end) for one, (since, end) in spans.items() if since < end}
        published, rest = await read_spans(self.settings, self.log, spans, LOOK_RECORDS)
        why = (await compare(connection, published)).why(())
        if why is not None:
            sentence = f"{SOMEBODY}: {why}"
            await note_look(connection, await read_standing(connection), sentence)
            raise Unavailable(f"store_went_back: {sentence}", code="store_went_back")
        self.between, self.looked = dict(rest), -math.inf if rest else time.monotonic()
