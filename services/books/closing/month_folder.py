"""The folder of a closed month, and its manifest. What the manifest names follows from the log alone.

    manifest.json      the month, and path, size and SHA-256 of each file below
    revenue/           the books of the month: JSON, CSV (also by team and by feature), beancount, ageing
    balances.csv       every team at the month's end, as known then
    statements.csv     the statements that were sealed in the month, and where each lies
    statements/31/…    each as JSON, by shard and the position of its seal
    notes/             the signed notes that these name, as anchors
    archive/2026-10/   the facts of the month with their proofs

Whatever else is there says what was checked this time: see `verdicts`.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from projections.books.journal import journal
from projections.books.month import Month, MonthBooks
from projections.books.tables import ageing_csv, ageing_document, csv_of, document, write_csv
from projections.statements.document import Document, json_of
from schemas.instants import instant
from schemas.places import Place, place_of
from schemas.pricing import RateCards
from services.books.closing.ledger import CoveringNote, Ledger
from services.books.closing.month_end import end_of_shard
from services.export.files import FileFormat, TableFile, digest_of
from services.export.tables import BALANCE_COLUMNS, balance_row
from services.runtime.errors import Refused
from services.runtime.long_work.whole_files import PART, write_whole
from services.store.shards import SHARDS

FORMAT = "creditwell close 1"
MANIFEST, ARCHIVE, STRIPE = "manifest.json", "archive", "stripe"
STATEMENTS = ("team_id", "cycle", "starts_at", "ends_at", "position", "closing", "file")
OF_THIS_TIME = frozenset({MANIFEST, "checks.json", "index.html"})  # beside the folder of Stripe's answers


@dataclass(slots=True)
class MonthFolder:
    """What was written: the books, the list of statements, and seals that no signed note covers yet."""

    books: MonthBooks
    statements: list[list[str]] = field(default_factory=list)  # rows of their list
    unsigned: list[Place] = field(default_factory=list)


def begin_folder(folder: Path) -> None:
    """Make the folder.

    Raises:
        Refused: `folder_in_use`, something is in it.
        OSError: it can't be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise Refused("folder_in_use", f"{folder} is not empty: give another folder")


async def write_month(
    folder: Path, ledger: Ledger, month: Month, cards: RateCards | None, log: str, on_shard: Callable[[int], None]
) -> MonthFolder:
    """Write everything but the archive; `on_shard` is told of each shard that is done.

    Raises:
        LogChanged: a fact is missing, can't be read, or speaks of one that is not there.
        OSError: an archive can't be read, or the folder can't be written.
    """
    written = MonthFolder(MonthBooks(month))
    balances = TableFile(folder, "balances.csv", BALANCE_COLUMNS, FileFormat.CSV)
    try:
        for shard in range(SHARDS):
            end = await end_of_shard(ledger, shard, written.books, cards, log)
            balances.write([balance_row(balance) for balance in end.balances])
            for statement, note in end.statements:
                written.statements.append(_write_statement(folder, shard, statement))
                _write_note(folder / "notes", note)
            written.unsigned += end.unsigned
            on_shard(1)
    except BaseException:
        balances.abandon()
        raise
    balances.finish()
    write_text(folder / "statements.csv", write_csv(list(STATEMENTS), written.statements))
    for name, text in _books_of(written.books):
        write_text(folder / "revenue" / name, text)
    return written


def _books_of(books: MonthBooks) -> Iterator[tuple[str, object]]:
    yield "revenue.json", document(books, open_=False)
    yield "revenue.csv", csv_of(books, None)
    yield "by-team.csv", csv_of(books, "team")
    yield "by-feature.csv", csv_of(books, "feature")
    yield "journal.beancount", journal(books)
    yield "ageing.json", ageing_document(books)
    yield "ageing.csv", ageing_csv(books)


def write_manifest(folder: Path, month: Month, log: str) -> None:
    """Name every file that follows from the log. Raises OSError."""
    files = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name not in OF_THIS_TIME and not name.startswith(f"{STRIPE}/"):
            with path.open("rb") as opened:
                files.append({"path": name, "size": path.stat().st_size, "sha256": digest_of(opened)})
    about = {
        "format": FORMAT, "log": log, "month": month.name, "zone": month.zone, "starts_at": instant(month.starts_at),
        "ends_at": instant(month.ends_at), "files": files,
    }  # fmt: skip
    write_text(folder / MANIFEST, about)


def _write_statement(folder: Path, shard: int, statement: Document) -> list[str]:
    """Write a statement; its row of the list."""
    position = statement["sealed"]["position"]
    name = f"statements/{shard:02d}/{place_of(position).position}.json"
    write_text(folder / name, json_of(statement))
    about = (statement[key] for key in ("team_id", "cycle", "starts_at", "ends_at"))
    return [*map(str, about), position, statement["closing"]["total"], name]


def _write_note(folder: Path, note: CoveringNote) -> None:
    """The note as an anchor, so that a folder of anchors can be made of the folder."""
    file = folder / f"{note.number:020d}.anchor"
    if not file.exists():
        write_text(file, note.anchor)


def write_text(file: Path, content: object) -> None:
    """A file of text, or of JSON where it is no text. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    write_whole(file, text.encode())


@contextmanager
def lines_of(file: Path) -> Iterator[Callable[[object], None]]:
    """Takes rows as they come, and writes each as a line of JSON; the file is there once all are. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished, encoder = file.with_name(file.name + PART), msgspec.json.Encoder()
    with unfinished.open("wb") as rows:

        def write(row: object) -> None:
            rows.write(encoder.encode(row) + b"\n")

        yield write
    unfinished.replace(file)
