"""A month as a beancount journal: one transaction a team, day and cause, money only.

The file stands alone: what was in each account at the month's beginning comes from `Equity:Opening`, and the month's
end is asserted. Only accounts of the balance sheet have an opening; income and expenses are the month's.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date

from projections.books.accounts import BookAccount
from projections.books.month import OWED, OWN, JournalDay, JournalKey, MonthBooks
from schemas.cycles import load_zone
from schemas.money import major_units

NAMES = {
    BookAccount.STRIPE: "Assets:Stripe", BookAccount.HELD: "Assets:Disputed", BookAccount.TAX: "Liabilities:Tax",
    BookAccount.DEFERRED: "Liabilities:Deferred", BookAccount.FROZEN: "Liabilities:Disputed",
    BookAccount.REVERSED: "Income:Reversed", BookAccount.BREAKAGE: "Income:Breakage", BookAccount.ADJUSTED: "Income:Adjusted",
    BookAccount.LOSSES: "Expenses:Disputes",
}  # fmt: skip
CREDITS, DEBT, OPENING = "Income:Credits", "Debt", "Equity:Opening"

Postings = Counter[str]


def journal(books: MonthBooks) -> str:
    """The text of the journal, LF at each end of a line."""
    zone = load_zone(books.month.zone)
    first, following = (at.astimezone(zone).date() for at in (books.month.starts_at, books.month.ends_at))
    totals = books.by_currency()
    features = {
        feature for balances in totals.values() for _, _, feature in balances.flows if feature is not None
    }  # fmt: skip
    lines = [f'option "title" "Creditwell, {books.month.name}, {books.month.zone}"', ""]
    lines += [f"{first} open {name}" for name in sorted([OPENING, f"{CREDITS}:{DEBT}", *NAMES.values()])]
    lines += [
        line
        for account, named in sorted(_accounts_of(features).items())
        for line in (f"{first} open {account}", f"  feature: {_quoted(', '.join(sorted(named)))}")
    ]
    for currency, balances in totals.items():
        postings = Counter({NAMES[account]: balances.opening[account] for account in (*OWN, *OWED)})
        postings[OPENING] = -sum(postings.values())
        lines += _transaction(first, f"Opening, {currency.upper()}", {}, postings, currency)
    for key, day in sorted(books.days.items(), key=lambda item: (item[0][0], item[1].shard, item[1].first, item[0])):
        lines += _day(key, day)
    for currency, balances in totals.items():
        lines.append("")
        lines += [
            f"{following} balance {NAMES[account]}  {_amount(balances.closing(account), currency)}"
            for account in (*OWN, *OWED)
        ]
    return "\n".join(lines) + "\n"


def _day(key: JournalKey, day: JournalDay) -> Iterator[str]:
    on, team_id, currency, cause = key
    postings: Postings = Counter()
    for (debit, credit, feature), cents in day.flows.items():
        postings[_name(debit, feature)] += cents
        postings[_name(credit, feature)] -= cents
    metadata = {"team": team_id, "positions": day.positions}
    if day.payments:
        metadata["payment"] = ", ".join(sorted(day.payments))
    yield from _transaction(date.fromisoformat(on), cause, metadata, postings, currency)


def _transaction(on: date, what: str, metadata: dict[str, str], postings: Postings, currency: str) -> Iterator[str]:
    """A transaction; none where nothing is moved in the end."""
    if any(postings.values()):
        yield ""
        yield f"{on} * {_quoted(what)}"
        yield from (f"  {key}: {_quoted(value)}" for key, value in metadata.items())
        yield from (
            f"  {account}  {_amount(cents, currency)}" for account, cents in sorted(postings.items()) if cents
        )  # fmt: skip


def _name(account: BookAccount, feature: str | None) -> str:
    if account is not BookAccount.RECOGNISED:
        return NAMES[account]
    return f"{CREDITS}:{DEBT if feature is None else _part(feature)}"


def _part(feature: str) -> str:
    """A feature as part of an account's name: `ai_video.generate` is `F-ai-video-generate`."""
    return "F-" + re.sub(r"[^A-Za-z0-9]+", "-", feature).strip("-")


def _accounts_of(features: set[str]) -> dict[str, set[str]]:
    """Two features may share an account, where only their punctuation differs."""
    accounts: dict[str, set[str]] = {}
    for feature in features:
        accounts.setdefault(f"{CREDITS}:{_part(feature)}", set()).add(feature)
    return accounts


def _amount(cents: int, currency: str) -> str:
    return f"{major_units(cents, currency)} {currency.upper()}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
