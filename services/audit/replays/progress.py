"""How far a replay is: from which moment on it reads, and what each shard that is done has come to.

In a file it is bound to its log, by the head of each shard at the moment when it began, and to what was asked for. A
shard that is done is not read again, so what is said of it is what was so when it was read.
"""

from hashlib import sha256
from pathlib import Path

import msgspec

from projections.balance.fold import FOLD
from schemas.instants import instant
from services import VERSION
from services.audit.checkpoints import origin_of
from services.audit.fence import PIN
from services.audit.replays.outcome import Replayed
from services.audit.replays.scope import ReplayScope
from services.audit.sign_log import LOG
from services.read_models.rebuild import live_positions
from services.runtime.errors import LogChanged, Refused
from services.runtime.long_work.whole_files import write_whole
from services.store.connect import Connection

FORMAT = "creditwell replay 1"
BUILD = f"{VERSION}, fold {FOLD}"

EITHER = "give another file, or remove it to begin anew"

NOW = "SELECT clock_timestamp()"
HEADS = "SELECT shard, next - 1 AS last, head FROM shard_heads ORDER BY shard"
# Chains go on from where they were: the hash at the end of then is that of a block for ever.
REPLACED = """
    SELECT was.shard FROM unnest($1::smallint[], $2::bigint[], $3::bytea[]) AS was (shard, last, head)
    LEFT JOIN blocks b ON b.shard = was.shard AND b.last = was.last
    WHERE was.last > 0 AND b.hash IS DISTINCT FROM was.head ORDER BY was.shard LIMIT 1
"""


class ReplayRequest(msgspec.Struct, frozen=True):
    """What was asked for: a scope, as a file has it."""

    team: str | None
    since: str
    until: str
    audit: bool
    shard: int | None
    archives: str


class ReplayStart(msgspec.Struct, frozen=True):
    """The moment at which a replay began: where the projections of each shard stood, and where each shard ended.

    Attributes:
        at: when that was.
        folded: the last position that the projections had, by shard.
        ends: the last position of the log and the hash there, by shard.
    """

    at: str
    folded: dict[int, int]
    ends: dict[int, tuple[int, bytes]]

    @property
    def behind(self) -> int:
        """How many facts the projections did not have yet."""
        return sum(last for last, _ in self.ends.values()) - sum(self.folded.values())


class ReplayProgress(msgspec.Struct):
    """What is kept in a file; `digest` is the SHA-256 of the rest."""

    format: str
    build: str
    log: str
    request: ReplayRequest
    start: ReplayStart
    done: dict[int, Replayed] = {}
    digest: str = ""


async def begin_replay(connection: Connection, scope: ReplayScope) -> ReplayProgress:
    """A replay of which nothing is done yet, from this moment on."""
    await connection.execute(PIN)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        at = instant(await connection.fetchval(NOW))
        ends = {row["shard"]: (row["last"], row["head"]) for row in await connection.fetch(HEADS)}
        start = ReplayStart(at, await live_positions(connection), ends)
        log = origin_of(await connection.fetchval(LOG))
    request = ReplayRequest(
        scope.team_id, instant(scope.since), instant(scope.until), scope.audit, scope.shard, scope.archives
    )
    return ReplayProgress(FORMAT, BUILD, log, request, start)


async def go_on_with_replay(connection: Connection, scope: ReplayScope, file: Path) -> ReplayProgress:
    """What is in the file; a replay that begins now, and is kept there from now on, where there is no file.

    Raises:
        Refused: `wrong_progress`, the file is damaged, or of something else.
        LogChanged: the log has another past than it had when the replay began.
        OSError: the file can't be read or written.
    """
    fresh, kept = await begin_replay(connection, scope), read_progress(file)
    if kept is None:
        save_progress(file, fresh)
        return fresh
    for what, was, now in (
        ("by another build", kept.build, fresh.build),
        ("over another log", kept.log, fresh.log),
        ("with other options", kept.request, fresh.request),
    ):
        if was != now:
            raise Refused("wrong_progress", f"{file} is of a replay that was begun {what}: {EITHER}")
    ends = kept.start.ends
    replaced = await connection.fetchval(
        REPLACED, list(ends), [last for last, _ in ends.values()], [head for _, head in ends.values()]
    )
    if replaced is not None:
        message = (
            f"{file}: shard {replaced} does not hold what it held at {kept.start.at}, when this replay began; "
            f"run `creditwell verify`, and {EITHER}"
        )
        raise LogChanged(message)
    return kept


def read_progress(file: Path) -> ReplayProgress | None:
    """How far a replay was; None where there is no such file.

    Raises:
        Refused: `wrong_progress`, the file is none of ours, or damaged.
        OSError: it can't be read.
    """
    try:
        progress = msgspec.json.decode(file.read_bytes(), type=ReplayProgress)
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError) as error:
        raise Refused("wrong_progress", f"{file} does not say how far a replay is ({error}): {EITHER}") from error
    if progress.format != FORMAT:
        raise Refused("wrong_progress", f"{file} is no {FORMAT!r}: {EITHER}")
    if progress.digest != _digest(progress):
        raise Refused("wrong_progress", f"{file} is damaged, it is not what was written: {EITHER}")
    return progress


def save_progress(file: Path, progress: ReplayProgress) -> None:
    """Write how far it is, whole or not at all.

    Raises:
        OSError: the file can't be written.
    """
    progress.digest = _digest(progress)
    write_whole(file, msgspec.json.encode(progress) + b"\n")


def _digest(progress: ReplayProgress) -> str:
    return sha256(msgspec.json.encode(msgspec.structs.replace(progress, digest=""))).hexdigest()
