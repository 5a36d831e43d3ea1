"""`creditwell resume` and `fork`: a store that went back in time goes on; a copy becomes a log of its own."""

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from schemas.instants import instant
from services.cli.showing import FOUND_WRONG, NOT_NOW, AsJson, fail, print_json, print_table, with_database
from services.runtime.settings import Settings
from services.runtime.settings_loading import exit_used_wrongly, load_settings
from services.store.connect import Connection

if TYPE_CHECKING:
    from services.recovery.resume import Orders, Resumed

SHOWN_MAX = 20
By = Annotated[str, typer.Option("--by", help="Your name; the log keeps it.")]
Apply = Annotated[bool, typer.Option("--apply", help="Do it. Without this, the command only says what it would do.")]
Accept = Annotated[
    bool, typer.Option("--accept", help="Bring back also what nobody but the topic knows of; look at the list first.")
]
AsItIs = Annotated[
    bool,
    typer.Option(
        "--as-it-is", help="Go on with the log as it is: nothing comes back, and the log names what is given up."
    ),
]
Watch = Annotated[
    bool,
    typer.Option(
        "--watch",
        help="Stay, and bring back by itself what needs neither --accept nor --as-it-is; a process like those of `serve`.",
    ),
]


def resume(
    *,
    by: By = "",
    apply: Apply = False,
    accept: Accept = False,
    as_it_is: AsItIs = False,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Let a store that went back in time go on: what was published comes back at its positions, with its proofs.

    It compares the log with credits.events, usage with the topic usage, payments with Stripe where a key is set, and
    looks at anchors where there are any. Exit code 1 while the store may not go on.

    Example: creditwell resume --by ana --apply
    """
    from aiokafka.errors import KafkaError

    from services.recovery.resume import Orders

    if watch:
        _watch(alone=not (by or apply or accept or as_it_is or as_json))
    if apply and not by:
        exit_used_wrongly("--apply: say --by WHO, too.")
    settings = load_settings()
    settings.require("database", "kafka")
    orders = Orders(by, accept=accept, as_it_is=as_it_is, apply=apply)
    try:
        report = with_database(lambda connection: _resume(connection, settings, orders))
    except KafkaError as away:
        fail(NOT_NOW, f"Kafka does not answer: {away!r}")
    if as_json:
        print_json(_document(report))
    else:
        _show(report)
    raise typer.Exit(FOUND_WRONG if report.waits else 0)


def _watch(*, alone: bool) -> NoReturn:
    from services.recovery.watching import watch
    from services.runtime.running import run_process

    if not alone:
        exit_used_wrongly("--watch: it takes no other option.")
    raise typer.Exit(run_process("resume", watch, load_settings()))


async def _resume(connection: Connection, settings: Settings, orders: "Orders") -> "Resumed":
    from services.money.stripe_client import charges_of
    from services.recovery.anchored import proven_by
    from services.recovery.resume import resume as go_on

    async with AsyncExitStack() as opened:
        charges = None if settings.stripe_key is None else await opened.enter_async_context(charges_of(settings))
        proven = await asyncio.to_thread(proven_by, settings)
        return await go_on(connection, settings, orders, charges=charges, anchored=proven)


def _document(report: "Resumed") -> dict[str, Any]:
    facts = report.facts
    return {
        "waits": report.waits, "went_back": report.went_back, "life": report.standing.life, "why": report.standing.went_back, "done": report.done,
        "comes_back": len(facts), "from": instant(facts[0].recorded_at) if facts else None,
        "to": instant(max(stored.recorded_at for stored in facts)) if facts else None,
        "shards": {shard: [tail.facts[0].position, tail.head.last] for shard, tail in sorted(report.tails.items())},
        "unknown": [_named(stored) for stored in report.unknown], "in_the_way": report.in_the_way,
        "lost_notes": report.lost_notes,
    }  # fmt: skip


def _named(stored: Any) -> dict[str, str]:
    return {
        "place": stored.place,
        "team": stored.team_id,
        "type": stored.type,
        "source": stored.source,
        "id": stored.id,
    }


def _show(report: "Resumed") -> None:
    facts = report.facts
    if not report.went_back and not facts:
        print(f"the log has all that was published; this life of the server is {report.standing.life}")
    if facts:
        began, ended = min(one.recorded_at for one in facts), max(one.recorded_at for one in facts)
        print(f"{len(facts):,} facts of {len(report.tails)} shards are in the topic and not in the log, recorded from")
        print(f"{instant(began)} to {instant(ended)}; what was answered then and not published is lost")
    for sentence in report.in_the_way[:SHOWN_MAX]:
        print(f"in the way: {sentence}")
    if report.unknown:
        rows = [tuple(_named(stored).values()) for stored in report.unknown[:SHOWN_MAX]]
        print_table("Nobody but the topic knows of these", ("place", "team", "type", "source", "id"), rows)
        print(f"{len(report.unknown):,} in all; --accept brings them back, too")
    if report.lost_notes is not None:
        first, last = report.lost_notes
        print(
            f"signed checkpoints {first} to {last} were lost with the store: the signer needs a new folder of anchors"
        )
    if report.done:
        print("the log goes on; now run `creditwell reconcile`, `creditwell verify` and `creditwell replay`")
    elif report.waits:
        print("nothing was done: say --apply --by WHO")


def fork(*, by: By, as_json: AsJson = False) -> None:
    """Make this copy of a store a log of its own, with another name: it may append, and publishes to other topics.

    Give it a Kafka and a key of Stripe's of its own, too: what the first log published, signed and charged is not this
    one's. The store itself is refused with exit code 1: its signed notes would be gone.

    Example: creditwell fork --by ana
    """
    from services.store.lives import fork as make_own

    name = with_database(lambda connection: make_own(connection, by))
    print_json({"log": name}) if as_json else print(f"this log is called {name} from now on")
