"""`make demo`: a video product with four teams on a real Kafka and PostgreSQL.

    cast       the teams and what they make
    stage      grants, cards, top-ups, before the curtain
    play       members at work
    careless   a service that does all wrong
    reported   what was reported, by whoever reported it
    figures    what Creditwell made of it
    checks     what must be true of the two
    watch      the log, followed while the demo plays
    screen     what the audience sees
    host       the video product's own site; images.mjs is its image service, in Node

It ends with Ctrl-C or after `--seconds`, then lets everything arrive, says what happened, and checks it.
"""

import asyncio
import json
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import uvloop
from rich.console import Console

from deploy.local.demo.cast import HARBOR, PAPERCUT, DemoRole, roles
from deploy.local.demo.checks import Check, judge
from deploy.local.demo.figures import DemoFigures, drain, look
from deploy.local.demo.play import play
from deploy.local.demo.reported import ReportedWork
from deploy.local.demo.screen import Screen
from deploy.local.demo.stage import set_stage, start_host
from deploy.local.demo.watch import LogWatch
from deploy.local.forkserver import fork_server
from deploy.local.processes import Processes
from deploy.local.servers.topic_ends import ends
from deploy.local.stack import Stack, start_stack
from deploy.local.teams import add_teams
from deploy.local.trouble import StackTrouble
from deploy.local.world import LocalWorld, check_alive, connected, start_world
from schemas.catalog import load_catalog
from services.api.tokens import TokenRole
from services.store.connect import Connection

LOOK_SECONDS = 0.25
TOPICS = ("usage", "credits.events", "usage.refused")
INTERRUPTED = 130
PLAIN_WIDTH = 160


def main(*, seconds: int | None = None, as_json: bool = False) -> int:
    """0 everything holds · 1 something does not, and was named · 130 interrupted before the curtain."""
    screen = Screen(new_console(to_stderr=as_json))
    try:
        with (
            start_stack(say=screen.say, name="demo") as stack,
            Processes(stack, say=screen.say, forks=fork_server()) as processes,
        ):
            figures, checks = uvloop.run(demo(stack, processes, screen, seconds))
    except StackTrouble as trouble:
        screen.quiet()
        screen.say(str(trouble))
        return 1
    except KeyboardInterrupt:
        screen.quiet()
        return INTERRUPTED
    if as_json:
        print(json.dumps(as_document(figures, checks)))
    return 0 if all(check.holds for check in checks) else 1


def new_console(*, to_stderr: bool) -> Console:
    """As wide as the terminal; elsewhere wide enough for the summary."""
    console = Console(stderr=to_stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=to_stderr, highlight=False, width=PLAIN_WIDTH)


async def demo(
    stack: Stack, processes: Processes, screen: Screen, seconds: int | None
) -> tuple[DemoFigures, list[Check]]:
    """All of it, from an empty log to the summary.

    Raises:
        StackTrouble: the log is not empty, or a process does not start.
    """
    starts = {topic: await ends(stack.kafka, topic) for topic in TOPICS}
    world = await start_world(stack, processes, say=screen.say, teams=())
    async with connected(world.database) as owner:
        if await owner.fetchval("SELECT EXISTS (SELECT FROM teams)"):
            raise StackTrouble("Demo", "the log is not empty", way_out="Name an empty database in CREDITWELL_DATABASE.")
        cast = roles(datetime.now(UTC))
        await add_teams(owner, [role.team for role in cast])
        world = replace(world, teams=tuple(role.team for role in cast))
    await asyncio.gather(set_stage(world), start_host(world))
    async with connected(world.logins["reader"]) as reader:
        return await _perform(world, cast, screen, reader, starts, seconds)


async def _perform(
    world: LocalWorld, cast: tuple[DemoRole, ...], screen: Screen, reader: Connection, starts: Mapping[str, Mapping[int, int]],
    seconds: int | None,
) -> tuple[DemoFigures, list[Check]]:  # fmt: skip
    catalog, reported, stop = load_catalog(), ReportedWork(), asyncio.Event()
    watch = LogWatch(reader, {role.team.id: role.team.name for role in cast})
    await watch.skip()
    screen.programme(pages(world), tries(world))
    screen.curtain(seconds)
    with stopped_by_ctrl_c(stop, or_after_seconds=seconds):
        playing = asyncio.create_task(
            play(world.kafka, world.stack.folder / "spools", cast, catalog.rate_card, reported, stop)
        )
        await _watch_until(playing, watch, screen, world)
    screen.quiet()
    screen.tell("Nothing more is reported; what is under way arrives")
    await drain(world, reader, starts)
    for sentence in await watch.look():
        screen.tell(sentence)
    figures = await look(world, reader, cast, starts)
    checks = judge(reported, figures, catalog)
    screen.summary(cast, figures, checks)
    return figures, checks


async def _watch_until(playing: "asyncio.Task[None]", watch: LogWatch, screen: Screen, world: LocalWorld) -> None:
    """Show what happens until the play is over; raises what ended it."""
    while not playing.done():
        for sentence in await watch.look():
            screen.tell(sentence)
        screen.figures(watch.figures(), watch.balances_line())
        check_alive(world.processes)
        await asyncio.wait({playing}, timeout=LOOK_SECONDS)
    playing.result()


@contextmanager
def stopped_by_ctrl_c(stop: asyncio.Event, *, or_after_seconds: float | None) -> Iterator[None]:
    """The first Ctrl-C ends the play in an orderly way; once it is over, the next one ends everything at once."""
    loop = asyncio.get_running_loop()
    if or_after_seconds is not None:
        loop.call_later(or_after_seconds, stop.set)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pages(world: LocalWorld) -> dict[str, str]:
    """The Usage page; the token is in the fragment, which no server sees. And a product that embeds it."""
    own = {
        f"as {who}": f"{world.api}/usage#token={world.token(PAPERCUT, member, role)}"
        for who, member, role in (
            ("Dana, an admin", "mem_dana", TokenRole.ADMIN),
            ("Emil, a member", "mem_emil", TokenRole.MEMBER),
        )
    }
    return {**own, "in a product that embeds it, with a prompt for images": world.host}


def tries(world: LocalWorld) -> dict[str, str]:
    """Commands that can be pasted as they are."""
    creditwell = f"{sys.executable.rpartition('/')[0]}/creditwell"
    environment = f"CREDITWELL_INSECURE_DEV=1 {creditwell} token --team {HARBOR} --member mem_hana"
    return {
        "what a team has": f'curl -s -H "Authorization: Bearer $({environment})" {world.api}/v1/teams/{HARBOR}/balance',
        "is the log what was written?": f"CREDITWELL_DATABASE='{world.logins['reader']}' {creditwell} verify",
    }


def as_document(figures: DemoFigures, checks: list[Check]) -> dict[str, object]:
    """The summary for programs."""
    return {
        "records": figures.records,
        "usages": len(figures.usages),
        "refused": dict(figures.refusals),
        "duplicates": figures.duplicates,
        "conflicts": figures.conflicts,
        "top_ups": len(figures.top_ups),
        "purchases": len(figures.purchases),
        "charged_cents": sum(figures.charges.values()),
        "notices": figures.host_notices.total(),
        "checks": [check._asdict() for check in checks],
        "holds": all(check.holds for check in checks),
    }
