"""What must be true of every demo, from what was said and what was found. Pure, so that tests can break each."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from deploy.local.demo.found import DemoFigures
from deploy.local.demo.said import ReportedWork
from schemas.catalog import Catalog
from schemas.credits import format_credits
from schemas.facts import CreditsPurchased, CreditsToppedUp

EXAMPLES = 3


class Check(NamedTuple):
    """One invariant: what must hold, whether it does, and the figures."""

    name: str
    holds: bool
    figures: str


def judge(said: ReportedWork, found: DemoFigures, catalog: Catalog) -> list[Check]:
    """Every check, in the order in which a reader would ask."""
    every: tuple[Callable[[ReportedWork, DemoFigures, Catalog], Check], ...] = (
        _records, _refusals, _usage, _voids, _entries, _balances, _charges, _published, _told, _verified,
        _replayed,
    )  # fmt: skip
    return [check(said, found, catalog) for check in every]


def _records(said: ReportedWork, found: DemoFigures, _: Catalog) -> Check:
    """Every record is in exactly one place."""
    parts = {
        "recorded": len(found.usages), "taking back": len(found.voids), "repeated": found.duplicates,
        "contradicting": found.conflicts, "refused": found.refusals.total(),
    }  # fmt: skip
    accounted = sum(parts.values())
    # Emitters repeat what Kafka may not have: more duplicates than somebody sent on purpose are right, fewer are not.
    holds = accounted == found.records >= said.records and found.conflicts == said.conflicts
    holds = holds and found.duplicates - said.duplicates == found.records - said.records
    figures = f"{counted(found.records, 'record')} = " + " + ".join(
        f"{count:,} {name}" for name, count in parts.items()
    )
    if not holds:
        figures += f"; said were {said.records:,}, with {said.duplicates:,} duplicates and {said.conflicts:,} conflicts"
    return Check("Every record is accounted for", holds, figures)


def _refusals(said: ReportedWork, found: DemoFigures, _: Catalog) -> Check:
    """Each for the reason that it deserves."""
    wrong = {
        reason: (said.refusals[reason], found.refusals[reason])
        for reason in said.refusals | found.refusals
        if said.refusals[reason] != found.refusals[reason]
    }
    figures = f"{counted(found.refusals.total(), 'record')} for {counted(len(found.refusals), 'reason')}"
    if wrong:
        figures = "; ".join(f"{reason}: {sent:,} sent, {got:,} refused" for reason, (sent, got) in wrong.items())
    return Check("Nonsense is refused, with its reason", not wrong, figures)


def _usage(said: ReportedWork, found: DemoFigures, _: Catalog) -> Check:
    """What was reported is what the log says and what balances paid."""
    told, logged = sum(said.usages.values()), sum(found.usages.values())
    paid = -_sum(found, "usage")
    holds = said.usages == found.usages and told == logged == paid and found.counts["usage"] >= len(found.usages)
    figures = (
        f"{counted(len(found.usages), 'usage')}, {readable(logged)} credits: as reported, in the log, off the balances"
    )
    if not holds:
        figures = (
            f"reported {format_credits(told)}, in the log {format_credits(logged)}, off the balances {format_credits(paid)}; "
            f"differing: {_some(key.id for key in said.usages | found.usages if said.usages.get(key) != found.usages.get(key))}"
        )
    return Check("Usage is counted once, to the last decimal", holds, figures)


def _voids(said: ReportedWork, found: DemoFigures, _: Catalog) -> Check:
    """Taken back is what was asked to be, and its credits returned."""
    asked = sum(said.usages[usage] for usage in said.voids.values())
    returned = _sum(found, "usage_voided")
    holds = said.voids == found.voids and asked == found.voided_credits == returned
    figures = f"{counted(len(found.voids), 'usage')} taken back, {readable(returned)} credits returned"
    if not holds:
        figures += f"; asked were {len(said.voids)}, {format_credits(asked)} credits"
    return Check("What was taken back is paid back", holds, figures)


def _entries(_: ReportedWork, found: DemoFigures, __: Catalog) -> Check:
    """A balance is the sum of its entries."""
    wrong = [
        f"{team}: entries {format_credits(sum(kinds.values()))}, balance {format_credits(found.balances.get(team, 0))}"
        for team, kinds in found.entries.items()
        if sum(kinds.values()) != found.balances.get(team)
    ]
    total = readable(sum(found.balances.values()))
    figures = (
        f"{counted(found.counts.total(), 'entry', 'entries')} of {len(found.balances)} teams add up to {total} credits"
    )
    return Check("Balances are the sum of what happened", not wrong, "; ".join(wrong) or figures)


def _balances(_: ReportedWork, found: DemoFigures, __: Catalog) -> Check:
    """The API says what the projection says, once all is quiet."""
    wrong = [
        f"{team}: API {format_credits(answer)}, projection {format_credits(found.balances.get(team, 0))}"
        for team, answer in found.answers.items()
        if answer != found.balances.get(team)
    ]
    refills = sum(found.refills.values())
    figures = f"{counted(len(found.answers), 'team')}, {counted(refills, 'refill')}"
    return Check("The API says the same", not wrong and bool(found.answers), "; ".join(wrong) or figures)


def _charges(_: ReportedWork, found: DemoFigures, catalog: Catalog) -> Check:
    """No charge without credits, no credits without a charge, and the price is the catalog's."""
    bought: list[CreditsToppedUp | CreditsPurchased] = [*found.top_ups, *found.purchases]
    credited = {gained.payment_intent_id: gained for gained in bought}
    wrong = [f"{intent} is credited and not charged" for intent in credited.keys() - found.charges.keys()]
    wrong += [f"{intent} is charged and not credited" for intent in found.charges.keys() - credited.keys()]
    wrong += [
        f"{intent}: {format_credits(credited[intent].credits)} credits for {charged} cents"
        for intent, charged in found.charges.items()
        if intent in credited and not charged == credited[intent].charge_cents == _price(credited[intent], catalog)
    ]
    if len(credited) != len(bought):
        wrong.append("an intent is credited twice")
    credits = readable(sum(gained.credits for gained in bought))
    figures = f"{counted(len(found.charges), 'charge')}, {dollars(sum(found.charges.values()))}, for {credits} credits"
    return Check("Charges are purchases and top-ups, to the cent", not wrong, "; ".join(wrong[:EXAMPLES]) or figures)


def _price(gained: CreditsToppedUp | CreditsPurchased, catalog: Catalog) -> int:
    """What so many credits cost, by the catalog."""
    if isinstance(gained, CreditsPurchased):
        return catalog.packs[gained.pack].prices[gained.currency]
    return catalog.top_up_charge_cents(gained.credits)


def _published(_: ReportedWork, found: DemoFigures, __: Catalog) -> Check:
    """What is stored is on Kafka."""
    missing, extra = found.stored - found.published, found.published - found.stored
    refused = found.refusals.total() + found.conflicts
    holds = not missing and not extra and found.refused_published >= refused
    figures = f"{len(found.published):,} facts on credits.events, {found.refused_published:,} records on usage.refused"
    if not holds:
        figures += f"; missing {len(missing)} facts ({_some(map(str, sorted(missing)))}), unknown {len(extra)}, refused {refused}"
    return Check("Everything stored is published", holds, figures)


def _told(_: ReportedWork, found: DemoFigures, __: Catalog) -> Check:
    """Each crossing is a notice, signed, and once."""
    holds = +found.told == +found.to_tell and not found.forged
    figures = f"{counted(found.told.total(), 'notice')}, signatures checked by the receiver"
    if not holds:
        figures += f"; in the log {dict(+found.to_tell)}, at the host {dict(found.told)}, not believed {found.forged}"
    return Check("The host product is told, once per crossing", holds, figures)


def _verified(_: ReportedWork, found: DemoFigures, __: Catalog) -> Check:
    """Leaves, roots, chain, positions, signed checkpoints."""
    said = found.verified
    holds = said.get("ok") is True and said.get("facts") == len(found.stored)
    figures = (
        f"{said.get('facts'):,} facts in {said.get('blocks'):,} blocks, signatures {said.get('signatures')}"
        if holds
        else str(said)
    )
    return Check("The log is what was recorded", holds, figures)


def _replayed(_: ReportedWork, found: DemoFigures, __: Catalog) -> Check:
    """Folding the log from its beginning gives the live projections."""
    said = found.replayed
    holds = said.get("ok") is True
    figures = (
        f"{said.get('facts'):,} facts of {counted(said.get('teams', 0), 'team')} folded anew" if holds else str(said)
    )
    return Check("Replay gives the same", holds, figures)


def dollars(cents: int) -> str:
    """An amount as people read it."""
    return f"${cents // 100:,}.{cents % 100:02d}"


def readable(micro: int) -> str:
    """Credits with all their decimals, and commas between the thousands."""
    whole, point, part = format_credits(micro).partition(".")
    return f"{int(whole):,}{point}{part}"


def counted(count: int, one: str, several: str = "") -> str:
    """So many of something, in words."""
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def _sum(found: DemoFigures, kind: str) -> int:
    return sum(kinds.get(kind, 0) for kinds in found.entries.values())


def _some(names: Iterator[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:EXAMPLES]) + (" …" if len(listed) > EXAMPLES else "")
