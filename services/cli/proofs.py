"""Is the log what was recorded? The whole of it, exports of it, and single entries by their proofs."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from schemas.instants import instant_or_none
from schemas.places import place_of
from services.cli.exports import check_folders, folders_of
from services.cli.showing import (
    FOUND_WRONG,
    SHOWN_MAX,
    AsJson,
    WithDatabase,
    parse_duration,
    print_json,
    print_table,
    progress,
    with_database,
)
from services.runtime.settings import Settings
from services.runtime.settings_loading import exit_used_wrongly, load_settings
from services.store.connect import Connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from services.audit.outside.witness import Attestor
    from services.audit.sign_log import ShardEnd
    from services.audit.verdict import LogProblem, Verified


Files = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[PATH]...", help="Proofs of entries, or folders of exports: checked without the database."),
]
Anchors = Annotated[Path | None, typer.Option(help="The folder of anchors; CREDITWELL_ANCHORS if not given.")]
PublicKeys = Annotated[list[str] | None, typer.Option(help="Who may have signed; CREDITWELL_PUBLIC_KEY if not given.")]
TsaCa = Annotated[
    Path | None,
    typer.Option(
        help="Certificates (PEM): their timestamps must lie beside the anchors; CREDITWELL_TSA_CA if not given."
    ),
]
WitnessKeys = Annotated[
    list[str] | None,
    typer.Option(
        help="name+id+key: its cosignatures must lie beside the anchors; CREDITWELL_WITNESS_KEY if not given."
    ),
]
MaxUnsigned = Annotated[
    str | None,
    typer.Option(
        help="How old the newest checkpoint and anchor may be: 90s, 10m, 2h; twice the anchors' interval if not given."
    ),
]
FromCheckpoint = Annotated[
    int | None, typer.Option(min=1, help="Only what is newer than this checkpoint, which you have verified before.")
]
Unsigned = Annotated[
    bool, typer.Option("--unsigned", help="Check the log alone, without keys, checkpoints and their age.")
]


def verify(
    files: Files = None,
    *,
    anchors: Anchors = None,
    public_key: PublicKeys = None,
    tsa_ca: TsaCa = None,
    witness_key: WitnessKeys = None,
    max_unsigned: MaxUnsigned = None,
    from_checkpoint: FromCheckpoint = None,
    unsigned: Unsigned = False,
    with_rest: WithDatabase = False,
    as_json: AsJson = False,
) -> None:
    """Check each fact, proof and signed checkpoint of the log, and its fence: constraints, triggers, grants.

    Exit code 1 names the first bad place, and each object that is not what the migrations made. With paths: check these
    proofs, or exports and archives, and nothing else.

    Example: creditwell verify --anchors anchors --public-key kzBX6tFTqRfDaIED8mD3dpKVqbxsecQWtqYaHN76xdg=
    """
    settings = load_settings()
    folder = folder_of_anchors(anchors or settings.anchors)
    keys = public_keys(settings, public_key or [])
    folders = folders_of(files or [])
    if files and not folders:
        verify_files(files, keys, unsigned=unsigned, as_json=as_json)
    attestors = [] if folders and not with_rest else attestors_of(settings, folder, tsa_ca, witness_key or [])
    chosen = parse_duration(max_unsigned, "--max-unsigned")
    age = timedelta(seconds=2 * settings.anchor_every_seconds) if chosen is None else chosen
    began = monotonic()
    exports = check_folders(folders, keys, unsigned=unsigned) if folders else None
    check_database = partial(
        verify_database, anchors=folder, keys=keys, attestors=attestors, from_checkpoint=from_checkpoint,
        after={} if exports is None else exports.ends, age=None if unsigned else age,
    )  # fmt: skip
    if exports is None:
        verified = with_database(check_database)
    else:
        verified = exports.verified.and_rest(with_database(check_database)) if with_rest else exports.verified
    _end(verified, monotonic() - began, as_json=as_json)


def _end(verified: "Verified", seconds: float, *, as_json: bool) -> NoReturn:
    if as_json:
        print_json(_as_json(verified, seconds))
    else:
        _show(verified, seconds)
    raise typer.Exit(FOUND_WRONG if verified.problems else 0)


async def verify_database(
    connection: Connection,
    *,
    anchors: Path | None,
    keys: "list[Ed25519PublicKey]",
    attestors: "list[Attestor]",
    from_checkpoint: int | None,
    after: Mapping[int, "ShardEnd"],
    age: timedelta | None,
) -> "Verified":
    """The log after the shards' ends that exports have; with an `age`, also how old its newest checkpoint is."""
    from services.audit.verdict import what_is_missing
    from services.audit.verify import size_of_log
    from services.audit.verify import verify as verify_log

    with progress("verifying", await size_of_log(connection)) as tell:
        verified = await verify_log(
            connection, anchors=anchors, keys=keys, attestors=attestors, from_checkpoint=from_checkpoint, after=after,
            on_facts=tell,
        )  # fmt: skip
    if age is not None:
        now = await connection.fetchval("SELECT clock_timestamp()")
        verified.problems += what_is_missing(verified, now, age, anchors_wanted=anchors is not None)
    return verified


def _as_json(verified: "Verified", seconds: float) -> dict[str, Any]:
    return {
        "ok": not verified.problems, "basis": None if verified.problems else verified.basis, "facts": verified.facts,
        "verified_before": verified.verified_before, "blocks": verified.blocks,
        "checkpoints": verified.checkpoints, "anchors": verified.anchors, "signed_facts": verified.signed,
        "signed_at": instant_or_none(verified.signed_at), "signed_by": verified.signed_by,
        "anchored_at": instant_or_none(verified.anchored_at),
        "witnesses": {name: instant_or_none(word and word.at) for name, word in verified.witnesses.items()},
        "signatures": "checked" if verified.signatures_checked else "unchecked",
        "problems": [problem._asdict() for problem in verified.problems], "more_problems": verified.more,
        "seconds": round(seconds, 3),
    }  # fmt: skip


def _show(verified: "Verified", seconds: float) -> None:
    if verified.problems:
        shown = verified.problems[:SHOWN_MAX]
        print_table("What is wrong, first place first", ("place", "what"), shown, prose=["what"])
        rest = len(verified.problems) - len(shown) + verified.more
        print(f"and {rest:,} more" if rest else "", end="\n" if rest else "")
    notes = f"{verified.checkpoints:,} signed checkpoints, {verified.anchors:,} anchors"
    print(f"{verified.facts:,} facts in {verified.blocks:,} blocks, {notes}")
    print(f"read in {seconds:,.1f} s, {verified.facts / seconds:,.0f}/s")
    if verified.verified_before:
        print(f"{verified.verified_before:,} older facts were verified before, up to the checkpoint that was given")
    if unsigned := max(0, verified.verified_before + verified.facts - verified.signed):
        print(f"{unsigned:,} facts are newer than the last signed checkpoint")
    print(
        "the log is not what was recorded, or not shown to be, or the fence around it is not what the migrations made"
        if verified.problems
        else f"the log is what was recorded: {verified.basis}"
    )


def folder_of_anchors(folder: Path | None) -> Path | None:
    """A folder that is there; ends the process for any other."""
    if folder is not None and not folder.is_dir():
        exit_used_wrongly(f"--anchors: {folder} is not a folder.")
    return folder


def attestors_of(
    settings: Settings, folder: Path | None, tsa_ca: Path | None = None, keys: Sequence[str] = ()
) -> "list[Attestor]":
    """The witnesses whose words count: those given, or those of the settings; ends the process for one that is none."""
    from services.audit.outside.cosignatures import Cosigner
    from services.audit.outside.timestamps import TimestampAuthority, authorities_in

    file = tsa_ca or settings.tsa_ca
    texts = keys or ([] if settings.witness_key is None else [settings.witness_key])
    option = "--witness-key" if file is None else "--tsa-ca"
    if folder is None and (file is not None or texts):
        exit_used_wrongly(f"{option}: what witnesses say lies beside the anchors: give --anchors too.")
    try:
        authorities = [] if file is None else [TimestampAuthority(authorities_in(file))]
        option = "--witness-key"
        return [*authorities, *map(Cosigner.parse, texts)]
    except (ValueError, OSError) as error:
        exit_used_wrongly(f"{option}: {error}.")


def public_keys(settings: Settings, arguments: list[str]) -> "list[Ed25519PublicKey]":
    """The keys that may have signed: those given, or those of the settings; ends the process for one that is none."""
    from services.audit.checkpoints import parse_public_key, parse_signing_key

    texts = arguments or [text.strip() for text in (settings.public_key or "").split(",") if text.strip()]
    try:
        if not texts and settings.signing_key is not None:
            return [parse_signing_key(settings.signing_key.get_secret_value()).public_key()]
        return [parse_public_key(text) for text in texts]
    except ValueError as error:
        exit_used_wrongly(f"--public-key: {error}.")


def prove(
    entry: Annotated[str, typer.Argument(metavar="ENTRY", help="An entry of the activity, or its position: 31:20418.")],
    *,
    to: Annotated[
        int | None, typer.Option(min=1, help="A newer signed checkpoint that the proof is to lead to.")
    ] = None,
) -> None:
    """Print the proof that a fact is in the signed log; `creditwell verify FILE` checks it without the database.

    Example: creditwell prove 31:1207 --to 12
    """
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
