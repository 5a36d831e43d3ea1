"""Where the facts of a month and those before it come from: the database, or archives and anchors without it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

from schemas.facts import Stored
from services.audit.anchors import anchors_in, parse_anchor, read_anchor
from services.audit.checkpoints import NoteInvalid
from services.audit.sign_log import Signed
from services.books.folding import facts_before
from services.books.statements import covering_notes
from services.export.replaying import Archives
from services.export.spans import anchor_text, note_numbered
from services.runtime.errors import LogChanged, Refused
from services.store.connect import Connection


class CoveringNote(NamedTuple):
    """A signed note: its number, the SHA-256 of its text, and its anchor."""

    number: int
    sha256: str
    anchor: str


class Ledger(Protocol):
    """The log up to an instant."""

    def facts(self, shard: int) -> AsyncIterator[list[Stored]]:
        """The facts of a shard from the first one on, page by page. Raises LogChanged, OSError."""

    async def notes(self, shard: int, positions: Sequence[int]) -> Mapping[int, CoveringNote]:
        """The first note that covers each of these positions, where there is one."""


class DatabaseLedger:
    """As the database has it."""

    def __init__(self, connection: Connection, until: datetime) -> None:
        self._connection, self._until = connection, until
        self._anchors: dict[int, str] = {}

    def facts(self, shard: int) -> AsyncIterator[list[Stored]]:
        """The facts of a shard."""
        return facts_before(self._connection, shard, self._until)

    async def notes(self, shard: int, positions: Sequence[int]) -> Mapping[int, CoveringNote]:
        """By what is stored of the notes."""
        covering = await covering_notes(self._connection, shard, positions)
        for number, _ in covering.values():
            if number not in self._anchors:
                signed = await note_numbered(self._connection, number)
                assert signed is not None, "it was found a moment ago, and notes stay"
                self._anchors[number] = await anchor_text(self._connection, signed)
        return {
            position: CoveringNote(number, digest, self._anchors[number])
            for position, (number, digest) in covering.items()
        }


class ArchiveLedger:
    """As archives have it, which end no earlier; notes come from a folder of anchors.

    Raises:
        Refused: `wrong_archives`, they end before the instant; `wrong_anchors`, one can't be read.
    """

    def __init__(self, archives: Archives, anchors: Path, until: datetime) -> None:
        ends = [archive.manifest.request.until for archive in archives.exports]
        if not any(end is None or datetime.fromisoformat(end) >= until for end in ends):
            raise Refused(
                "wrong_archives", f"they end before {until.isoformat()}: the archive of that month is missing"
            )
        self._archives, self._until = archives, until
        self._signed = [_read(file) for file in anchors_in(anchors)]

    async def facts(self, shard: int) -> AsyncIterator[list[Stored]]:
        """The facts of a shard. Raises LogChanged, where a file is not what an archive writes."""
        pages = self._archives.facts(shard)
        while True:
            try:
                page = next(pages, None)
                facts = [stored for stored in page or () if stored.recorded_at < self._until]
            except (ValueError, TypeError, OverflowError) as error:
                message = f"the archive of shard {shard} can't be read ({error})"
                raise LogChanged(message) from error
            if facts:
                yield facts
            if page is None or len(facts) < len(page):
                return

    async def notes(self, shard: int, positions: Sequence[int]) -> Mapping[int, CoveringNote]:
        """The first anchor of the folder that covers each; they sort as their notes do."""
        covering: dict[int, CoveringNote] = {}
        for position in positions:
            for signed, anchor in self._signed:
                of_shard = signed.vector.shards.get(shard)
                if of_shard is not None and of_shard.last >= position:
                    covering[position] = CoveringNote(signed.number, sha256(signed.note.encode()).hexdigest(), anchor)
                    break
        return covering


def _read(file: Path) -> tuple[Signed, str]:
    try:
        text = read_anchor(file)
        return parse_anchor(text), text
    except NoteInvalid as invalid:
        raise Refused("wrong_anchors", f"{file}: {invalid}") from invalid
