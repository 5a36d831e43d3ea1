"""`creditwell export …`: tables that other tools read, with a manifest that says what they are."""

import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import msgspec
import typer

from schemas.credits import format_credits
from schemas.places import place_of
from services.cli.showing import (
    FOUND_WRONG,
    NOT_NOW,
    AsJson,
    T,
    fail,
    parse_instant,
    print_json,
    print_table,
    progress,
    with_database,
)
from services.export.files import FileFormat
from services.runtime.errors import Refused, Unavailable
from services.runtime.settings_loading import exit_used_wrongly
from services.store.connect import Connection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from services.export.checking import ExportsChecked
    from services.export.exporting import Exporter
    from services.export.manifest import ExportRequest, Manifest
    from services.export.replaying import Archives
    from services.export.spans import Bound

app = typer.Typer(help="Write what the log says as CSV, JSON lines or Parquet.", no_args_is_help=True)

Out = Annotated[Path, typer.Option(help="The folder to write into: an empty one, or one whose export was interrupted.")]
Since = Annotated[
    str | None,
    typer.Option("--from", help="Only what was recorded from here on: an instant, or shard:position of one shard."),
]
Until = Annotated[str | None, typer.Option(help="Only what was recorded before: an instant, or shard:position.")]
Team = Annotated[str | None, typer.Option(help="Only this team's.")]
Format = Annotated[FileFormat, typer.Option("--format", help="Parquet needs the extra `parquet`.")]


def archive(
    month: Annotated[str, typer.Argument(metavar="MONTH", help="A month that is over, as 2026-10 (UTC).")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of archives; each month gets one in it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Copy a closed month out of the log: its facts and proofs as Parquet, with the checkpoint that signs them.

    Example: creditwell archive 2026-10 /mnt/archive
    """
    from services.export.archive import archive as archive_month
    from services.export.archive import months_missing

    async def work(connection: Connection) -> "tuple[Manifest, Path, bool]":
        with progress("archiving", 0) as tell:
            return await or_used_wrongly(archive_month(connection, month, folder, tell))

    try:
        manifest, written, there_before = with_database(work)
    except OSError as error:
        exit_used_wrongly(f"{folder}: {error}.")
    show_manifest(manifest, written, there_before=there_before, as_json=as_json)
    for missing in months_missing(folder, month):
        print(f"creditwell: there is no archive of {missing} in {folder} yet", file=sys.stderr)


@app.command()
def events(
    out: Out,
    since: Since = None,
    until: Until = None,
    team: Team = None,
    file_format: Format = FileFormat.PARQUET,
    *,
    as_json: AsJson = False,
) -> None:
    """The facts of the log as they are stored, with their proofs; `creditwell verify DIR` checks them.

    Example: creditwell export events --until 2026-11-01 --out october
    """
    _of_log("events", out, since, until, team, file_format, as_json=as_json)


@app.command()
def entries(
    out: Out,
    since: Since = None,
    until: Until = None,
    team: Team = None,
    file_format: Format = FileFormat.CSV,
    *,
    as_json: AsJson = False,
) -> None:
    """The credit activity: what each fact did to a balance.

    Example: creditwell export entries --from 2026-10-01 --until 2026-11-01 --out october
    """
    _of_log("entries", out, since, until, team, file_format, as_json=as_json)


@app.command()
def balances(
    out: Out,
    at: Annotated[str | None, typer.Option(help="The balances at this instant; now if not given.")] = None,
    known_at: Annotated[str | None, typer.Option(help="By what was known at this instant.")] = None,
    team: Team = None,
    file_format: Format = FileFormat.CSV,
    *,
    as_json: AsJson = False,
) -> None:
    """The balance of every team at one moment, in one pass over the log: what the end of a month needs.

    Example: creditwell export balances --at 2026-11-01 --out october
    """
    from services.export.exporting import bound_text
    from services.export.manifest import ExportRequest

    then, known_until = (
        bound_text(parse_instant(text, option)) for text, option in ((at, "--at"), (known_at, "--known-at"))
    )
    _export(ExportRequest("balances", file_format, team=team, at=then, known_at=known_until), out, as_json=as_json)


@app.command()
def analytics(
    out: Out,
    view: Annotated[list[str] | None, typer.Option(help="Only this view; give it again for another one.")] = None,
    since: Annotated[
        str | None,
        typer.Option("--from", help="Only what was recorded from this instant on, in views that have recorded_at."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only what was recorded before this instant, in the same views.")
    ] = None,
    team: Team = None,
    file_format: Format = FileFormat.PARQUET,
    *,
    as_json: AsJson = False,
) -> None:
    """The views of docs/analytics.md as they are at one moment, a file each: for DuckDB, a warehouse, a notebook.

    Example: creditwell export analytics --view usage --view lots --out today
    """
    from services.export.exporting import bound_text
    from services.export.manifest import ExportRequest
    from services.export.views import export_views

    first, last = bound_text(parse_instant(since, "--from")), bound_text(parse_instant(until, "--until"))
    request = ExportRequest("analytics", file_format, since=first, until=last, team=team, views=tuple(view or ()))
    _export(request, out, as_json=as_json, by=export_views)


def _of_log(
    what: str,
    out: Path,
    since: str | None,
    until: str | None,
    team: str | None,
    file_format: FileFormat,
    *,
    as_json: bool,
) -> None:
    from services.export.exporting import bound_text
    from services.export.manifest import ExportRequest

    first, last = bound_text(parse_bound(since, "--from")), bound_text(parse_bound(until, "--until"))
    _export(ExportRequest(what, file_format, since=first, until=last, team=team), out, as_json=as_json)


def parse_bound(text: str | None, option: str) -> "Bound | None":
    """An instant or a place given on the command line."""
    if text is None or text.count(":") != 1:
        return parse_instant(text, option)
    try:
        place = place_of(text)
    except ValueError:
        return parse_instant(text, option)
    if not 0 <= place.shard < 64 or place.position < 1:
        exit_used_wrongly(f"{option}: there is no place {text!r}.")
    return place


def _export(request: "ExportRequest", out: Path, *, as_json: bool, by: "Exporter | None" = None) -> None:
    from services.export.exporting import export
    from services.store.read import heads

    async def work(connection: Connection) -> "tuple[Manifest, bool]":
        with progress("exporting", sum((await heads(connection)).values()), of="rows") as tell:
            return await or_used_wrongly((by or export)(connection, request, out, tell))

    try:
        manifest, there_before = with_database(work)
    except OSError as error:
        exit_used_wrongly(f"--out: {error}.")
    show_manifest(manifest, out, there_before=there_before, as_json=as_json)


async def or_used_wrongly(work: Awaitable[T]) -> T:
    """What comes of it; what is refused ends the process with the sentence that says why."""
    try:
        return await work
    except Refused as refused:
        if refused.reason == "not_signed_yet":
            fail(NOT_NOW, refused.detail)
        exit_used_wrongly(f"{refused.detail}.")


def show_manifest(manifest: "Manifest", folder: Path, *, there_before: bool, as_json: bool) -> None:
    """What an export is, in a few lines."""
    if as_json:
        print_json({"folder": str(folder), "there_before": there_before, **msgspec.to_builtins(manifest)})
        return
    size = sum(file.size for file in manifest.files)
    what = manifest.request.what if manifest.request.month is None else f"archive of {manifest.request.month}"
    print(f"{folder}: {what}, {manifest.rows:,} rows in {len(manifest.files):,} files, {size:,} bytes")
    if manifest.credits is not None:
        print(f"credits: {manifest.credits}")
    for currency, cents in (manifest.money or {}).items():
        print(f"charged, in minor units of {currency}: {cents:,}")
    if there_before:
        print(f"it was there already, made at {manifest.made_at}")


def folders_of(paths: "Sequence[Path]") -> list[Path]:
    """The exports in these folders; none where the paths are files."""
    from services.export.folders import exports_in

    folders = [path for path in paths if path.is_dir()]
    if folders and len(folders) < len(paths):
        exit_used_wrongly("give files with proofs, or folders with exports, not both.")
    return [export for folder in folders for export in exports_in(folder)]


def check_folders(folders: "Sequence[Path]", keys: "Sequence[Ed25519PublicKey]", *, unsigned: bool) -> "ExportsChecked":
    """Check exports without the database."""
    from services.export.checking import check_exports

    if not keys and not unsigned:
        exit_used_wrongly("no key is known: give --public-key, or --unsigned to do without.")
    try:
        with progress("verifying", 0) as tell:
            return check_exports(folders, () if unsigned else keys, unsigned=unsigned, on_facts=tell)
    except Refused as refused:
        exit_used_wrongly(f"{refused.detail}.")
    except Unavailable as gone:
        fail(NOT_NOW, str(gone))


def archives_in(folders: "Sequence[Path]") -> "Archives":
    """The archives in these folders."""
    from services.export.replaying import Archives

    try:
        return Archives.read(folders_of(folders))
    except Refused as refused:
        fail(FOUND_WRONG, refused.detail)


def replay_archives(archives: "Archives", *, as_json: bool) -> NoReturn:
    """Fold archives without the database, and say what they come to; ends the process."""
    from services.export.replaying import fold_archives

    try:
        with progress("replaying", sum(export.manifest.rows for export in archives.exports)) as tell:
            folded = fold_archives(archives, tell)
    except Refused as refused:
        exit_used_wrongly(f"{refused.detail}.")
    except Unavailable as gone:
        fail(NOT_NOW, str(gone))
    kinds = sorted(folded.entries)
    if as_json:
        print_json({
            "ok": not folded.problems, "facts": folded.facts, "teams": folded.teams,
            "balances": format_credits(folded.balances),
            "totals": {
                kind: {"entries": folded.entries[kind], "credits": format_credits(folded.credits[kind])} for kind in kinds
            },
            "problems": [problem._asdict() for problem in folded.problems],
        })  # fmt: skip
    else:
        rows = [(kind, folded.entries[kind], format_credits(folded.credits[kind])) for kind in kinds]
        print_table("What the archives say", ("type", "entries", "credits"), rows, numbers=("entries", "credits"))
        print(
            f"{folded.facts:,} facts of {folded.teams:,} teams, balances of {format_credits(folded.balances)} credits"
        )
        if folded.problems:
            print_table("What is wrong", ("place", "what"), folded.problems[:20], prose=["what"])
    raise typer.Exit(FOUND_WRONG if folded.problems else 0)
