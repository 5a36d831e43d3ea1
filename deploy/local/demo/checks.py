"""What must be true of every demo, from what was said and what was found. Pure, so that tests can break each."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from deploy.local.demo.figures import DemoFigures
from deploy.local.demo.reported import ReportedWork
from schemas.catalog import Catalog
from schemas.credits import MicroCredits, format_credits
from schemas.facts import CreditsPurchased, CreditsToppedUp

EXAMPLES = 3


class Check(NamedTuple):
    """One invariant: what must hold, whether it does, and the figures."""

    name: str
    holds: bool
    figures: str


def judge(reported: ReportedWork, actual: DemoFigures, catalog: Catalog) -> list[Check]:
    """Every check, in the order in which a reader would ask."""
    every: tuple[Callable[[ReportedWork, DemoFigures, Catalog], Check], ...] = (
        _records, _refusals, _usage, _voids, _entries, _balances, _charges, _published, _notices, _verified,
        _replayed,
    )  # fmt: skip
    return [check(reported, actual, catalog) for check in every]


def _records(reported: ReportedWork, actual: DemoFigures, _: Catalog) -> Check:
    """Every record is in exactly one place."""
    parts = {
        "recorded": len(actual.usages), "taking back": len(actual.voids), "repeated": actual.duplicates,
        "contradicting": actual.conflicts, "refused": actual.refusals.total(),
    }  # fmt: skip
    accounted = sum(parts.values())
    # Emitters repeat what Kafka may not have: more duplicates than somebody sent on purpose are right, fewer are not.
    holds = accounted == actual.records >= reported.records and actual.conflicts == reported.conflicts
    holds = holds and actual.duplicates - reported.duplicates == actual.records - reported.records
    figures = f"{counted(actual.records, 'record')} = " + " + ".join(
        f"{count:,} {name}" for name, count in parts.items()
    )
    if not holds:
        figures += f"; said were {reported.records:,}, with {reported.duplicates:,} duplicates and {reported.conflicts:,} conflicts"
    return Check("Every record is accounted for", holds, figures)


def _refusals(reported: ReportedWork, actual: DemoFigures, _: Catalog) -> Check:
    """Each for the reason that it deserves."""
    wrong = {
        reason: (reported.refusals[reason], actual.refusals[reason])
        for reason in reported.refusals | actual.refusals
        if reported.refusals[reason] != actual.refusals[reason]
    }
    figures = f"{counted(actual.refusals.total(), 'record')} for {counted(len(actual.refusals), 'reason')}"
    if wrong:
        figures = "; ".join(f"{reason}: {sent:,} sent, {got:,} refused" for reason, (sent, got) in wrong.items())
    return Check("Nonsense is refused, with its reason", not wrong, figures)


def _usage(reported: ReportedWork, actual: DemoFigures, _: Catalog) -> Check:
    """What was reported is what the log says and what balances paid."""
    reported_credits, logged = sum(reported.usages.values()), sum(actual.usages.values())
    paid = -_sum(actual, "usage")
    holds = (
        reported.usages == actual.usages
        and reported_credits == logged == paid
        and actual.counts["usage"] >= len(actual.usages)
    )
    figures = (
        f"{counted(len(actual.usages), 'usage')}, {readable(logged)} credits: as reported, in the log, off the balances"
    )
    if not holds:
        figures = (
            f"reported {format_credits(reported_credits)}, in the log {format_credits(logged)}, off the balances {format_credits(paid)}; "
            f"differing: {_some(key.id for key in reported.usages | actual.usages if reported.usages.get(key) != actual.usages.get(key))}"
        )
    return Check("Usage is counted once, to the last decimal", holds, figures)


def _voids(reported: ReportedWork, actual: DemoFigures, _: Catalog) -> Check:
    """Taken back is what was asked to be, and its credits returned."""
    voided_credits = sum(reported.usages[usage] for usage in reported.voids.values())
    returned = _sum(actual, "usage_voided")
    holds = reported.voids == actual.voids and voided_credits == actual.voided_credits == returned
    figures = f"{counted(len(actual.voids), 'usage')} taken back, {readable(returned)} credits returned"
    if not holds:
        figures += f"; asked were {len(reported.voids)}, {format_credits(voided_credits)} credits"
    return Check("What was taken back is paid back", holds, figures)


def _entries(_: ReportedWork, actual: DemoFigures, __: Catalog) -> Check:
    """A balance is the sum of its entries."""
    wrong = [
        f"{team}: entries {format_credits(sum(kinds.values()))}, balance {format_credits(actual.balances.get(team, 0))}"
        for team, kinds in actual.entries.items()
        if sum(kinds.values()) != actual.balances.get(team)
    ]
    total = readable(sum(actual.balances.values()))
    figures = f"{counted(actual.counts.total(), 'entry', 'entries')} of {len(actual.balances)} teams add up to {total} credits"
    return Check("Balances are the sum of what happened", not wrong, "; ".join(wrong) or figures)


def _balances(_: ReportedWork, actual: DemoFigures, __: Catalog) -> Check:
    """The API says what the projection says, once all is quiet."""
    wrong = [
        f"{team}: API {format_credits(answer)}, projection {format_credits(actual.balances.get(team, 0))}"
        for team, answer in actual.answers.items()
        if answer != actual.balances.get(team)
    ]
    refills = sum(actual.refills.values())
    figures = f"{counted(len(actual.answers), 'team')}, {counted(refills, 'refill')}"
    return Check("The API says the same", not wrong and bool(actual.answers), "; ".join(wrong) or figures)


def _charges(_: ReportedWork, actual: DemoFigures, catalog: Catalog) -> Check:
    """No charge without credits, no credits without a charge, and the price is the catalog's."""
    bought: list[CreditsToppedUp | CreditsPurchased] = [*actual.top_ups, *actual.purchases]
    credited = {gained.payment_intent_id: gained for gained in bought}
    wrong = [f"{intent} is credited and not charged" for intent in credited.keys() - actual.charges.keys()]
    wrong += [f"{intent} is charged and not credited" for intent in actual.charges.keys() - credited.keys()]
    wrong += [
        f"{intent}: {format_credits(credited[intent].credits)} credits for {charged} cents"
        for intent, charged in actual.charges.items()
        if intent in credited and not charged == credited[intent].charge_cents == _price(credited[intent], catalog)
    ]
    if len(credited) != len(bought):
        wrong.append("an intent is credited twice")
    credits = readable(sum(gained.credits for gained in bought))
    figures = (
        f"{counted(len(actual.charges), 'charge')}, {dollars(sum(actual.charges.values()))}, for {credits} credits"
    )
    return Check("Charges are purchases and top-ups, to the cent", not wrong, "; ".join(wrong[:EXAMPLES]) or figures)


def _price(gained: CreditsToppedUp | CreditsPurchased, catalog: Catalog) -> int:
    """What so many credits cost, by the catalog."""
    if isinstance(gained, CreditsPurchased):
        return catalog.packs[gained.pack].prices[gained.currency]
    return catalog.top_up_charge_cents(gained.credits)


def _published(_: ReportedWork, actual: DemoFigures, __: Catalog) -> Check:
    """What is stored is on Kafka."""
    missing, extra = actual.stored - actual.published, actual.published - actual.stored
    refused = actual.refusals.total() + actual.conflicts
    holds = not missing and not extra and actual.refused_published >= refused
    figures = (
        f"{len(actual.published):,} facts on credits.events, {actual.refused_published:,} records on usage.refused"
    )
    if not holds:
        figures += f"; missing {len(missing)} facts ({_some(map(str, sorted(missing)))}), unknown {len(extra)}, refused {refused}"
    return Check("Everything stored is published", holds, figures)


def _notices(_: ReportedWork, actual: DemoFigures, __: Catalog) -> Check:
    """Each crossing is a notice, signed, and once."""
    holds = +actual.host_notices == +actual.to_tell and not actual.forged
    figures = f"{counted(actual.host_notices.total(), 'notice')}, signatures checked by the receiver"
    if not holds:
        figures += f"; in the log {dict(+actual.to_tell)}, at the host {dict(actual.host_notices)}, not believed {actual.forged}"
    return Check("The host product is told, once per crossing", holds, figures)


def _verified(_: ReportedWork, actual: DemoFigures, __: Catalog) -> Check:
    """Leaves, roots, chain, positions, signed checkpoints."""
    outcome = actual.verified
    holds = outcome.get("ok") is True and outcome.get("facts") == len(actual.stored)
    figures = (
        f"{outcome.get('facts'):,} facts in {outcome.get('blocks'):,} blocks, signatures {outcome.get('signatures')}"
        if holds
        else str(outcome)
    )
    return Check("The log is what was recorded", holds, figures)


def _replayed(_: ReportedWork, actual: DemoFigures, __: Catalog) -> Check:
    """Folding the log from its beginning gives the live projections."""
    outcome = actual.replayed
    holds = outcome.get("ok") is True
    figures = (
        f"{outcome.get('facts'):,} facts of {counted(outcome.get('teams', 0), 'team')} folded again"
        if holds
        else str(outcome)
    )
    return Check("Replay gives the same", holds, figures)


def dollars(cents: int) -> str:
    """An amount as people read it."""
    return f"${cents // 100:,}.{cents % 100:02d}"


def readable(micro: MicroCredits) -> str:
    """Credits with all their decimals, and commas between the thousands."""
    whole, point, part = format_credits(micro).partition(".")
    return f"{int(whole):,}{point}{part}"


def counted(count: int, one: str, several: str = "") -> str:
    """So many of something, in words."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def _sum(actual: DemoFigures, kind: str) -> int:
    return sum(kinds.get(kind, 0) for kinds in actual.entries.values())


def _some(names: Iterator[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:EXAMPLES]) + (" …" if len(listed) > EXAMPLES else "")
