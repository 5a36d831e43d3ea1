"""`creditwell resume --watch`: what needs no person comes back by itself.

It runs beside the other processes with the login of the migrations, which none of those has. The relay looks and finds
that the store went back; then this brings back what was published, under the very conditions of the command without
`--accept` and without `--as-it-is`. Before that nobody may have published anything for some time: an old primary that
still runs would. Everything else it says, and leaves to a person.
"""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass

from aiokafka.errors import KafkaError

from services.money.stripe_client import Charges, charges_of
from services.publishing.beyond import read_ends
from services.publishing.looking import ELSEWHERE, STORE
from services.publishing.others import SOMEBODY
from services.recovery.anchored import proven_by
from services.recovery.resume import Orders, resume
from services.runtime.clock import pause
from services.runtime.errors import Refused, Unavailable
from services.runtime.health import Health
from services.runtime.logs import get_log
from services.runtime.retry import keep_going
from services.runtime.settings import Settings
from services.store.connect import RETRYABLE, Connection, connect
from services.store.lives import Life, read_standing

BY = "creditwell resume --watch"
AWAY_NAME = "Kafka, Stripe or the database"
LOOK_SECONDS, QUIET_SECONDS = 2.0, 10.0

UNLOOKED = "store_unchecked: a new life of the server; the relay looks at what was published"
END_ONE = "end one of them, then run `creditwell resume`"  # that nobody publishes now does not say that it has ended


async def watch(settings: Settings, stop: asyncio.Event, health: Health) -> None:
    """Look again and again until told to stop.

    Raises:
        WrongSettings: one of them is missing or wrong.
    """
    settings.require("database", "kafka")

    async def look() -> None:
        async with AsyncExitStack() as opened:
            connection = await connect(settings.needed("database"), process="resume")
            opened.push_async_callback(connection.close)
            charges = None if settings.stripe_key is None else await opened.enter_async_context(charges_of(settings))
            watching = Watching(settings, connection, health, charges)
            while not stop.is_set():
                await watching.round()
                health.back(AWAY_NAME)
                health.ready()
                await pause(stop, LOOK_SECONDS)

    await keep_going(AWAY_NAME, look, stop, health, away=(*RETRYABLE, KafkaError))


@dataclass(slots=True)
class Watching:
    """What it keeps from one round to the next.

    Attributes:
        ends: where each partition of `credits.events` ended when it was last seen to grow; None before the first look.
        since: since when it has not grown.
        sentence: what was said last.
    """

    settings: Settings
    connection: Connection
    health: Health
    charges: Charges | None = None
    quiet_seconds: float = QUIET_SECONDS
    ends: dict[int, int] | None = None
    since: float = 0.0
    sentence: str = ""

    async def round(self) -> None:
        """Bring back what was lost if that needs no person; otherwise say what is waited for.

        Raises:
            KafkaError, Unavailable: Kafka or Stripe does not answer now.
        """
        stands = await read_standing(self.connection)
        if stands.life in (Life.SAME, Life.RESTARTED):
            self.ends, self.sentence = None, ""
            self.health.back(STORE)
        elif stands.life is Life.ELSEWHERE:
            self._wait(f"store_unchecked: {ELSEWHERE}")
        elif stands.life is Life.PROMOTED:
            self._wait(UNLOOKED)
        elif stands.went_back is not None and stands.went_back.startswith(SOMEBODY):
            self._wait(f"store_went_back: {stands.went_back}; {END_ONE}")
        elif await self._is_quiet():
            await self._resume()
        else:
            self._wait(f"store_went_back: it goes on when nothing was published for {self.quiet_seconds:.0f} s")

    async def _is_quiet(self) -> bool:
        ends, now = await read_ends(self.settings), time.monotonic()
        if ends != self.ends:
            self.ends, self.since = ends, now
        return now - self.since >= self.quiet_seconds

    async def _resume(self) -> None:
        orders, anchored = Orders(BY, apply=True), await asyncio.to_thread(proven_by, self.settings)
        try:
            done = await resume(self.connection, self.settings, orders, charges=self.charges, anchored=anchored)
        except Refused as person:
            self._wait(str(person))
        else:
            self.health.back(STORE)
            get_log().info("the store had gone back and goes on", facts=len(done.facts), shards=len(done.tails))

    def _wait(self, sentence: str) -> None:
        if sentence != self.sentence:
            get_log().error("the store waits", why=sentence)
        self.sentence = sentence
        self.health.away(STORE, Unavailable(sentence))
