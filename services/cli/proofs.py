"""Single entries: their proofs, made from the log and checked without it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.places import place_of
from services.cli.showing import FOUND_WRONG, print_json, with_database
from services.runtime.settings_loading import exit_used_wrongly
from services.store.connect import Connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from services.audit.verdict import LogProblem


def prove(
    entry: Annotated[str, typer.Argument(metavar="ENTRY", help="An entry of the activity, or its position: 31:20418.")],
    *,
    to: Annotated[
        int | None, typer.Option(min=1, help="A newer signed checkpoint that the proof is to lead to.")
    ] = None,
) -> None:
    """Print the proof that a fact is in the signed log; `creditwell verify FILE` checks it without the database."""
    from services.audit.prove import prove as prove_fact

    try:
        place = place_of(":".join(entry.split(":")[:2]))
    except ValueError:
        exit_used_wrongly(f"{entry!r} is no entry: write shard:position, as 31:20418.")

    async def work(connection: Connection) -> dict[str, Any]:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            return await prove_fact(connection, place, to=to)

    print_json(with_database(work))


def verify_files(files: "Sequence[Path]", keys: "Sequence[Ed25519PublicKey]", *, unsigned: bool, as_json: bool) -> None:
    """Check proofs of entries, without the database; ends the process."""
    if not keys and not unsigned:
        exit_used_wrongly("no key is known: give --public-key, or --unsigned to do without.")
    problems = {file: _problem_of(file, () if unsigned else keys) for file in files}
    if as_json:
        print_json({
            "ok": not any(problems.values()),
            "files": [
                {"file": str(file), "ok": problem is None, "problem": problem and problem._asdict()}
                for file, problem in problems.items()
            ],
        })  # fmt: skip
    else:
        for file, problem in problems.items():
            print(f"{file}: {'it is in the signed log' if problem is None else f'{problem.place}: {problem.what}'}")
    raise typer.Exit(FOUND_WRONG if any(problems.values()) else 0)


def _problem_of(file: Path, keys: "Sequence[Ed25519PublicKey]") -> "LogProblem | None":
    from services.audit.entry_proof import check_proof
    from services.audit.verdict import LogProblem

    try:
        return check_proof(json.loads(file.read_bytes()), keys)[1]
    except (OSError, ValueError, RecursionError) as error:
        return LogProblem("file", f"it can't be read as JSON ({error})")
