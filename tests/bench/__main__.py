"""`python -m tests.bench`: see `tests/bench/__init__.py` for what is measured, and in which order."""

import json
import sys
from collections.abc import Sequence
from statistics import median
from time import monotonic

import uvloop
from rich.console import Console

from deploy.local.processes import Processes
from deploy.local.say import Say, speaker
from deploy.local.stack import Stack, start_stack
from deploy.local.trouble import StackTrouble
from deploy.local.world import LocalWorld, connected, prepare_world
from schemas.catalog import load_catalog
from services.credits.plans import assign_plan
from services.read_models.balances import PROJECTOR
from services.store.connect import Connection
from tests.bench import (
    auditing,
    charging,
    copying,
    growth,
    holds,
    idle,
    large,
    latency,
    neighbour,
    questions,
    reading,
    statements,
    throughput,
)
from tests.bench.ground import Ground, Span, check_all_recorded, fresh_world, own_template
from tests.bench.machine import Loudness, NotDurable, about, check_durable
from tests.bench.options import AFTERWARDS, IN_ROUNDS, Options, options
from tests.bench.report import Figures, Rounds, about_table, as_json, loudness_table, show
from tests.bench.workload import BenchTeam, bench_teams, give_credits, usage_events

PROBES = latency.PROBE_SECONDS * latency.PROBES_PER_SECOND


def main(arguments: Sequence[str]) -> int:
    """0 measured · 1 it did not work, and said why · 2 used wrongly."""
    wanted, say = options(arguments), speaker(sys.stderr)
    tables = Console(file=sys.stderr if wanted.as_json else sys.stdout, highlight=False)
    try:
        with start_stack(say=say, name="bench") as stack, Processes(stack, say=say) as processes:
            figures = uvloop.run(bench(stack, processes, wanted, tables, say))
    except (StackTrouble, NotDurable) as trouble:
        say(str(trouble))
        return 1
    print(json.dumps(as_json(figures)), flush=True)
    return 0


async def bench(stack: Stack, processes: Processes, wanted: Options, tables: Console, say: Say) -> Figures:
    """Everything, in order."""
    async with own_template(stack) as own:
        run = await Run.prepared(own, processes, wanted, say)
        return await measure(run, wanted, tables, say)


async def measure(run: "Run", wanted: Options, tables: Console, say: Say) -> Figures:
    """What was asked for, and show it."""
    began = monotonic()
    async with connected(run.ground.world.database) as owner:
        await check_durable(owner)
        tables.print(about_table(await about(run.ground.world, owner)))
    for number in range(1, wanted.rounds + 1):
        if wanted.only & {*IN_ROUNDS}:
            say(f"Bench: round {number} of {wanted.rounds}")
            await run.round()
    if wanted.only & {*AFTERWARDS}:
        await run.afterwards(ordered_ids=True)
    if wanted.uuid4 and "growth" in wanted.only:
        await run.afterwards(ordered_ids=False)
    run.conclude()
    show(tables, run.figures, run.rounds, run.ground.peak_rss_mb, run.sizes, run.sized_events)
    tables.print(loudness_table(run.ground.loudness))
    say(f"Bench: took {monotonic() - began:.0f} s")
    return run.figures


class Run:
    """One run of the bench: what it measures with, and what it has measured."""

    def __init__(self, ground: Ground, wanted: Options, teams: list[BenchTeam], probes: list[BenchTeam]) -> None:
        self.ground, self.wanted, self.teams, self.probes = ground, wanted, teams, probes
        self.first = usage_events(teams, wanted.events, "first")
        self.second = usage_events(teams, wanted.events, "second")
        self.rows: copying.Rows = []
        self.rounds, self.figures = Rounds(), Figures()
        self.sizes: list[growth.Size] = []
        self.sized_events = 0

    @classmethod
    async def prepared(cls, stack: Stack, processes: Processes, wanted: Options, say: Say) -> "Run":
        """With teams in the database that all others are copied from, and everything that will be reported made up."""
        teams, probes = bench_teams(wanted.teams), bench_teams(PROBES, "probe")
        say(f"Bench: {len(teams)} teams, two backlogs of {wanted.events:,} events")
        world = await prepare_world(stack, processes)
        catalog = load_catalog()
        async with connected(world.database) as owner:
            for team in (*teams, *probes):
                async with owner.transaction():
                    await assign_plan(owner, catalog, team.id, "pro")
            await give_credits(owner, [team.id for team in (*teams, *probes)])
        loudness = Loudness(servers=stack.source == "native")
        return cls(Ground(world, say, loudness), wanted, teams, probes)

    async def round(self) -> None:
        """A backlog recorded, a COPY, a backlog made visible, out again on Kafka, all anew, and a COPY again."""
        asked, ground = self.wanted.only, self.ground
        if asked & {"copy", "record"}:
            async with fresh_world(ground) as world, connected(world.database) as owner:
                with ground.loudness.heard("record"):
                    self._note("record", await throughput.record(ground, world, self.first))
                await check_all_recorded(owner, len(self.first))
                self.rows = self.rows or await copying.rows_of(owner, len(self.first))
                if "copy" in asked:
                    await self._copy(world)
        if asked & {"visible", "relay", "replay"}:
            async with fresh_world(ground) as world, connected(world.database) as owner:
                await self._visible(world)
                await check_all_recorded(owner, len(self.second))
                if "relay" in asked:
                    with ground.loudness.heard("relay"):
                        self._note("relay", await throughput.relay(ground, world))
                if "replay" in asked:
                    with ground.loudness.heard("replay"):
                        self._note("replay", await throughput.replay(ground, world))
                if "copy" in asked:
                    await self._copy(world)

    async def _copy(self, world: LocalWorld) -> None:
        with self.ground.loudness.heard("copy"):
            rate = await copying.copy(world, self.rows)
        self.rounds.note("copy", rate)
        self.ground.say(f"Bench: copy {rate:,.0f} a second")

    async def _visible(self, world: LocalWorld) -> None:
        with self.ground.loudness.heard("visible"):
            measured, wal_bytes = await throughput.visible(self.ground, world, self.second)
        self._note("visible", measured)
        self.rounds.wal_bytes.append(wal_bytes)

    def _note(self, name: str, measured: Span) -> None:
        """The processor time of one is known where Kafka and PostgreSQL are ours, too."""
        cost_us = measured.processor_us if self.ground.loudness.servers else None
        self.rounds.note(name, measured.rate, cost_us)
        cost = "" if cost_us is None else f", {cost_us:.1f} µs of processor time each"
        self.ground.say(f"Bench: {name} {measured.rate:,.0f} a second{cost}")

    async def afterwards(self, *, ordered_ids: bool) -> None:
        """What needs a database for itself: latency on a small log, then a long one."""
        asked = self.wanted.only if ordered_ids else frozenset({"growth"})
        heard = self.ground.loudness.heard
        if "quantities" in asked:
            with heard("quantities"):
                await self._quantities()
        async with fresh_world(self.ground) as world, connected(world.database) as owner:
            if "idle" in asked:
                await self._idle(world)
            if "latency" in asked:
                with heard("latency"):
                    await self._latency(world)
            if "charging" in asked:
                with heard("charging"):
                    await self._charging(world)
            if asked & {"growth", "balance"}:
                with heard("growth"):
                    await self._grow(world, owner, ordered_ids=ordered_ids)
            if "audit" in asked:
                with heard("audit"):
                    await self._audit(world)
            if "questions" in asked:
                with heard("questions"):
                    await self._questions(world)
            if "balance" in asked:
                with heard("balance"):
                    await self._balance(world)
            if "holds" in asked:
                with heard("holds"):
                    await self._holds(world)
            if "large" in asked:
                with heard("large"):
                    await self._large(world)
            if "neighbour" in asked:
                with heard("neighbour"):
                    await self._neighbour(world)

    async def _idle(self, world: LocalWorld) -> None:
        percent = await idle.idle_percent(self.ground, world)
        self.figures.idle_percent = percent if self.ground.loudness.servers else None
        self.ground.say(f"Bench: with nothing to do {percent:.1f} % of a core")

    async def _quantities(self) -> None:
        count = self.wanted.events // 3
        costs_us = await throughput.calls_by_turns(self.ground, self.teams, count, self.wanted.rounds)
        if self.ground.loudness.servers:
            self.figures.quantities_us = median(costs_us[True])
            self.figures.quantities_vs_one = self.figures.quantities_us / median(costs_us[False])
            self.ground.say(
                f"Bench: an event with three quantities takes {self.figures.quantities_us:.1f} µs of processor time, "
                f"{self.figures.quantities_vs_one:.2f} of one with one"
            )

    async def _latency(self, world: LocalWorld) -> None:
        times = await latency.visible_latency(self.ground, world, self.teams, self.probes)
        self.figures.visible_at_rate = latency.VISIBLE_AT_RATE
        self.figures.visible_p50_ms = latency.percentile(times, 50)
        self.figures.visible_p99_ms = latency.percentile(times, 99)
        self.ground.say(
            f"Bench: visible after {self.figures.visible_p50_ms:.1f} ms, p99 {self.figures.visible_p99_ms:.1f} ms"
        )

    async def _charging(self, world: LocalWorld) -> None:
        times = await charging.top_ups(self.ground, world)
        self.figures.top_up_p50_ms = latency.percentile(times, 50)
        self.figures.top_up_p99_ms = latency.percentile(times, 99)
        self.ground.say(
            f"Bench: topped up after {self.figures.top_up_p50_ms:.0f} ms, p99 {self.figures.top_up_p99_ms:.0f} ms"
        )

    async def _grow(self, world: LocalWorld, owner: Connection, *, ordered_ids: bool) -> None:
        hot_count = min(self.wanted.hot_team, self.wanted.growth)
        self.ground.say(f"Bench: storing {self.wanted.growth:,} facts, {hot_count:,} of them of one team")
        await growth.fill(
            world, self.teams, self.wanted.growth - hot_count, self.teams[0], hot_count, ordered_ids=ordered_ids
        )
        if "growth" not in self.wanted.only:
            return
        events = usage_events(self.teams, self.wanted.events, f"grown {ordered_ids}", ordered_ids=ordered_ids)
        grown, none = await throughput.record(self.ground, world, events), self.rounds.median("record")
        self._note("record, grown" if ordered_ids else "record, grown, UUIDv4", grown)
        if ordered_ids:
            self.figures.cost_growth, self.figures.cost_growth_facts = none and grown.rate / none, self.wanted.growth
            await world.serve("projector")
            await throughput.catch_up(world, owner, PROJECTOR)
            await self.ground.stop("projector")
            self.sizes = await growth.sizes(owner)
            self.sized_events = await owner.fetchval("SELECT count(*) FROM facts WHERE type = 'usage.recorded.v1'")
        else:
            self.figures.cost_growth_uuid4 = none and grown.rate / none

    async def _audit(self, world: LocalWorld) -> None:
        copy, figures = self.rounds.median("copy"), self.figures
        async for ran in auditing.audits(world):
            setattr(figures, f"{ran.name}_vs_copy", copy and ran.facts_per_s / copy)
            figures.audit_rss_mb = max(figures.audit_rss_mb or 0.0, ran.rss_mb)
            self.ground.say(f"Bench: {ran.name} {ran.facts_per_s:,.0f} facts a second, with {ran.rss_mb:.0f} MB")

    async def _questions(self, world: LocalWorld) -> None:
        asked = await questions.ask_all(self.ground, world, self.teams, self.probes)
        p99, alone = (latency.percentile(times, 99) for times in (asked.beside_ms, asked.alone_ms))
        self.figures.slowest_question_s, self.figures.visible_p99_beside_questions = (
            max(asked.seconds.values()),
            p99 / alone,
        )
        for name, seconds in asked.seconds.items():
            self.ground.say(f"Bench: {seconds:.1f} s: {name}")
        self.ground.say(f"Bench: usage is visible with p99 {p99:.1f} ms beside questions, {alone:.1f} ms without")

    def _half_speed(self) -> int:
        full = self.rounds.median(self.wanted.half_of)
        assert full is not None, "by the options"
        return int(full / 2)

    async def _holds(self, world: LocalWorld) -> None:
        held = await holds.hold_times(self.ground, world, self.teams, self._half_speed())
        self.figures.hold_p50_ms = latency.percentile(held.placed_ms, 50)
        self.figures.hold_p99_ms = latency.percentile(held.placed_ms, 99)
        self.figures.capture_p99_ms = latency.percentile(held.captured_ms, 99)
        self.ground.say(
            f"Bench: while {held.stored_per_s:,.0f} a second were stored: a hold in {self.figures.hold_p50_ms:.1f} ms, "
            f"p99 {self.figures.hold_p99_ms:.1f} ms, a capture p99 {self.figures.capture_p99_ms:.1f} ms"
        )

    async def _balance(self, world: LocalWorld) -> None:
        read = await reading.reads(self.ground, world, self.teams, self.teams[0], self._half_speed())
        for kind, times in read.times_ms.items():
            setattr(self.figures, f"{kind}_p50_ms", latency.percentile(times, 50))
            setattr(self.figures, f"{kind}_p99_ms", latency.percentile(times, 99))
        self.figures.balance_at_rate = round(read.stored_per_s)
        self.figures.hot_team_facts = min(self.wanted.hot_team, self.wanted.growth)
        self.ground.say(
            f"Bench: while {read.stored_per_s:,.0f} a second were stored: "
            + ", ".join(
                f"{kind} in {latency.percentile(times, 50):.1f} ms, p99 {latency.percentile(times, 99):.1f} ms"
                for kind, times in read.times_ms.items()
            )
        )

    async def _large(self, world: LocalWorld) -> None:
        facts, figures = self.wanted.large_team, self.figures
        self.ground.say(f"Bench: storing and projecting {facts:,} facts of one team")
        read = await large.read_large(self.ground, world, self.teams[1], facts)
        figures.large_team_facts, figures.csv_rows_per_s, figures.csv_rss_mb = facts, read.rows_per_s, read.rss_mb
        figures.as_of_p50_ms = latency.percentile(read.as_of_ms, 50)
        figures.asof_p99_ms = figures.as_of_p99_ms = latency.percentile(read.as_of_ms, 99)
        figures.statement_ms = latency.percentile(await statements.statement_times(self.ground, world), 50)
        self.ground.say(
            f"Bench: {read.rows_per_s:,.0f} rows of CSV a second, for which the API grew by {read.rss_mb:.1f} MB; a balance of the "
            f"past in {figures.as_of_p50_ms:.1f} ms, p99 {figures.as_of_p99_ms:.1f} ms; a statement over "
            f"{statements.FACTS:,} facts in {figures.statement_ms:.0f} ms"
        )

    async def _neighbour(self, world: LocalWorld) -> None:
        others, hostile = [self.teams[0], *self.teams[2:]], self.teams[1]
        alone, beside = await neighbour.others_alone_and_beside(self.ground, world, others, hostile)
        ratios = []
        for kind in neighbour.KINDS:
            setattr(self.figures, f"neighbour_{kind}_p99_ms", beside.p99_ms(kind))
            setattr(self.figures, f"neighbour_{kind}_p99_alone_ms", alone.p99_ms(kind))
            ratios.append(beside.p99_ms(kind) / alone.p99_ms(kind))
        self.figures.neighbour_ratio = max(ratios)
        self.ground.say(
            "Bench: p99 of others beside a hostile team: "
            + ", ".join(
                f"{kind} {beside.p99_ms(kind):.1f} ms, alone {alone.p99_ms(kind):.1f} ms" for kind in neighbour.KINDS
            )
        )

    def conclude(self) -> None:
        """Medians, and what follows from them."""
        figures, rounds = self.figures, self.rounds
        figures.copy_rows_per_s = rounds.median("copy")
        figures.record_events_per_s, figures.record_vs_copy = rounds.median("record"), rounds.to_copy("record")
        figures.visible_events_per_s, figures.visible_vs_copy = rounds.median("visible"), rounds.to_copy("visible")
        figures.relay_events_per_s = rounds.median("relay")
        figures.replay_events_per_s, figures.replay_vs_copy = rounds.median("replay"), rounds.to_copy("replay")
        figures.record_us, figures.visible_us = rounds.cost_us("record"), rounds.cost_us("visible")
        figures.replay_us, figures.wal_bytes_per_event = rounds.cost_us("replay"), rounds.wal_bytes_per_event()
        loudness = self.ground.loudness
        figures.load_before, figures.is_result = loudness.load_before, loudness.is_result
        figures.others_percent = max(loudness.others_percent.values(), default=None) if loudness.servers else None
        figures.stolen_percent = max(loudness.stolen_percent.values(), default=None)
        figures.peak_rss_mb = max(self.ground.peak_rss_mb.values(), default=None)
        if self.sized_events:
            figures.bytes_per_event = sum(s.rows_bytes + s.index_bytes for s in self.sizes) / self.sized_events


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
