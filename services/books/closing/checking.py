"""What is checked when a month is closed: the proofs, the fold, the books, and Stripe."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from projections.books.month import MonthBooks
from projections.books.tables import is_right
from schemas.catalog import Catalog
from schemas.instants import instant
from services.audit.replays.all_cores import replay_database
from services.audit.replays.scope import ReplayScope
from services.audit.verdict import LogProblem, Verified
from services.books.closing.month_folder import STRIPE, MonthFolder, lines_of, write_text
from services.books.closing.verdicts import CloseCheck
from services.books.tie_out import tie_out
from services.books.tie_out_tables import csv_of, document, payouts_csv_of
from services.export.replaying import FoldedArchives
from services.money.reconcile.compare import reconcile
from services.money.stripe_client import BalanceMove, Charges
from services.store.connect import Connection

OnFacts = Callable[[int], None]


def check_verified(verified: Verified) -> CloseCheck:
    """The facts, their proofs, the signed checkpoints and the fence."""
    what = (
        f"{verified.facts:,} facts: {verified.basis}" if not verified.problems else "the log is not shown to be right"
    )
    return _check("verify", what, _words(verified.problems))


def check_replayed(database: str, on_facts: OnFacts) -> CloseCheck:
    """What is read against a fold of the log from its beginning, and that facts follow from facts.

    On all cores, so it is called where no loop of asyncio runs. Raises as `replay_database`.
    """
    replayed = replay_database(database, ReplayScope(audit=True), on_facts)
    problems = [str(one) for one in (*replayed.differences, *replayed.findings)]
    what = f"{replayed.facts:,} facts folded, the projections compared, every fact audited"
    return _check("replay", what, problems)


def check_folded(folded: FoldedArchives) -> CloseCheck:
    """The same of archives, which have no projections to compare with."""
    what = f"{folded.facts:,} facts of the archives folded; nothing was compared or audited"
    return _check("replay", what, _words(folded.problems))


def check_books(written: MonthFolder) -> list[CloseCheck]:
    """The accounts balance, and each cycle that was sealed has its statement."""
    ties = is_right(written.books)
    unsigned = [f"no signed checkpoint covers the seal at {place} yet" for place in written.unsigned]
    return [
        CloseCheck("revenue", ties, "what we have is what we owe and what we earned", written.books.wrong),
        _check("statements", f"{len(written.statements):,} cycles were sealed, each has its statement", unsigned),
    ]


async def check_stripe(
    connection: Connection, charges: Charges, books: MonthBooks, catalog: Catalog, folder: Path
) -> list[CloseCheck]:
    """Payments against the log, and Stripe's balance against the books; what Stripe said is kept in the folder.

    Raises:
        Unavailable: Stripe does not answer, time and again.
        WrongRequest: its key is none, or may not read the balance.
        OSError: the folder can't be written.
    """
    month, kept = books.month, folder / STRIPE
    report = await reconcile(connection, charges, since=month.starts_at, until=month.ends_at, catalog=catalog)
    with lines_of(kept / "balance_transactions.jsonl") as keep:
        tied = await tie_out(connection, charges, books, catalog, on_move=lambda move: keep(_kept(move)))
    write_text(kept / "breaks.json", [one._asdict() | {"type": one.type.value} for one in report.breaks])
    write_text(kept / "tie_out.json", document(tied))
    write_text(kept / "tie_out.csv", csv_of(tied))
    write_text(kept / "payouts.csv", payouts_csv_of(tied))
    breaks = [f"{one.type.value} {one.payment_intent_id}: {one.what}" for one in report.breaks]
    differences = [f"{line.type.value} {line.key.payment}: {line.what}" for line in tied.breaks]
    if not differences and not tied.ties:
        differences = ["the sums moved while they were asked for; close again"]
    return [
        _check("reconcile", f"{report.payments:,} payments at Stripe, {report.credits:,} brought credits", breaks),
        _check(
            "stripe", f"the balance ties with the books; {len(tied.lines):,} lines need nobody (stripe/tie_out.csv)",
            differences,
        ),
    ]  # fmt: skip


def _kept(move: BalanceMove) -> dict[str, object]:
    """A balance transaction as Stripe said it, without what it knows of persons."""
    return asdict(move) | {"created_at": instant(move.created_at)}


def _words(problems: Sequence[LogProblem]) -> list[str]:
    return [f"{problem.place}: {problem.what}" for problem in problems]


def _check(name: str, what: str, problems: Sequence[str]) -> CloseCheck:
    return CloseCheck(name, not problems, what, problems)
