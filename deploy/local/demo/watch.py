"""Follows the log while the demo plays: figures for the line at the bottom, and a sentence for each fact worth one."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.local.demo.checks import counted, dollars
from schemas.credits import MICRO, MicroCredits, format_credits
from schemas.facts import Stored
from services.store.connect import Connection
from services.store.read import heads, read_after

REPEATS = "SELECT coalesce(sum(duplicates + conflicts), 0)::bigint FROM repeats"
REFUSED = "SELECT count(*) FROM refused WHERE reason <> 'conflict'"
BALANCES = "SELECT team_id, included + additional AS credits FROM balance"


def _credits(micro: MicroCredits) -> str:
    """Without what a person does not look at."""
    return f"{micro // MICRO:,}" if abs(micro) >= 100 * MICRO else format_credits(micro)


# The facts that the audience wants to hear of, each as a sentence about its team.
WORTH_TELLING: Mapping[str, Callable[[Any], str]] = {
    "balance.ran_low.v1": lambda fact: (
        f"is low: {_credits(fact.available_credits)} credits left, below {_credits(fact.threshold_credits)}"
    ),
    "balance.ran_out.v1": lambda _: "ran out of credits; what its members still use is owed",
    "credits.purchased.v1": lambda fact: f"bought {_credits(fact.credits)} credits for {dollars(fact.charge_cents)}",
    "credits.topped_up.v1": lambda fact: f"topped up {_credits(fact.credits)} credits for {dollars(fact.charge_cents)}",
    "top_up.failed.v1": lambda fact: f"could not be charged: {fact.reason.replace('_', ' ')}",
    "top_up.skipped.v1": lambda fact: f"was not charged: {fact.reason.replace('_', ' ')}",
    "top_up.suspended.v1": lambda fact: f"is not charged any more: {fact.reason}",
    "credits.refilled.v1": lambda fact: f"began a new cycle with {_credits(fact.credits)} included credits",
    "credits.granted.v1": lambda fact: f"was given {_credits(fact.credits)} credits: {fact.reason}",
    "usage.voided.v1": lambda fact: f"got {_credits(fact.credits)} credits back: {fact.reason}",
}


@dataclass
class LogWatch:
    """How far the log was read, and what was counted on the way."""

    reader: Connection
    names: Mapping[str, str]  # of teams
    positions: dict[int, int] = field(default_factory=dict)
    usages: int = 0
    used_credits: MicroCredits = 0
    top_ups: int = 0
    charged_cents: int = 0
    refused: int = 0
    repeats: int = 0
    balances: dict[str, int] = field(default_factory=dict)

    async def skip(self) -> None:
        """What happened before the curtain is no news."""
        self.positions = await heads(self.reader)

    async def look(self) -> list[str]:
        """Count what is new; a sentence for each fact that is worth one."""
        sentences: list[str] = []
        while facts := await read_after(self.reader, self.positions, 500):
            for shard, read in facts.items():
                for stored in read:
                    sentences += self._count(stored)
                self.positions[shard] = read[-1].position
        self.refused = await self.reader.fetchval(REFUSED)
        self.repeats = await self.reader.fetchval(REPEATS)
        self.balances = {row["team_id"]: row["credits"] for row in await self.reader.fetch(BALANCES)}
        return sentences

    def _count(self, stored: Stored) -> Iterator[str]:
        fact: Any = stored.fact()
        if stored.type == "usage.recorded.v1":
            self.usages += 1
            self.used_credits += fact.credits
        elif stored.type == "credits.topped_up.v1":
            self.top_ups += 1
            self.charged_cents += fact.charge_cents
        if tell := WORTH_TELLING.get(stored.type):
            yield f"{self.names.get(stored.team_id, stored.team_id)} {tell(fact)}"

    def figures(self) -> str:
        """One line."""
        parts = [
            counted(self.usages, "usage"),
            f"{_credits(self.used_credits)} credits",
            f"{self.refused:,} refused",
            f"{self.repeats:,} repeated",
        ]
        if self.top_ups:
            parts.append(f"{counted(self.top_ups, 'top-up')}, {dollars(self.charged_cents)}")
        return " · ".join(parts)

    def balances_line(self) -> str:
        """What each team has."""
        return "   ".join(
            f"{name} {_credits(self.balances[team])}" for team, name in self.names.items() if team in self.balances
        )
