"""`creditwell topics …`: the topics of the contract, created, checked and fixed, with the login of every process."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from schemas.topics import COPIES, PARTITIONS
from services.cli.showing import FOUND_WRONG, NOT_NOW, AsJson, fail, print_json, print_table
from services.runtime.errors import Unavailable
from services.runtime.settings_loading import exit_used_wrongly, load_settings

if TYPE_CHECKING:
    from aiokafka.admin import AIOKafkaAdminClient

    from services.runtime.kafka.topics import Difference

T = TypeVar("T")
Copies = Annotated[int, typer.Option(min=1, max=100, help="On how many brokers each record is kept.")]
NewPartitions = Annotated[int, typer.Option("--partitions", help="Of a new topic: a power of two up to 64.")]

app = typer.Typer(help="Kafka's topics.", no_args_is_help=True)


@app.command()
def create(
    *,
    copies: Copies = COPIES,
    partitions: NewPartitions = PARTITIONS,
    wait: Annotated[float, typer.Option(min=0, help="How many seconds to wait for brokers.")] = 60,
    as_json: AsJson = False,
) -> None:
    """Make the topics that are missing, once there is a broker for each copy; what is there stays as it is.

    A topic keeps the number of copies with which it was made. Exit code 3 where brokers are still missing.

    Example: creditwell topics create
    """
    from services.runtime.kafka import topic_admin
    from services.runtime.kafka.topics import is_usual

    if not is_usual(partitions):
        exit_used_wrongly(f"--partitions {partitions}: write a power of two up to {PARTITIONS}.")

    async def work(client: "AIOKafkaAdminClient") -> dict[str, str]:
        await topic_admin.wait_for_brokers(client, copies, wait)
        outcomes = await topic_admin.create(client, copies=copies, partitions=partitions)
        for outcome in outcomes.values():
            if outcome is not None and not topic_admin.already_there(outcome):
                raise outcome
        return {name: "made" if outcome is None else "was there" for name, outcome in outcomes.items()}

    done = _with_kafka(work)
    if as_json:
        print_json(done)
        return
    for name, became in done.items():
        print(f"{name}: {became}")


@app.command()
def check(*, copies: Copies = COPIES, as_json: AsJson = False) -> None:
    """Show where topics differ from what Creditwell needs. Exit code 1: something has to be fixed.

    Example: creditwell topics check --json
    """
    _show(_look(copies), as_json=as_json)


@app.command()
def fix(
    *,
    copies: Copies = COPIES,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create missing topics, correct settings, and have Kafka make missing copies; then check.

    Partitions are never changed: for that producers have to stop. Copies are made in the background; as soon as they
    are there, run it again, and acknowledgements wait for two of them. Exit code 1: something still has to be fixed.

    Example: creditwell topics fix
    """
    from services.runtime.kafka import topic_admin

    async def work(client: "AIOKafkaAdminClient") -> None:
        await topic_admin.fix(client, await topic_admin.look(client), copies)

    if not dry_run:
        _with_kafka(work)
    _show(_look(copies), as_json=as_json)


def _look(copies: int) -> "list[Difference]":
    from services.runtime.kafka import topic_admin

    async def work(client: "AIOKafkaAdminClient") -> "list[Difference]":
        return (await topic_admin.look(client)).differences(copies)

    return _with_kafka(work)


def _show(differences: "list[Difference]", *, as_json: bool) -> None:
    from services.runtime.kafka.topics import Mend

    if as_json:
        print_json({"differences": [asdict(one) for one in differences]})
    elif differences:
        rows = [(one.topic, one.what, one.stands, one.right, one.mend, one.advice) for one in differences]
        print_table("Topics", ("topic", "what", "is", "must be", "fixed by", "how"), rows, prose=["how"])
    else:
        print("The topics are as they must be.")
    raise typer.Exit(FOUND_WRONG if any(one.mend is not Mend.NONE for one in differences) else 0)


def _with_kafka(work: "Callable[[AIOKafkaAdminClient], Awaitable[T]]") -> T:
    """Run `work` with one client; ends the process where Kafka is away or refuses."""
    from aiokafka.errors import KafkaError

    from services.runtime.kafka.topic_admin import administering

    settings = load_settings()
    settings.require("kafka")

    async def connected() -> T:
        async with administering(settings) as client:
            return await work(client)

    try:
        return asyncio.run(connected())
    except Unavailable as away:
        fail(NOT_NOW, str(away))
    except (KafkaError, TimeoutError) as error:
        passes = isinstance(error, TimeoutError) or error.retriable
        fail(NOT_NOW if passes else FOUND_WRONG, f"Kafka {'does not answer' if passes else 'refuses'}: {error}")
