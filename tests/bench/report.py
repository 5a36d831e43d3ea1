"""What the bench found: tables for people, one JSON object for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.bench.growth import Size
from tests.bench.machine import LOUD_PERCENT, Loudness

# What we mean to reach on two cores: (figure, at least or at most, aim).
AIMS: Mapping[str, tuple[str, float]] = {
    "record_vs_copy": ("≥", 0.70),
    "visible_vs_copy": ("≥", 0.52),
    "quantities_vs_one": ("≤", 1.3),
    "replay_vs_copy": ("≥", 1.7),
    "idle_percent": ("≤", 6),
    "visible_p99_ms": ("≤", 45),
    "relay_events_per_s": ("≥", 40_000),
    "balance_p99_ms": ("≤", 10),
    "balance_hot_team_p99_ms": ("≤", 10),
    "quote_p99_ms": ("≤", 10),
    "activity_p99_ms": ("≤", 10),
    "top_up_p99_ms": ("≤", 500),
    "hold_p99_ms": ("≤", 30),
    "neighbour_ratio": ("≤", 1.5),
    "csv_rows_per_s": ("≥", 20_000),
    "csv_rss_mb": ("≤", 30),
    "as_of_p99_ms": ("≤", 50),
    "asof_p99_ms": ("≤", 50),
    "statement_ms": ("≤", 2_000),
    "cost_growth": ("≥", 0.85),
    "bytes_per_event": ("≤", 700),
    "verify_vs_copy": ("≥", 1.0),
    "export_vs_copy": ("≥", 1.0),
    "verify_export_vs_copy": ("≥", 1.2),
    "balances_at_vs_copy": ("≥", 0.5),
    "revenue_vs_copy": ("≥", 0.5),
    "audit_rss_mb": ("≤", 500),
    "slowest_question_s": ("≤", 10),
    "visible_p99_beside_questions": ("≤", 1.2),
    "peak_rss_mb": ("≤", 400),
}

SMALL_BYTES = 1  # per event: a table below is not listed by name


@dataclass
class Figures:
    """The figures by the names that programs know; None was not measured."""

    copy_rows_per_s: float | None = None
    record_events_per_s: float | None = None
    record_vs_copy: float | None = None
    record_us: float | None = None
    visible_events_per_s: float | None = None
    visible_vs_copy: float | None = None
    visible_us: float | None = None
    wal_bytes_per_event: float | None = None
    quantities_us: float | None = None  # of an event with three
    quantities_vs_one: float | None = None  # its processor time beside that of one with one
    visible_at_rate: int | None = None
    visible_p50_ms: float | None = None
    visible_p99_ms: float | None = None
    relay_events_per_s: float | None = None
    replay_events_per_s: float | None = None
    replay_vs_copy: float | None = None
    replay_us: float | None = None
    idle_percent: float | None = None
    balance_p50_ms: float | None = None
    balance_p99_ms: float | None = None
    balance_hot_team_p50_ms: float | None = None
    balance_hot_team_p99_ms: float | None = None
    quote_p50_ms: float | None = None
    quote_p99_ms: float | None = None
    activity_p50_ms: float | None = None
    activity_p99_ms: float | None = None
    balance_at_rate: int | None = None
    hot_team_facts: int | None = None
    neighbour_balance_p99_ms: float | None = None
    neighbour_balance_p99_alone_ms: float | None = None
    neighbour_quote_p99_ms: float | None = None
    neighbour_quote_p99_alone_ms: float | None = None
    neighbour_hold_p99_ms: float | None = None
    neighbour_hold_p99_alone_ms: float | None = None
    neighbour_ratio: float | None = None  # of the kind that suffers most
    hold_p50_ms: float | None = None
    hold_p99_ms: float | None = None
    capture_p99_ms: float | None = None
    top_up_p50_ms: float | None = None
    top_up_p99_ms: float | None = None
    csv_rows_per_s: float | None = None
    csv_rss_mb: float | None = None
    as_of_p50_ms: float | None = None
    as_of_p99_ms: float | None = None
    asof_p99_ms: float | None = None  # the same, by its other name
    statement_ms: float | None = None  # of a cycle with 100,000 facts
    large_team_facts: int | None = None
    cost_growth: float | None = None
    cost_growth_uuid4: float | None = None
    cost_growth_facts: int | None = None
    bytes_per_event: float | None = None
    verify_vs_copy: float | None = None
    export_vs_copy: float | None = None
    verify_export_vs_copy: float | None = None
    balances_at_vs_copy: float | None = None
    revenue_vs_copy: float | None = None
    audit_rss_mb: float | None = None
    slowest_question_s: float | None = None
    visible_p99_beside_questions: float | None = None  # to the same without
    peak_rss_mb: float | None = None
    load_before: float | None = None
    others_percent: float | None = None  # of the loudest part
    stolen_percent: float | None = None
    is_result: bool | None = None  # False: somebody else worked beside a part


@dataclass
class Rounds:
    """Each measurement, round by round."""

    rates: dict[str, list[float]] = field(default_factory=dict)
    costs_us: dict[str, list[float]] = field(default_factory=dict)
    wal_bytes: list[float] = field(default_factory=list)

    def note(self, name: str, rate: float, cost_us: float | None = None) -> None:
        """Another round of a measurement; the processor time of one where it is known."""
        self.rates.setdefault(name, []).append(rate)
        if cost_us is not None:
            self.costs_us.setdefault(name, []).append(cost_us)

    def median(self, name: str) -> float | None:
        """None where it was not measured."""
        return _median(self.rates.get(name))

    def cost_us(self, name: str) -> float | None:
        """The median; None where it was not measured."""
        return _median(self.costs_us.get(name))

    def wal_bytes_per_event(self) -> float | None:
        """The median; None where it was not measured."""
        return _median(self.wal_bytes)

    def to_copy(self, name: str) -> float | None:
        """The median as a share of the median COPY of the same run."""
        rate, copy = self.median(name), self.median("copy")
        return rate / copy if rate is not None and copy else None


def _median(values: Sequence[float] | None) -> float | None:
    return median(values) if values else None


def as_json(figures: Figures) -> dict[str, float | int | None]:
    """Rounded to what a measurement can claim."""
    return {name: _rounded(value) for name, value in asdict(figures).items()}


def _rounded(value: float | None) -> float | int | None:
    if value is None or isinstance(value, bool):
        return value
    return round(value) if value >= 1_000 else float(f"{value:.3g}")


def show(
    console: Console, figures: Figures, rounds: Rounds, rss_mb: Mapping[str, float], sizes: Sequence[Size], events: int
) -> None:
    """The tables."""
    console.print(_figures_table(figures))
    if rounds.rates:
        console.print(_rounds_table(rounds))
    if rss_mb:
        console.print(_memory_table(rss_mb))
    if sizes:
        console.print(_sizes_table(sizes, events))


def about_table(about: Mapping[str, str]) -> Table:
    """Machine, versions and settings."""
    table = Table(title="Measured on", title_justify="left", show_header=False, box=None)
    for name, value in about.items():
        table.add_row(name, value)
    return table


def _figures_table(figures: Figures) -> Table:
    title = "Figures" if figures.is_result else "Figures, but no result: somebody else was at work on this machine"
    table = _table(title, "figure", "measured", "aim", "")
    for name, value in as_json(figures).items():
        sign, aim = AIMS.get(name, ("", 0))
        judged = bool(sign) and bool(figures.is_result)
        verdict = _verdict(value >= aim if sign == "≥" else value <= aim) if judged and value is not None else ""
        table.add_row(name, _shown(value), f"{sign} {aim:,}" if sign else "", verdict)
    return table


def _shown(value: float | None) -> str:
    if value is None:
        return "not measured"
    return ("no", "yes")[value] if isinstance(value, bool) else f"{value:,}"


def _verdict(reached: bool) -> str:
    return "[green]reached[/]" if reached else "[yellow]missed[/]"


def _rounds_table(rounds: Rounds) -> Table:
    longest = max(map(len, rounds.rates.values()))
    rounds_ = (str(number) for number in range(1, longest + 1))
    table = _table("Rounds, per second", "", *rounds_, "median", "to COPY", "µs of processor time")
    for name, rates in rounds.rates.items():
        cells = [f"{rate:,.0f}" for rate in rates] + [""] * (longest - len(rates))
        share = rounds.to_copy(name)
        cost = rounds.cost_us(name)
        ends = ("" if share is None else f"{share:.2f}", "" if cost is None else f"{cost:.1f}")
        table.add_row(name, *cells, f"{median(rates):,.0f}", *ends)
    return table


def loudness_table(loudness: Loudness) -> Table:
    """What others took, part by part."""
    table = _table(f"Loudness, at most {LOUD_PERCENT} % together", "part", "others, % of all cores", "host, %")
    for part, others in loudness.others_percent.items():
        table.add_row(part, f"{others:.1f}", f"{loudness.stolen_percent[part]:.1f}")
    return table


def _memory_table(rss_mb: Mapping[str, float]) -> Table:
    table = _table("Memory", "process", "at most, MB")
    for name, most in sorted(rss_mb.items(), key=lambda pair: -pair[1]):
        table.add_row(name, f"{most:,.0f}")
    return table


def _sizes_table(sizes: Sequence[Size], events: int) -> Table:
    table = _table(f"On the disk, with {events:,} events", "table", "rows, bytes per event", "indexes, bytes per event")
    large = [size for size in sizes if size.rows_bytes + size.index_bytes >= events * SMALL_BYTES]
    small = [size for size in sizes if size not in large]
    for size in (*large, Size("others", sum(one.rows_bytes for one in small), sum(one.index_bytes for one in small))):
        table.add_row(size.table, f"{size.rows_bytes / events:,.1f}", f"{size.index_bytes / events:,.1f}")
    rows, indexes = sum(size.rows_bytes for size in sizes), sum(size.index_bytes for size in sizes)
    table.add_row("all", f"{rows / events:,.1f}", f"{indexes / events:,.1f}", style="bold")
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, header_style="dim", padding=(0, 2, 0, 0)
    )
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
