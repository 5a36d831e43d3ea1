"""What the audience sees.

A few calm lines, a line of figures that stays at the bottom of a terminal, and the summary.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from deploy.local.demo.cast import DemoRole
from deploy.local.demo.checks import Check
from deploy.local.demo.figures import DemoFigures
from schemas.credits import MICRO, MicroCredits

PLAIN_SECONDS = 10  # between two lines of figures where nothing can be overwritten
LIVE_PER_SECOND = 5


@dataclass
class Screen:
    """Colours and a live line on a terminal, plain lines elsewhere."""

    console: Console
    began: float = field(default_factory=monotonic)
    told_at: float = 0.0
    live: Live | None = None

    def say(self, line: str) -> None:
        """Progress while things start; what stands before the first colon is the step."""
        step, colon, rest = line.partition(": ")
        self.console.print(Text.assemble((f"{step}{colon}", "cyan"), rest) if colon else Text(line), soft_wrap=True)

    def programme(self, pages: Mapping[str, str], tries: Mapping[str, str]) -> None:
        """Where to look, and what to try. Addresses are never broken, so that they can be clicked and copied."""
        self.console.print()
        self.console.print(Text("The Usage page of Papercut Films", style="bold"))
        for who, address in pages.items():
            self._address(who, address)
        self.console.print()
        self.console.print(Text("Try, in another terminal", style="bold"))
        for what, command in tries.items():
            self._address(what, command)
        self.console.print()

    def _address(self, label: str, text: str) -> None:
        self.console.print(Text.assemble((f"  {label}", "dim")))
        shown, fragment, token = text.partition("#token=")
        self.console.print(Text.assemble(f"    {shown}", (fragment + token, "dim")), soft_wrap=True)

    def curtain(self, seconds: int | None) -> None:
        """From now on the clock counts."""
        self.began = self.told_at = monotonic()
        ends = "Ctrl-C ends it" if seconds is None else f"ends by itself after {seconds} s, or with Ctrl-C"
        self.console.print(Text.assemble(("Playing", "bold"), f"; {ends}"))
        if self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=LIVE_PER_SECOND, transient=True)
            self.live.start()

    def tell(self, sentence: str) -> None:
        """Something that happened."""
        self.console.print(Text.assemble((f"{self._elapsed():>7.1f} s  ", "dim"), sentence), soft_wrap=True)

    def figures(self, figures: str, balances: str) -> None:
        """How it stands."""
        if self.live is not None:
            self.live.update(
                Group(
                    Text(), Text(f"{self._elapsed():>7.1f} s  {figures}", style="bold"), Text(f"           {balances}")
                )
            )
        elif monotonic() - self.told_at >= PLAIN_SECONDS:
            self.told_at = monotonic()
            self.tell(figures)

    def quiet(self) -> None:
        """The play is over; what is under way arrives."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def summary(self, cast: Sequence[DemoRole], actual: DemoFigures, checks: Sequence[Check]) -> None:
        """What happened, and whether all that must hold does."""
        self.console.print()
        self.console.print(_teams(cast, actual))
        self.console.print()
        if actual.refusals:
            self.console.print(Text("Refused", style="bold"))
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(actual.refusals.items()))
            self.console.print(Padding(Text(reasons), (0, 0, 1, 2), expand=False))
        self.console.print(Text("Must hold", style="bold"))
        self.console.print(_verdicts(checks))
        failed = [check.name for check in checks if not check.holds]
        self.console.print()
        if failed:
            self.console.print(Text(f"Failed: {'; '.join(failed)}", style="bold red"))
        else:
            self.console.print(Text("All of it holds.", style="bold green"))

    def _elapsed(self) -> float:
        return monotonic() - self.began


def _verdicts(checks: Sequence[Check]) -> Table:
    """Each invariant with its figures; what is long goes on below itself."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for check in checks:
        mark = Text("  ✓", style="green") if check.holds else Text("  ✗", style="bold red")
        table.add_row(mark, Text(check.name, no_wrap=True), Text(check.figures, style="dim" if check.holds else "red"))
    return table


def _teams(cast: Sequence[DemoRole], actual: DemoFigures) -> Table:
    """Each team's credits by what moved them; the columns add up to the last."""
    kinds = [
        kind
        for kind in ("refill", "grant", "purchase", "top_up", "usage", "usage_voided", "expiry")
        if actual.counts[kind]
    ]
    titles = {"refill": "refilled", "grant": "given", "purchase": "bought", "top_up": "topped up", "usage": "used", "usage_voided": "voided",
              "expiry": "expired"}  # fmt: skip
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("Team", no_wrap=True)
    table.add_column("Plan", no_wrap=True)
    for kind in kinds:
        table.add_column(titles[kind], justify="right", no_wrap=True)
    table.add_column("left", justify="right", no_wrap=True)
    for role in cast:
        entries = actual.entries.get(role.team.id, {})
        table.add_row(
            role.team.name, role.team.plan, *(_two_places(entries.get(kind, 0)) for kind in kinds),
            Text(_two_places(actual.balances.get(role.team.id, 0)), style="bold"),
        )  # fmt: skip
    return table


def _two_places(micro: MicroCredits) -> str:
    """For reading; the checks compare all six."""
    if not micro:
        return "–"
    cents = (abs(micro) + MICRO // 200) // (MICRO // 100)
    return f"{'−' if micro < 0 else ''}{cents // 100:,}.{cents % 100:02d}"
