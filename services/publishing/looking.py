"""Before the relay publishes anything: is the log that it has the newest one?

In each new life of the database's server the relay looks at what was published and compares it with the log. A log that
has all of it goes on. One that lacks something has gone back in time: nobody appends, charges or publishes until a
person has run `creditwell resume`, so that what is in the topic can come back at its positions.
"""

from dataclasses import dataclass, field

from prometheus_client import Gauge

from schemas.topics import EVENTS
from services.publishing.beyond import OFFSETS, compare, keep_offsets, read_beyond, read_ends
from services.runtime.errors import Unavailable
from services.runtime.health import Health
from services.runtime.logs import get_log
from services.runtime.settings import Settings
from services.store.connect import Connection
from services.store.lives import Life, LifeStanding, check_life, note_look, read_standing

STORE = "the store"
RESUME = "run `creditwell resume`, which says what was lost"
LOST_MOMENTS = (
    "no synchronous standby is declared (synchronous_standby_names): what was answered in the last moments before a "
    "failover and not published yet can be lost"
)
BLIND = (
    "the database's server does not say its timeline (pg_walfile_name), so a promotion looks like a restart: others go on "
    "before the relay has looked"
)
ELSEWHERE = (
    "the log has come to another cluster or database: a copy gets a name of its own by `creditwell fork`; where the log "
    "itself has moved, run `creditwell resume`"
)


@dataclass(slots=True)
class StoreLook:
    """What the relay tells of the store's lives."""

    settings: Settings
    health: Health
    sentences: set[str] = field(default_factory=set)
    went_back: Gauge = field(init=False)

    def __post_init__(self) -> None:
        self.went_back = Gauge(
            "creditwell_store_went_back", "1 while the store lacks what was published: `creditwell resume` says what.",
            registry=self.health.registry,
        )  # fmt: skip

    async def until_sure(self, connection: Connection) -> int:
        """See that the log may go on in this life of the server; the life's number.

        Raises:
            Unavailable: it may not. KafkaError: what was published can't be read now.
        """
        stands = await read_standing(connection)
        if stands.life is Life.RESTARTED:
            await check_life(connection)  # it goes on; what was published is looked at all the same
            stands = await read_standing(connection)
        if stands.life is Life.WENT_BACK:
            self._refuse("store_went_back", f"{stands.went_back}; {RESUME}", went_back=True)
        if stands.life is Life.ELSEWHERE:
            self._refuse("store_unchecked", ELSEWHERE)
        if stands.life is not Life.SAME or not stands.looked:
            await self._look(connection, stands)
            stands = await read_standing(connection)
        else:
            await self._begin(connection)
        self.went_back.set(0)
        self.health.back(STORE)
        self._tell(stands)
        return stands.number

    async def _look(self, connection: Connection, stands: LifeStanding) -> None:
        """Compare, and write down what came of it."""
        beyond = await read_beyond(self.settings, connection)
        # A server that was only restarted is the one that it was, also where the topic can't tell any more.
        is_proof_needed = stands.life is not Life.SAME
        why = (await compare(connection, beyond.published)).why(beyond.gone if is_proof_needed else ())
        await note_look(connection, stands, why)
        for gone in beyond.gone:
            self._note(f"{gone}: whether the log has all that was published can't be told")
        if why is not None:
            self._refuse("store_went_back", f"{why}; {RESUME}", went_back=True)
        get_log().info("a new life of the server: the log has all that was published", looked_at=len(beyond.published))

    async def _begin(self, connection: Connection) -> None:
        """Where nothing was published yet: whatever the topic holds by now is not this log's."""
        if await connection.fetchval(f"SELECT NOT EXISTS ({OFFSETS})"):
            ends = await read_ends(self.settings)
            await keep_offsets(connection, ends)
            if any(ends.values()):
                self._note(f"{EVENTS} held records before this log published its first one: they are another log's")

    def _refuse(self, code: str, why: str, *, went_back: bool = False) -> None:
        sentence = f"{code}: {why}"
        self.went_back.set(int(went_back))
        if sentence not in self.sentences:
            self.sentences.add(sentence)
            get_log().error(code, why=why)
        refusal = Unavailable(sentence, code=code)
        self.health.away(STORE, refusal)
        raise refusal

    def _tell(self, stands: LifeStanding) -> None:
        if stands.blind:
            self._note(BLIND)
        if not stands.synchronous:
            self._note(LOST_MOMENTS)

    def _note(self, sentence: str) -> None:
        if sentence not in self.sentences:
            self.sentences.add(sentence)
            self.health.notes.append(sentence)
            get_log().warning("the store", note=sentence)
