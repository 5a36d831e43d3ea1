"""`creditwell refused …`: usage that was not accepted, with the reason, and its bytes as they came."""

import asyncio
import json
import re
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated

import asyncpg
import typer

from services.cli.showing import FOUND_WRONG, AsJson, print_json, print_table, progress, to_the_second, with_database
from services.runtime.errors import Unavailable
from services.runtime.settings import Settings
from services.runtime.settings_loading import exit_used_wrongly, load_settings
from services.store.connect import Connection
from services.usage.refusals import TRUNCATED

if TYPE_CHECKING:
    from aiokafka import AIOKafkaProducer

PLACE = re.compile(r"(.+):([0-9]+):([0-9]+)", re.ASCII)
COLUMNS = ("refused_at", "reason", "detail", "team_id", "source", "event_id", "size", "place")

LIST = """
    SELECT to_char(refused_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS refused_at, reason, detail, team_id, source,
           event_id, size, concat_ws(':', topic, partition, "offset") AS place
    FROM refused WHERE ($1::text IS NULL OR team_id = $1) AND ($2::text IS NULL OR reason = $2)
    ORDER BY refused.refused_at DESC, topic, partition, "offset" DESC LIMIT $3
"""
REASONS = (
    "SELECT reason, count(*) FROM refused WHERE $1::text IS NULL OR team_id = $1 GROUP BY reason ORDER BY count DESC"
)
SHOW = """
    SELECT topic, partition, "offset", refused_at, reason, detail, team_id, source, event_id, key, value, headers, sha256, size
    FROM refused WHERE topic = $1 AND partition = $2 AND "offset" = $3
"""
CHOSEN = """
    FROM refused WHERE ($1::text[] IS NULL OR concat_ws(':', topic, partition, "offset") = ANY($1))
      AND ($2::text IS NULL OR team_id = $2) AND ($3::text IS NULL OR reason = $3)
"""
COUNT = f"SELECT count(*) {CHOSEN}"
CHOOSE = f"""
    SELECT topic, concat_ws(':', topic, partition, "offset") AS place, key, value, headers {CHOSEN}
    ORDER BY refused.refused_at, topic, partition, "offset"
"""
RECORD_BYTES = 4 * 1024 * 1024  # what is kept whole is 1 MiB at most, with a key and headers
AT_ONCE = 500

app = typer.Typer(help="Usage that was not accepted.", no_args_is_help=True)


@app.command("list")
def list_refused(
    *,
    team: Annotated[str | None, typer.Option(help="Only this team's.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only with this reason.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    as_json: AsJson = False,
) -> None:
    """The newest refused records, and how many there are of each reason.

    Example: creditwell refused list
    """

    async def work(connection: Connection) -> tuple[list[asyncpg.Record], list[asyncpg.Record]]:
        return await connection.fetch(LIST, team, reason, limit), await connection.fetch(REASONS, team)

    rows, reasons = with_database(work)
    if as_json:
        print_json({"items": [dict(row) for row in rows], "reasons": {row["reason"]: row["count"] for row in reasons}})
        return
    shown = [[to_the_second(row["refused_at"]), *(row[column] for column in COLUMNS[1:])] for row in rows]
    print_table("Refused, newest first", COLUMNS, shown, numbers=["size"], prose=["detail"])
    print_table("Of each reason", ("reason", "records"), map(tuple, reasons), numbers=["records"])


@app.command()
def show(
    place: Annotated[str, typer.Argument(metavar="TOPIC:PARTITION:OFFSET", help="As `refused list` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """One refused record, whole.

    Example: creditwell refused show usage:5:1042
    """
    parts = _checked(place)
    row = with_database(lambda connection: connection.fetchrow(SHOW, parts[1], int(parts[2]), int(parts[3])))
    if row is None:
        exit_used_wrongly(f"nothing was refused at {place}.")
    document = {
        "place": place, "refused_at": row["refused_at"].isoformat(), "reason": row["reason"], "detail": row["detail"],
        "team_id": row["team_id"], "source": row["source"], "event_id": row["event_id"], "size": row["size"],
        "sha256": row["sha256"].hex(), "key": _text(row["key"]),
        "headers": [[name, _text(b64decode(value))] for name, value in json.loads(row["headers"])],
        "value": _text(row["value"]),
    }  # fmt: skip
    if as_json:
        print_json(document)
        return
    named = [(key, value) for key, value in document.items() if key != "value"]
    print_table(f"Refused at {place}", ("what", "is"), named, prose=["is"])
    print(document["value"])


@dataclass
class Retried:
    """What became of the records that were named."""

    sent: list[str] = field(default_factory=list)
    truncated: list[str] = field(default_factory=list)
    not_found: list[str] = field(default_factory=list)


@app.command()
def retry(
    places: Annotated[
        list[str] | None, typer.Argument(metavar="[TOPIC:PARTITION:OFFSET]...", help="As `refused list` shows them.")
    ] = None,
    *,
    team: Annotated[str | None, typer.Option(help="All of this team's.")] = None,
    reason: Annotated[str | None, typer.Option(help="All with this reason, such as unknown_team.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every one that is kept.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send refused records again as they came, once what was wrong is put right: a plan assigned, a rate published.

    What is still wrong is refused again, and what was recorded meanwhile counts once: sending twice is harmless. Exit
    code 1 where one can't be sent, of which only a part was kept: it was over 1 MiB, or its key or headers over 64 KiB.

    Example: creditwell refused retry --reason unknown_feature
    """
    if every == bool(places or team or reason):
        exit_used_wrongly("say which: by their places, --team or --reason, or write --all.")
    for place in places or ():
        _checked(place)
    settings = load_settings()
    settings.require("database", "kafka")
    chosen = places or None, team, reason

    async def work(connection: Connection) -> Retried:
        with progress("sending", await connection.fetchval(COUNT, *chosen), of="records") as tell:
            async with _producer(settings) as producer:
                return await _send_again(connection, chosen, producer, tell)

    retried = with_database(work)
    retried.not_found = sorted({*(places or ())} - {*retried.sent, *retried.truncated})
    if as_json:
        print_json(asdict(retried))
    else:
        print(f"{len(retried.sent):,} sent again; `creditwell refused list` shows what is refused again")
        for place in retried.truncated:
            print(f"{place}: too big to be kept whole; report it again, in smaller pieces")
        for place in retried.not_found:
            print(f"{place}: nothing was refused there")
    raise typer.Exit(FOUND_WRONG if retried.truncated or retried.not_found else 0)


async def _send_again(
    connection: Connection,
    chosen: tuple[list[str] | None, str | None, str | None],
    producer: "AIOKafkaProducer",
    tell: Callable[[int], None],
) -> Retried:
    """In the order in which they were refused.

    What is refused again meanwhile is not among them: the cursor sees what was.
    """
    retried, waiting = Retried(), []
    async with connection.transaction():
        async for row in connection.cursor(CHOOSE, *chosen):
            tell(1)
            headers = [(name, b64decode(value)) for name, value in json.loads(row["headers"])]
            if any(name == TRUNCATED for name, _ in headers):
                retried.truncated.append(row["place"])
                continue
            waiting.append(await producer.send(row["topic"], row["value"], key=row["key"], headers=headers))
            retried.sent.append(row["place"])
            if len(waiting) == AT_ONCE:
                await asyncio.gather(*waiting)
                waiting.clear()
        await asyncio.gather(*waiting)
    return retried


@asynccontextmanager
async def _producer(settings: Settings) -> "AsyncIterator[AIOKafkaProducer]":
    """Raises Unavailable when Kafka does not answer."""
    from aiokafka.errors import KafkaError

    from services.runtime import kafka

    try:
        async with kafka.producer(settings, client_id="creditwell-cli", max_request_size=RECORD_BYTES) as producer:
            yield producer
    except KafkaError as away:
        raise Unavailable(f"Kafka does not answer: {away}; what was sent is harmless to send again") from away


def _checked(place: str) -> re.Match[str]:
    parts = PLACE.fullmatch(place)
    if parts is None:
        exit_used_wrongly(f"{place!r} is no place: write topic:partition:offset, such as usage:3:1042.")
    return parts


def _text(data: bytes | None) -> str | None:
    """Bytes as text where they are text that a terminal may show, in base64 where not."""
    if data is None:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return f"base64:{b64encode(data).decode()}"
    return text if text.isprintable() or text.replace("\n", "").isprintable() else f"base64:{b64encode(data).decode()}"
