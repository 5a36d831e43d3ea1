"""`creditwell close`: everything that finance signs a month off with, in one folder."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.exports import archives_in, check_folders, folders_of, or_used_wrongly
from services.cli.finance.revenue import month_begun
from services.cli.proofs import (
    Anchors,
    PublicKeys,
    Unsigned,
    attestors_of,
    folder_of_anchors,
    public_keys,
    verify_database,
)
from services.cli.showing import FOUND_WRONG, AsJson, fail, or_said, print_json, print_table, progress, with_database
from services.runtime.clock import system_clock
from services.runtime.errors import LogChanged, Refused
from services.runtime.settings import Settings
from services.runtime.settings_loading import catalog_of, exit_used_wrongly, load_settings
from services.store.connect import Connection
from services.store.shards import SHARDS

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from projections.books.month import Month
    from services.audit.verdict import Verified
    from services.books.closing.ledger import Ledger
    from services.books.closing.month_folder import MonthFolder
    from services.books.closing.verdicts import CloseCheck


@dataclass(frozen=True, slots=True)
class CloseOrder:
    """What is to be closed, where to, and by which keys and anchors it is believed."""

    month: "Month"
    out: Path
    settings: Settings
    anchors: Path | None
    keys: "list[Ed25519PublicKey]"
    unsigned: bool
    asks_stripe: bool


def close(
    month: Annotated[str, typer.Argument(metavar="MONTH", help="A month of CREDITWELL_BOOKS_ZONE that is over.")],
    *,
    out: Annotated[Path, typer.Option(help="The folder to write into; an empty one.")],
    archives: Annotated[
        list[Path] | None,
        typer.Option(help="Archives of all months up to this one, read instead of the database; repeatable."),
    ] = None,
    anchors: Anchors = None,
    public_key: PublicKeys = None,
    unsigned: Unsigned = False,
    without_stripe: Annotated[bool, typer.Option("--without-stripe", help="Do not ask Stripe.")] = False,
    as_json: AsJson = False,
) -> None:
    """Close a month into a folder: proofs, fold, Stripe, books, balances, statements and archive, and what ties.

    Exit code 1: something does not tie; index.html says what. Made again, from the database or from archives and
    anchors, the folder has the same files, except what Stripe said and what was checked. docs/closing.md says what is
    in it.

    Example: creditwell close 2026-10 --out october --anchors anchors
    """
    settings = load_settings()
    asks_stripe = not without_stripe and not archives
    order = CloseOrder(
        _closed_month(month), out, settings, folder_of_anchors(anchors or settings.anchors),
        public_keys(settings, public_key or []), unsigned, asks_stripe,
    )  # fmt: skip
    if asks_stripe:
        settings.require("database", "stripe_key")
    try:
        if archives:
            written, checks = asyncio.run(_from_archives(order, archives))
        else:
            written, checks = _from_database(order)
    except (Refused, LogChanged) as wrong:
        fail(FOUND_WRONG, str(wrong))
    except OSError as error:
        exit_used_wrongly(f"{out}: {error}.")
    _end(order, written, checks, as_json=as_json)


def _closed_month(name: str) -> "Month":
    """A month of the books that is over for as long as an archive wants; ends the process for any other."""
    from services.export.archive import CLOSED_AFTER

    month = month_begun(name, now := system_clock())
    if month.ends_at + CLOSED_AFTER > now:
        exit_used_wrongly(f"{name} is closed an hour after its end.")
    return month


def _from_database(order: CloseOrder) -> "tuple[MonthFolder, list[CloseCheck]]":
    """The replay uses all cores: no loop of asyncio is around it."""
    from services.books.closing.checking import check_books, check_replayed, check_verified

    written, verified, size = with_database(partial(_write_and_verify, order=order))
    with or_said(), progress("replaying", size) as tell:
        replayed = check_replayed(order.settings.needed("database"), tell)
    checks = [check_verified(verified), replayed, *check_books(written)]
    if order.asks_stripe:
        checks += with_database(partial(_ask_stripe, order=order, written=written))
    return written, checks


async def _write_and_verify(connection: Connection, *, order: CloseOrder) -> "tuple[MonthFolder, Verified, int]":
    """The folder, what is to be said of the proofs, and how many facts the log has."""
    from services.audit.sign_log import LOG
    from services.books.closing.ledger import DatabaseLedger
    from services.books.closing.month_folder import ARCHIVE, begin_folder
    from services.books.folding import size_of_log
    from services.export.archive import archive

    month, settings = order.month, order.settings
    begin_folder(order.out)
    await or_used_wrongly(archive(connection, month.name, order.out / ARCHIVE))
    log, ledger = await connection.fetchval(LOG), DatabaseLedger(connection, month.ends_at)
    written = await _write(order, ledger, log)
    age = None if order.unsigned else timedelta(seconds=2 * settings.anchor_every_seconds)
    verified = await verify_database(
        connection, anchors=order.anchors, keys=order.keys, attestors=attestors_of(settings, order.anchors),
        from_checkpoint=None, after={}, age=age,
    )  # fmt: skip
    return written, verified, await size_of_log(connection)


async def _ask_stripe(connection: Connection, *, order: CloseOrder, written: "MonthFolder") -> "list[CloseCheck]":
    from services.books.closing.checking import check_stripe
    from services.money.stripe_client import WrongRequest, charges_of

    async with charges_of(order.settings) as charges:
        try:
            return await check_stripe(connection, charges, written.books, catalog_of(order.settings), order.out)
        except WrongRequest as wrong:
            exit_used_wrongly(f"Stripe refuses to answer ({wrong}): check CREDITWELL_STRIPE_KEY.")


async def _from_archives(order: CloseOrder, folders: list[Path]) -> "tuple[MonthFolder, list[CloseCheck]]":
    from services.books.closing.checking import check_books, check_folded, check_verified
    from services.books.closing.ledger import ArchiveLedger
    from services.books.closing.month_folder import ARCHIVE, begin_folder
    from services.export.replaying import fold_archives

    month, archives = order.month, archives_in(folders)
    if order.anchors is None:
        exit_used_wrongly("--archives: give --anchors, too: statements name the notes that cover them.")
    ledger = ArchiveLedger(archives, order.anchors, month.ends_at)
    of_month = next((one for one in archives.exports if one.month == month.name), None)
    if of_month is None:
        exit_used_wrongly(f"--archives: there is no archive of {month.name}.")
    begin_folder(order.out)
    copytree(of_month.folder, order.out / ARCHIVE / month.name)
    written = await _write(order, ledger, of_month.manifest.log.partition("/")[2])
    verified = check_folders(folders_of(folders), order.keys, unsigned=order.unsigned).verified
    with or_said(), progress("replaying", sum(one.manifest.rows for one in archives.exports)) as tell:
        folded = fold_archives(archives, tell)
    return written, [check_verified(verified), check_folded(folded), *check_books(written)]


async def _write(order: CloseOrder, ledger: "Ledger", log: str) -> "MonthFolder":
    from services.books.closing.month_end import read_cards
    from services.books.closing.month_folder import write_manifest, write_month

    cards = await read_cards(ledger)
    with progress("closing", SHARDS, of="shards") as tell:
        written = await write_month(order.out, ledger, order.month, cards, log, tell)
    write_manifest(order.out, order.month, log)
    return written


def _end(order: CloseOrder, written: "MonthFolder", checks: "list[CloseCheck]", *, as_json: bool) -> None:
    from services.books.closing.verdicts import VERDICTS, CloseCheck, all_tie, document_of, write_verdicts

    if not order.asks_stripe:
        checks = [*checks, CloseCheck("stripe", None, "Stripe was not asked")]
    write_verdicts(order.out, written, checks)
    if as_json:
        print_json({"ok": all_tie(checks), "folder": str(order.out), "checks": document_of(checks)})
    else:
        rows = [(check.name, VERDICTS[check.ties], "\n".join((check.what, *check.problems[:5]))) for check in checks]
        columns = ("check", "", "what")
        print_table(f"{order.month.name}, in {order.out}", columns, rows, prose=columns[2:])
    if not all_tie(checks):
        fail(FOUND_WRONG, f"something does not tie: see {order.out / 'index.html'}")
